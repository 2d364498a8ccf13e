"""The k largest numbers of each row, of rows that come a few columns at a time and are never there as a whole."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels import dispatch, reference
from traceprop.passes.kernels.reference import Ints

_NOWHERE = np.iinfo(np.int64).max
_WORTH_A_THREAD = 1 << 21
"""Scores for which another thread is waited for: fewer are looked through sooner than it wakes up."""


class Largest:
    """Keeps the `k` largest of each of `rows` rows, ties by position, NaN last: `topk` of columns that are streamed.

    >>> kept = Largest(1, 2, np.float32)
    >>> kept.add(np.array([[1.0, 5.0]]), np.array([0, 1]))
    >>> kept.add(np.array([[3.0, 2.0]]), np.array([2, 3]))
    >>> kept.sorted()
    (array([[5., 3.]], dtype=float32), array([[1, 2]]))
    """

    def __init__(self, rows: int, k: int, dtype: Any, threads: int | None = None) -> None:
        if k < 0:
            raise ValueError(f"k must not be negative, not {k}")
        self._best = np.full((rows, k), np.nan, dtype=dtype)
        self._places = np.full((rows, k), _NOWHERE, dtype=np.int64)
        self._threads = threads or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None

    def add(self, scores: NDArray[Any], positions: Ints, first: int = 0) -> None:
        """Show `scores` (m, n) of rows `first` to first + m, which stand at `positions` (n,) of them, each shown once."""
        scores = np.ascontiguousarray(scores, dtype=self._best.dtype)
        positions = np.ascontiguousarray(positions, dtype=np.int64)
        if scores.ndim != 2 or positions.shape != scores.shape[1:] or first + len(scores) > len(self._best):
            raise ValueError(
                f"{len(self._best)} rows, scores of shape {scores.shape} and positions of {positions.shape}"
            )
        if not self._best.shape[1] or not scores.size:
            return
        best, places = self._best[first : first + len(scores)], self._places[first : first + len(scores)]
        keep = (dispatch._compiled(dispatch._topk) or reference).keep_largest
        parts = min(self._threads, len(scores), 1 + scores.size // _WORTH_A_THREAD)
        if parts == 1:
            keep(scores, positions, best, places)
            return
        self._pool = self._pool or ThreadPoolExecutor(self._threads)
        cuts = [len(scores) * part // parts for part in range(parts + 1)]
        shares = [slice(start, stop) for start, stop in pairwise(cuts)]
        for done in [self._pool.submit(keep, scores[rows], positions, best[rows], places[rows]) for rows in shares]:
            done.result()

    def sorted(self) -> tuple[NDArray[Any], Ints]:
        """Give scores (rows, k), largest first, and their positions, int64. Fewer than k were shown: NaN at position 2^63 - 1."""
        if self._best.shape[1]:
            (dispatch._compiled(dispatch._topk) or reference).sort_kept(self._best, self._places)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        return self._best, self._places
