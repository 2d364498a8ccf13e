"""Elias–Fano: high bits in unary, low bits packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels import bits
from traceprop.passes.kernels.reference import Ints, Words


class EliasFano(AbstractPositions):
    """Ascending numbers, repeats allowed, in 2 + log2(span / count) bits each (Elias 1974, Fano 1971): for sparse ones.

    The `width` low bits of number i are packed; the rest, h, is a one at place h + i of a bit vector. So `take` finds one
    one and reads one packed number, and `rank` finds one zero and bisects among the numbers with the same high bits.
    """

    encoding: ClassVar[str] = "elias-fano"
    ascending: ClassVar[bool] = True

    def __init__(self, facts: Facts, width: int, upper: Words, lower: Words) -> None:
        super().__init__(facts)
        self._width, self._upper, self._lower = width, upper, lower
        if not 0 <= width < 63 or len(lower) != bits.words_for(self.length * width):
            raise ValueError(f"{len(lower)} words are not {self.length} numbers of {width} bits")
        if int(np.bitwise_count(upper).sum()) != self.length:
            raise ValueError(f"the bit vector does not hold {self.length} numbers")
        self._counts = bits.count_ones(upper)

    @staticmethod
    def best_width(count: int, span: int) -> int:
        """How many low bits make the encoding smallest: floor(log2(span / count))."""
        return max(0, (span // count).bit_length() - 1) if count else 0

    @classmethod
    def of(cls, facts: Facts, numbers: Ints) -> EliasFano:
        span = facts.high - facts.low + 1
        width = cls.best_width(facts.length, span)
        offsets = numbers - facts.low
        high = (offsets >> width) + np.arange(len(offsets), dtype=np.int64)
        lower = bits.pack((offsets & ((1 << width) - 1)).view(np.uint64), width)
        return cls(facts, width, bits.set_bits(high, int(high[-1]) + 2 if len(high) else 0), lower)

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        start = int(bits.select(self._upper, self._counts, np.array([lo]))[0])
        places = bits.ones_from(self._upper, start, hi - lo)
        places -= np.arange(lo, hi, dtype=np.int64)
        return self._whole(places, bits.unpack(self._lower, self._width, lo, hi))

    def _take(self, at: Ints) -> Ints:
        places = bits.select(self._upper, self._counts, at)
        return self._whole(places - at, bits.unpack_at(self._lower, self._width, at))

    def _whole(self, high: Ints, low: Words) -> Ints:
        high <<= self._width
        high |= low.view(np.int64)
        high += self.facts.low
        return high

    def rank(self, numbers: Ints) -> Ints:
        if not self.length:
            return np.zeros(len(numbers), dtype=np.int64)
        offsets = np.clip(numbers, self.facts.low, self.facts.high + 1) - self.facts.low
        bucket = offsets >> self._width
        wanted = offsets & ((1 << self._width) - 1)
        # bucket h holds the ones between zeros h - 1 and h, and at zero h stand h zeros before it
        before = bits.select(self._upper, self._counts, np.maximum(bucket - 1, 0), ones=False) - np.maximum(
            bucket - 1, 0
        )
        low = np.where(bucket == 0, 0, np.minimum(before, self.length))
        high = np.minimum(bits.select(self._upper, self._counts, bucket, ones=False) - bucket, self.length)
        high = np.maximum(high, low)
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            open_ = low < high
            middle = (low + high) >> 1
            below = open_.copy()
            below[open_] = bits.unpack_at(self._lower, self._width, middle[open_]).view(np.int64) < wanted[open_]
            low = np.where(below, middle + 1, low)
            high = np.where(open_ & ~below, middle, high)
        return low

    @property
    def nbytes(self) -> int:
        return self._upper.nbytes + self._counts.nbytes + self._lower.nbytes

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (self._width,), (self._upper, self._lower)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> EliasFano:
        (width,), (upper, lower) = numbers, parts
        return cls(facts, width, upper, lower)
