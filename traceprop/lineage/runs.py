"""Sets of positions along one axis, as runs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from traceprop.passes.encodings.positions import as_runs
from traceprop.passes.kernels import dispatch

_EMPTY = np.empty(0, dtype=np.int64)


class Runs:
    """A set of positions: disjoint half-open runs in ascending order (`starts`, `stops`: int64 arrays)."""

    def __init__(self, starts: np.ndarray, stops: np.ndarray) -> None:
        self.starts = starts
        self.stops = stops

    @classmethod
    def range(cls, start: int, stop: int) -> Runs:
        """The positions from `start` up to, not including, `stop`."""
        if stop <= start:
            return cls(_EMPTY, _EMPTY)
        return cls(np.array([start], dtype=np.int64), np.array([stop], dtype=np.int64))

    @classmethod
    def of(cls, positions: Any) -> Runs:
        """The set of some positions, in any order and with repeats."""
        return cls(*as_runs(np.asarray(positions, dtype=np.int64).ravel()))

    @classmethod
    def spans(cls, lows: np.ndarray, highs: np.ndarray) -> Runs:
        """The union of ranges, one per pair of bounds."""
        filled = highs > lows
        lows, highs = lows[filled], highs[filled]
        order = np.argsort(lows, kind="stable")
        lows, highs = lows[order], np.maximum.accumulate(highs[order])
        if not len(lows):
            return cls(_EMPTY, _EMPTY)
        begins = np.concatenate([[True], lows[1:] > highs[:-1]])
        ends = np.concatenate([begins[1:], [True]])
        return cls(lows[begins], highs[ends])

    def __bool__(self) -> bool:
        return len(self.starts) > 0

    def __len__(self) -> int:
        return int((self.stops - self.starts).sum())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Runs)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.stops, other.stops)
        )

    __hash__ = object.__hash__

    @cached_property
    def positions(self) -> np.ndarray:
        """The positions as a sorted int64 array."""
        return dispatch.runs_to_indices(self.starts, self.stops)

    def __or__(self, other: Runs) -> Runs:
        if not self or not other:
            return self or other
        return Runs(*dispatch.union(self.starts, self.stops, other.starts, other.stops))

    def __and__(self, other: Runs) -> Runs:
        if not self or not other:
            return _NONE
        if self._inside_one(other):
            return self
        if other._inside_one(self):
            return other
        return Runs(*dispatch.intersection(self.starts, self.stops, other.starts, other.stops))

    def _inside_one(self, other: Runs) -> bool:
        """Whether the other is a single run that holds this set: mostly it is all of an axis."""
        return len(other.starts) == 1 and bool(other.starts[0] <= self.starts[0] and self.stops[-1] <= other.stops[0])

    def __sub__(self, other: Runs) -> Runs:
        return Runs(*dispatch.difference(self.starts, self.stops, other.starts, other.stops))

    def __le__(self, other: Runs) -> bool:
        return not self - other

    def __contains__(self, position: int) -> bool:
        return bool(self.holds(np.array([position]))[0])

    def holds(self, positions: np.ndarray) -> np.ndarray:
        """Per position, whether it is in the set: bool array of the same shape."""
        flat = np.asarray(positions, dtype=np.int64).ravel()
        return dispatch.contains(self.starts, self.stops, flat).reshape(np.shape(positions))

    def shifted(self, by: int) -> Runs:
        """Every position moved by so much."""
        return Runs(self.starts + by, self.stops + by)


_NONE = Runs(_EMPTY, _EMPTY)
