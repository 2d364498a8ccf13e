"""Few different numbers, far apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels.reference import Ints, Runs


class Dictionary(AbstractPositions):
    """The different numbers in ascending order, and for each position which of them stands there: both encoded."""

    encoding: ClassVar[str] = "dictionary"

    def __init__(self, facts: Facts, words: AbstractPositions, codes: AbstractPositions) -> None:
        super().__init__(facts)
        if codes.length != self.length or (self.length and not 0 <= codes.facts.low <= codes.facts.high < words.length):
            raise ValueError(f"{codes.length} codes of {words.length} words are not {self.length} numbers")
        self._words, self._codes = words, codes

    def part(self, lo: int, hi: int) -> Ints:
        return self._words.take(self._codes.part(lo, hi))

    def _take(self, at: Ints) -> Ints:
        return self._words.take(self._codes._take(at))

    def image(self, starts: Any, stops: Any) -> Runs:
        return self._words.image(*self._codes.image(starts, stops))

    def where(self, starts: Any, stops: Any) -> Runs:
        return self._codes.where(*self._words.where(starts, stops))

    def state(self) -> tuple[tuple[int, ...], tuple[AbstractPositions, ...]]:
        return (), (self._words, self._codes)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Dictionary:
        words, codes = parts
        if not isinstance(words, AbstractPositions) or not isinstance(codes, AbstractPositions):
            raise ValueError("a dictionary is made of positions")
        return cls(facts, words, codes)
