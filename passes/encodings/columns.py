"""Index arrays of several columns: the pairs of a join."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from traceprop.passes.encodings.blocks import Repeated
from traceprop.passes.encodings.keyed import Quotients, Remainders
from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.kernels.reference import Ints


class Columns(AbstractPositions):
    """Each column of a two-dimensional array in an encoding of its own: left rows ascend, right ones seldom do.

    Left rows that are repeated by the blocks of right ones share these, and both sides may be parts of the same keys: what is
    shared is held once.
    """

    encoding: ClassVar[str] = "columns"

    def __init__(self, facts: Facts, columns: Sequence[AbstractPositions]) -> None:
        super().__init__(facts)
        if len(facts.shape) != 2 or [c.shape for c in columns] != [facts.shape[:1]] * facts.shape[1]:
            raise ValueError(f"{len(columns)} columns do not make an array of shape {facts.shape}")
        self.columns = tuple(columns)

    def column(self, k: int) -> AbstractPositions:
        """The positions of one column; nothing is copied."""
        return self.columns[k]

    def part(self, lo: int, hi: int) -> Ints:
        width = len(self.columns)
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        first, last = lo // width, -(-hi // width)
        rows = np.stack([column.part(first, last) for column in self.columns], axis=1)
        return rows.reshape(-1)[lo - first * width : hi - first * width]

    def _take(self, at: Ints) -> Ints:
        row, k = np.divmod(at, len(self.columns))
        found = np.empty(len(at), dtype=np.int64)
        for n, column in enumerate(self.columns):
            found[k == n] = column.take(row[k == n])
        return found

    def state(self) -> tuple[tuple[int, ...], tuple[AbstractPositions, ...]]:
        if len(self.columns) == 2 and isinstance(left := self.columns[0], Repeated) and left.blocks is self.columns[1]:
            return (left.facts.low, left.facts.high), (left.rows, left.blocks)
        if len(self.columns) == 2 and isinstance(left := self.columns[0], Quotients):
            right = self.columns[1]
            if isinstance(right, Remainders) and right.keys is left.keys:
                bounds = (left.facts.low, left.facts.high, right.facts.low, right.facts.high)
                return (*bounds, left.width), (left.keys,)
        return (), self.columns

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Columns:
        if len(numbers) == 5:
            sides = [Facts(facts.shape[:1], facts.dtype, *numbers[k : k + 2]) for k in (0, 2)]
            (keys,) = parts
            return cls(facts, [Quotients(sides[0], keys, numbers[4]), Remainders(sides[1], keys, numbers[4])])
        if numbers:
            low, high = numbers
            rows, blocks = parts
            return cls(facts, [Repeated(Facts(facts.shape[:1], facts.dtype, low, high), rows, blocks), blocks])
        return cls(facts, parts)
