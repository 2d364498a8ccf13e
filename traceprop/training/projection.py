"""Random projections of gradients."""

from __future__ import annotations

import numpy as np

SEED = 0


def projection(size: int, dimensions: int) -> np.ndarray:
    """Give a Gaussian (size, dimensions) matrix, the same on every run, that keeps dot products in expectation.

    Johnson & Lindenstrauss 1984; for gradients, Park et al. 2023 ("TRAK").
    """
    return np.random.default_rng(SEED).normal(size=(size, dimensions)) / np.sqrt(dimensions)
