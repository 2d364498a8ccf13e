"""Positions that were encoded a stretch at a time, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from traceprop.passes.encodings.positions import AbstractPositions, Facts, joined
from traceprop.passes.kernels import dispatch
from traceprop.passes.kernels.reference import Ints, Runs

WIDE = 128
"""Stretches of one chain: their number is a byte where they are written down."""


class Chained(AbstractPositions):
    """Stretch k holds the numbers of part k, each raised by `offsets[k]`: what a run over parts of the rows recorded.

    Each stretch is in the encoding that is smallest for it, so that a run never has more than one of them written out.
    """

    encoding: ClassVar[str] = "chained"

    def __init__(self, facts: Facts, offsets: Ints, parts: Sequence[AbstractPositions]) -> None:
        super().__init__(facts)
        self._parts = tuple(parts)
        self._offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self._ends = np.cumsum([part.length for part in self._parts], dtype=np.int64)
        if len(self._offsets) != len(self._parts) or (int(self._ends[-1]) if len(self._ends) else 0) != self.length:
            raise ValueError(f"the stretches do not make {self.length} numbers")
        shifts = self._offsets.tolist()
        self._lows, self._highs = (
            np.array([bound + shift for bound, shift in zip(bounds, shifts, strict=True)], dtype=np.int64)
            for bounds in ([p.facts.low for p in self._parts], [p.facts.high for p in self._parts])
        )

    @classmethod
    def of(
        cls,
        parts: Sequence[AbstractPositions],
        offsets: Sequence[int],
        across: tuple[int, ...] = (),
        dtype: Any = np.int64,
    ) -> AbstractPositions:
        """Positions under one another, along their first axis; `across`: the sizes of the others.

        Many stretches are a chain of chains, so that any of them is found in few steps.
        """
        if len(parts) > WIDE:
            groups = range(0, len(parts), WIDE)
            chains = [cls.of(parts[k : k + WIDE], offsets[k : k + WIDE], across, dtype) for k in groups]
            return cls.of(chains, [0] * len(chains), across, dtype)
        filled = [
            (part.facts.low + offset, part.facts.high + offset)
            for part, offset in zip(parts, offsets, strict=True)
            if part.length
        ]
        low, high = min((low for low, _ in filled), default=0), max((high for _, high in filled), default=0)
        rows = sum(part.shape[0] for part in parts)
        return cls(Facts((rows, *across), np.dtype(dtype), low, high), np.array(offsets, dtype=np.int64), parts)

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        first, last = np.searchsorted(self._ends, [lo, hi - 1], side="right").tolist()
        found = []
        for k in range(first, last + 1):
            start = int(self._ends[k]) - self._parts[k].length
            piece = self._parts[k].part(max(lo - start, 0), min(hi - start, self._parts[k].length))
            found.append(piece + self._offsets[k])
        return np.concatenate(found) if len(found) > 1 else found[0]

    def _take(self, at: Ints) -> Ints:
        which = np.searchsorted(self._ends, at, side="right")
        found = np.empty(len(at), dtype=np.int64)
        for k in np.unique(which).tolist():
            mine = which == k
            start = int(self._ends[k]) - self._parts[k].length
            found[mine] = self._parts[k].take(at[mine] - start) + self._offsets[k]
        return found

    def image(self, starts: Any, stops: Any) -> Runs:
        starts, stops = self._inside(starts, stops)
        begins = self._ends - np.array([part.length for part in self._parts], dtype=np.int64)
        found = []
        for k in np.flatnonzero(
            dispatch.contains(*_spread(starts, stops, begins, self._ends), np.arange(len(begins)))
        ).tolist():
            cut = np.maximum(starts, begins[k]) - begins[k], np.minimum(stops, self._ends[k]) - begins[k]
            lows, highs = self._parts[k].image(*(side[cut[0] < cut[1]] for side in cut))
            found.append((lows + self._offsets[k], highs + self._offsets[k]))
        return _merged(found)

    def where(self, starts: Any, stops: Any) -> Runs:
        starts, stops = np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64)
        found = []
        for k in np.flatnonzero(
            np.searchsorted(stops, self._lows, side="right") < np.searchsorted(starts, self._highs, side="right")
        ).tolist():
            if not self._parts[k].length:
                continue
            lows, highs = self._parts[k].where(starts - self._offsets[k], stops - self._offsets[k])
            begin = int(self._ends[k]) - self._parts[k].length
            found.append((lows + begin, highs + begin))
        return _merged(found)

    @property
    def nbytes(self) -> int:
        return self._offsets.nbytes + sum(part.nbytes for part in self._parts)

    def state(self) -> tuple[tuple[int, ...], tuple[Any, ...]]:
        return (), (self._offsets, *self._parts)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Chained:
        offsets, *stretches = parts
        if any(not isinstance(part, AbstractPositions) for part in stretches):
            raise ValueError("a stretch that is no positions")
        return cls(facts, offsets, stretches)


def _spread(starts: Ints, stops: Ints, begins: Ints, ends: Ints) -> Runs:
    """The stretches that some runs of positions touch, as runs of their numbers."""
    return joined(np.searchsorted(ends, starts, side="right"), np.searchsorted(begins, stops, side="left"))


def _merged(found: Sequence[Runs]) -> Runs:
    """The union of sets of runs."""
    if not found:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    starts, stops = (np.concatenate([runs[side] for runs in found]) for side in (0, 1))
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], np.maximum.accumulate(stops[order])
    return joined(starts, stops)
