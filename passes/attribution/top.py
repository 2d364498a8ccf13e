"""The training samples with the largest gradient products, in one pass over blocks of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels.largest import Largest

QUERIES = 512
CELLS = 1 << 20
"""Products that are there at a time, about: 4 MB, near caches."""

Gradients = Iterable[tuple[NDArray[np.int64], NDArray[Any]]]
"""Blocks: the samples (m,) and their gradients (m, p), each sample once over all blocks."""


def top_products(
    blocks: Gradients, queries: NDArray[Any], k: int, advance: Callable[[int], None] = lambda _: None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Give the k largest <query, gradient> of each of queries (t, p), and the samples that they are of: both (t, k).

    Memory is that of one block, of the answer and of a few MB, whatever the number of queries and samples.
    `advance(rows)` is told of progress. Products are computed in float32, or in float64 where blocks or queries are.
    """
    kept = Largest(len(queries), k, queries.dtype)
    room: NDArray[Any] = np.empty(0, dtype=queries.dtype)
    for samples, gradients in blocks:
        step = min(len(samples), max(256, CELLS // max(1, min(len(queries), QUERIES))))
        for start in range(0, len(samples), step):
            rows = gradients[start : start + step]
            for first in range(0, len(queries), QUERIES):
                asked = queries[first : first + QUERIES]
                if room.size < len(asked) * len(rows):
                    room = np.empty(len(asked) * len(rows), dtype=queries.dtype)
                products = room[: len(asked) * len(rows)].reshape(len(asked), len(rows))
                np.matmul(asked, rows.T.astype(queries.dtype, copy=False), out=products)
                kept.add(products, samples[start : start + step], first)
        advance(len(samples))
    return kept.sorted()
