"""One bit per number that there could be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels import bits
from traceprop.passes.kernels.reference import Ints, Words


class Bitmap(AbstractPositions):
    """Ascending numbers, none twice, as ones in a bit vector that begins at the smallest: for about one number in two."""

    encoding: ClassVar[str] = "bitmap"
    ascending: ClassVar[bool] = True

    def __init__(self, facts: Facts, words: Words) -> None:
        super().__init__(facts)
        self._words, self._counts = words, bits.count_ones(words)
        if int(np.bitwise_count(words).sum()) != self.length:
            raise ValueError(f"the bit vector does not hold {self.length} numbers")

    @classmethod
    def of(cls, facts: Facts, numbers: Ints) -> Bitmap:
        return cls(facts, bits.set_bits(numbers - facts.low, facts.high - facts.low + 1))

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        start = int(bits.select(self._words, self._counts, np.array([lo]))[0])
        return bits.ones_from(self._words, start, hi - lo) + self.facts.low

    def _take(self, at: Ints) -> Ints:
        return bits.select(self._words, self._counts, at) + self.facts.low

    def rank(self, numbers: Ints) -> Ints:
        inside = np.clip(numbers, self.facts.low, self.facts.high + 1)
        return bits.rank(self._words, self._counts, inside - self.facts.low)

    @property
    def nbytes(self) -> int:
        return self._words.nbytes + self._counts.nbytes

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (), (self._words,)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Bitmap:
        (words,) = parts
        if len(words) != bits.words_for(facts.high - facts.low + 1):
            raise ValueError(f"the bit vector is not {facts.high - facts.low + 1} bits long")
        return cls(facts, words)
