"""An index array as the engine left it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels.reference import Ints


class Plain(AbstractPositions):
    """All numbers, written out: what a constant or an argument is, and what numbers without any pattern come to."""

    encoding: ClassVar[str] = "plain"

    def __init__(self, facts: Facts, numbers: NDArray[Any]) -> None:
        super().__init__(facts)
        self._numbers = numbers.reshape(-1)
        if len(self._numbers) != self.length or numbers.dtype.kind not in "iu":
            raise ValueError(f"{facts.shape} is not the shape of {len(self._numbers)} {numbers.dtype} numbers")

    @classmethod
    def of(cls, numbers: NDArray[Any]) -> Plain:
        """The array itself; nothing is copied where it is contiguous."""
        low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
        return cls(Facts(numbers.shape, numbers.dtype, low, high), numbers)

    def part(self, lo: int, hi: int) -> Ints:
        return self._numbers[lo:hi].astype(np.int64)

    def _take(self, at: Ints) -> Ints:
        return self._numbers[at].astype(np.int64)

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (), (self._numbers,)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Plain:
        (held,) = parts
        return cls(facts, held)
