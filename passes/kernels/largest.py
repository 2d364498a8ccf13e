"""The k largest numbers of each column, of columns that come a few rows at a time and are never there as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels import dispatch, reference
from traceprop.passes.kernels.reference import Ints

_NOWHERE = np.iinfo(np.int64).max


class Largest:
    """Keeps the `k` largest of each of `columns` columns, ties by position, NaN last: `topk` of rows that are streamed.

    >>> kept = Largest(1, 2, np.float32)
    >>> kept.add(np.array([[1.0], [5.0]]), np.array([0, 1]))
    >>> kept.add(np.array([[3.0], [2.0]]), np.array([2, 3]))
    >>> kept.sorted()
    (array([[5., 3.]], dtype=float32), array([[1, 2]]))
    """

    def __init__(self, columns: int, k: int, dtype: Any) -> None:
        if k < 0:
            raise ValueError(f"k must not be negative, not {k}")
        self._best = np.full((columns, k), np.nan, dtype=dtype)
        self._places = np.full((columns, k), _NOWHERE, dtype=np.int64)
        self._bars = np.empty(columns, dtype=dtype)

    def add(self, scores: NDArray[Any], positions: Ints, first: int = 0) -> None:
        """Show `scores` (n, m) of columns `first` to first + m, the rows at `positions` (n,), each shown once."""
        scores = np.ascontiguousarray(scores, dtype=self._best.dtype)
        positions = np.ascontiguousarray(positions, dtype=np.int64)
        if scores.ndim != 2 or positions.shape != scores.shape[:1] or first + scores.shape[1] > len(self._best):
            raise ValueError(
                f"{len(self._best)} columns, scores of shape {scores.shape} and positions of {positions.shape}"
            )
        if self._best.shape[1] and scores.size:
            here = slice(first, first + scores.shape[1])
            keep = (dispatch._compiled(dispatch._topk) or reference).keep_largest
            keep(scores, positions, self._best[here], self._places[here], self._bars[here])

    def merge(self, other: Largest) -> None:
        """Take over what another of the same size kept of other rows."""
        if self._best.size:
            merge = (dispatch._compiled(dispatch._topk) or reference).merge_kept
            merge(self._best, self._places, other._best, other._places)

    def sorted(self) -> tuple[NDArray[Any], Ints]:
        """Give scores (columns, k), largest first, and their positions, int64. Fewer were shown: NaN at 2^63 - 1."""
        if self._best.size:
            (dispatch._compiled(dispatch._topk) or reference).sort_kept(self._best, self._places)
        return self._best, self._places
