"""Pairs as one ascending number each: left * width + right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels.reference import Ints


class _Side(AbstractPositions):
    """One column of pairs in lexicographic order, such as a join of one left row with many right ones gives them.

    As numbers they ascend, so that together they take no more than a choice of so many of all pairs that there could be:
    up to two bits a pair more than telling the left row of each right one.
    """

    def __init__(self, facts: Facts, keys: AbstractPositions, width: int) -> None:
        super().__init__(facts)
        if not keys.ascending or keys.length != self.length or width < 1 or keys.facts.low < 0:
            raise ValueError(f"{keys.length} keys of width {width} are not {self.length} pairs")
        self.keys, self.width = keys, width

    def state(self) -> tuple[tuple[int, ...], tuple[AbstractPositions, ...]]:
        return (self.width,), (self.keys,)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> _Side:
        (width,), (keys,) = numbers, parts
        return cls(facts, keys, width)


class Quotients(_Side):
    """The left rows."""

    encoding: ClassVar[str] = "quotients"
    ascending: ClassVar[bool] = True

    def part(self, lo: int, hi: int) -> Ints:
        return self.keys.part(lo, hi) // self.width

    def _take(self, at: Ints) -> Ints:
        return self.keys.take(at) // self.width

    def rank(self, numbers: Ints) -> Ints:
        return self.keys.rank(np.clip(numbers, 0, self.keys.facts.high // self.width + 1) * self.width)


class Remainders(_Side):
    """The right rows."""

    encoding: ClassVar[str] = "remainders"

    def part(self, lo: int, hi: int) -> Ints:
        return self.keys.part(lo, hi) % self.width

    def _take(self, at: Ints) -> Ints:
        return self.keys.take(at) % self.width
