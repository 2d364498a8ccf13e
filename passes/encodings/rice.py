"""Blocked Rice: gaps between ascending numbers, their high bits in unary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts, shrunk
from traceprop.passes.kernels import bits
from traceprop.passes.kernels.reference import Ints, Words

BLOCK = 256
"""Numbers between two sums of low bits: what `take` adds up at most."""


class Rice(AbstractPositions):
    """Ascending numbers as gaps of `least` and more: floor(rest / 2**width) in unary, the low bits packed (Rice 1979).

    For gaps that are drawn alike, as those of a random filter are, it comes within 4 % of their entropy. The unary parts
    form one bit vector, in which the i-th one stands behind all high bits up to number i: only the low bits need sums,
    kept once per block.
    """

    encoding: ClassVar[str] = "rice"
    ascending: ClassVar[bool] = True

    def __init__(self, facts: Facts, width: int, least: int, upper: Words, lower: Words, sums: NDArray[Any]) -> None:
        super().__init__(facts)
        self._width, self._least, self._upper, self._lower, self._sums = width, least, upper, lower, sums
        if not 0 <= width < 63 or len(lower) != bits.words_for(self.length * width):
            raise ValueError(f"{len(lower)} words are not {self.length} numbers of {width} bits")
        if int(np.bitwise_count(upper).sum()) != self.length or len(sums) != -(-self.length // BLOCK):
            raise ValueError(f"the bit vector does not hold {self.length} numbers")
        self._counts = bits.count_ones(upper)

    @staticmethod
    def best(count: int, excess: int) -> tuple[int, float]:
        """The width that makes gaps with this sum smallest, and about how many bits they take."""
        costs = [
            (count * (width + 1) + max(0.0, excess / 2**width - count * (1 - 2.0**-width) / 2), width)
            for width in range(max(1, (excess // max(count, 1)).bit_length() + 1))
        ]
        cost, width = min(costs)
        return width, cost

    @classmethod
    def of(cls, facts: Facts, numbers: Ints) -> Rice:
        gaps = np.diff(numbers)
        least = int(gaps.min()) if len(gaps) else 0
        rest = np.concatenate((np.zeros(min(len(numbers), 1), dtype=np.int64), gaps - least))
        width, _ = cls.best(len(rest), int(rest.sum()))
        high = np.cumsum(rest >> width) + np.arange(len(rest), dtype=np.int64)
        low = rest & ((1 << width) - 1)
        before = np.cumsum(low) - low
        upper = bits.set_bits(high, int(high[-1]) + 1 if len(high) else 0)
        return cls(facts, width, least, upper, bits.pack(low.view(np.uint64), width), shrunk(before[::BLOCK]))

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        begin = lo // BLOCK * BLOCK
        start = int(bits.select(self._upper, self._counts, np.array([lo]))[0])
        places = bits.ones_from(self._upper, start, hi - lo)
        sums = np.cumsum(bits.unpack(self._lower, self._width, begin, hi).view(np.int64))[lo - begin :]
        return self._whole(places, np.arange(lo, hi, dtype=np.int64), sums + int(self._sums[lo // BLOCK]))

    def _take(self, at: Ints) -> Ints:
        block = at // BLOCK
        places = bits.select(self._upper, self._counts, at)
        sums = bits.packed_sums(self._lower, self._width, block * BLOCK, at + 1).view(np.int64)
        return self._whole(places, at, sums + self._sums[block].astype(np.int64))

    def rank(self, numbers: Ints) -> Ints:
        return self._below(numbers, self._least)

    def spread_rank(self, numbers: Ints) -> Ints:
        return self._below(numbers, self._least - 1)

    def _below(self, numbers: Ints, slope: int) -> Ints:
        inside = np.clip(numbers, self.facts.low - self.length - 1, self.facts.high + 1) - self.facts.low
        sums = self._sums.astype(np.int64)
        return bits.rank_gaps(
            self._upper, self._counts, self._lower, self._width, slope, sums, BLOCK, self.length, inside
        )

    def _whole(self, places: Ints, at: Ints, sums: Ints) -> Ints:
        return ((places - at) << self._width) + sums + at * self._least + self.facts.low

    @property
    def nbytes(self) -> int:
        return self._upper.nbytes + self._counts.nbytes + self._lower.nbytes + self._sums.nbytes

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (self._width, self._least), (self._upper, self._lower, self._sums)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Rice:
        (width, least), (upper, lower, sums) = numbers, parts
        return cls(facts, width, least, upper, lower, sums)
