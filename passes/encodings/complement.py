"""The numbers that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels import dispatch
from traceprop.passes.kernels.reference import Ints


class Complement(AbstractPositions):
    """low … high without the numbers that other, ascending positions hold: for a filter that drops few rows.

    z[j] - j numbers are there before the j-th missing one z[j], and that does not fall; so `take` bisects, and `rank` subtracts.
    """

    encoding: ClassVar[str] = "all but"
    ascending: ClassVar[bool] = True

    def __init__(self, facts: Facts, missing: AbstractPositions) -> None:
        super().__init__(facts)
        if not missing.ascending or self.length + missing.length != facts.high - facts.low + 1:
            raise ValueError("the missing numbers and those that are there make no whole")
        self._missing = missing

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        first, last = self._take(np.array([lo, hi - 1])).tolist()
        begin, end = self._missing.rank(np.array([first, last])).tolist()
        if end - begin > last - first:
            raise ValueError("more numbers are missing than there could be")
        there = np.ones(last - first + 1, dtype=bool)
        gone = self._missing.part(begin, end) - first
        there[gone[(gone >= 0) & (gone < len(there))]] = False
        numbers: Ints = np.flatnonzero(there) + first
        return numbers

    def _take(self, at: Ints) -> Ints:
        start = self.facts.low
        return at + start + self._missing.spread_rank(at + start + 1)

    def rank(self, numbers: Ints) -> Ints:
        inside = np.clip(numbers, self.facts.low, self.facts.high + 1)
        return inside - self.facts.low - self._missing.rank(inside)

    @property
    def nbytes(self) -> int:
        return self._missing.nbytes

    def state(self) -> tuple[tuple[int, ...], tuple[AbstractPositions, ...]]:
        return (), (self._missing,)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Complement:
        (missing,) = parts
        return cls(facts, missing)


def missing_from(facts: Facts, numbers: Ints) -> tuple[Facts, Ints]:
    """The numbers between the smallest and the largest of ascending ones that are not among them."""
    begins, ends = dispatch.runs_from_indices(numbers)
    gone = dispatch.runs_to_indices(ends[:-1], begins[1:])
    low, high = (int(gone[0]), int(gone[-1])) if len(gone) else (0, 0)
    return Facts((len(gone),), facts.dtype, low, high), gone
