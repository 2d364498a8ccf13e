"""Numbers in as many bits as the largest needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels import bits
from traceprop.passes.kernels.reference import Ints, Words


class Packed(AbstractPositions):
    """ceil(log2(span)) bits for each number's distance from the smallest: for permutations, and what else has no order.

    A random order of n rows takes log2 n! = n (log2 n - 1.44) bits at least, which this exceeds by 8 % at a million.
    """

    encoding: ClassVar[str] = "packed"

    def __init__(self, facts: Facts, width: int, words: Words) -> None:
        super().__init__(facts)
        if not 0 <= width <= 64 or len(words) != bits.words_for(self.length * width):
            raise ValueError(f"{len(words)} words are not {self.length} numbers of {width} bits")
        self._width, self._words = width, words

    @classmethod
    def of(cls, facts: Facts, numbers: Ints) -> Packed:
        width = (facts.high - facts.low).bit_length()
        return cls(facts, width, bits.pack(numbers.view(np.uint64) - _base(facts), width))

    def part(self, lo: int, hi: int) -> Ints:
        return self._whole(bits.unpack(self._words, self._width, lo, hi))

    def _take(self, at: Ints) -> Ints:
        return self._whole(bits.unpack_at(self._words, self._width, at))

    def _whole(self, offsets: Words) -> Ints:
        offsets += _base(self.facts)
        return offsets.view(np.int64)

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (self._width,), (self._words,)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Packed:
        (width,), (words,) = numbers, parts
        return cls(facts, width, words)


def _base(facts: Facts) -> np.uint64:
    """The smallest number, modulo 2**64: so that distances of any two fit."""
    return np.uint64(facts.low % (1 << 64))
