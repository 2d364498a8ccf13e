"""Numbers as digits of a base that is no power of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels import bits
from traceprop.passes.kernels.reference import Ints, Words


class Digits(AbstractPositions):
    """As many to a word of 64 bits as its base lets in: five groups take 2.37 bits each, where packed ones take 3."""

    encoding: ClassVar[str] = "digits"

    def __init__(self, facts: Facts, words: Words) -> None:
        super().__init__(facts)
        self._base = facts.high - facts.low + 1
        if len(words) != -(-self.length // bits.digits_per_word(self._base)):
            raise ValueError(f"{len(words)} words are not {self.length} digits of base {self._base}")
        self._words = words

    @staticmethod
    def width(span: int) -> float:
        """Bits for a number among so many; more than any for what is no base."""
        return 64 / bits.digits_per_word(span) if 2 <= span <= 1 << 32 else np.inf

    @classmethod
    def of(cls, facts: Facts, numbers: Ints) -> Digits:
        base = facts.high - facts.low + 1
        per = bits.digits_per_word(base)
        table = np.zeros(-(-len(numbers) // per) * per, dtype=np.uint64)
        table[: len(numbers)] = numbers - facts.low
        powers = np.array([base**k for k in range(per)], dtype=np.uint64)
        return cls(facts, (table.reshape(-1, per) * powers).sum(axis=1, dtype=np.uint64))

    def part(self, lo: int, hi: int) -> Ints:
        return bits.digits(self._words, self._base, lo, hi).view(np.int64) + self.facts.low

    def _take(self, at: Ints) -> Ints:
        return bits.digits_at(self._words, self._base, at).view(np.int64) + self.facts.low

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (), (self._words,)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Digits:
        (words,) = parts
        return cls(facts, words)
