"""Batches of samples for steps that are taken after training, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def batches_of(n: int, size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """Give `steps` batches of samples, each of them once before any comes again."""
    rng = np.random.default_rng(seed)
    size = min(size, n)
    order = rng.permutation(n)
    for _ in range(steps):
        if len(order) < size:
            order = np.concatenate([order, rng.permutation(n)])
        yield order[:size]
        order = order[size:]
