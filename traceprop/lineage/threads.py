"""Result rows and the cells behind them, one pair at a time: for rows that all read different cells across."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from traceprop.ir import Read
from traceprop.lineage.reads import Scope, bounded, written_out


class Threads(NamedTuple):
    """int64 (n,) each: a result row, and the row-major number of a cell of the value that it depends on directly."""

    rows: np.ndarray
    cells: np.ndarray

    def positions(self, shape: tuple[int, ...], axis: int) -> np.ndarray:
        """Where each cell stands on an axis of a value of this shape."""
        return np.unravel_index(self.cells, shape)[axis].astype(np.int64)

    def joined(self, other: Threads) -> Threads:
        """The pairs of both, each once."""
        return _distinct(np.concatenate([self.rows, other.rows]), np.concatenate([self.cells, other.cells]))

    def moved(self, read: Read, result: tuple[int, ...], scope: Scope) -> Threads:
        """The cells of the read's operand behind these of its result."""
        points = dict(enumerate(np.unravel_index(self.cells, result)))
        kept = bounded(read.where, points, scope)
        shape = scope.shape(read.operand)
        owners, columns = written_out(read, {axis: at[kept] for axis, at in points.items()}, shape, scope)
        places = tuple(columns[k] for k in range(len(shape)))
        flat = np.ravel_multi_index(places, shape) if shape else np.zeros(len(owners), dtype=np.int64)
        return _distinct(self.rows[kept][owners], np.asarray(flat, dtype=np.int64))


def _distinct(rows: np.ndarray, cells: np.ndarray) -> Threads:
    return Threads(*distinct_pairs(rows, cells))


def distinct_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of numbers from 0 up once, sorted. (By sorting: `np.unique` hashes, which takes ten times as long.)"""
    width = int(second.max(initial=0)) + 1
    key = first * width + second
    if (key[1:] <= key[:-1]).any():
        key.sort()
        key = key[np.concatenate(([True], key[1:] > key[:-1]))]
    return key // width, key % width
