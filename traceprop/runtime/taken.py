"""Positions that rows of tables are taken by, and nothing else: as the engine has them, written out when a question needs it.

A program whose filter, sort, join or distinct is followed by nothing but a take keeps a packed mask or 32-bit numbers, so that
its lineage is what the engine made anyway. `np.asarray` of any of them gives the int64 positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.ir import Program, TableType, Value
from traceprop.ir.opset import distinct, filter, gather, join, record, sort
from traceprop.passes.optimize.compress import column_of

if TYPE_CHECKING:
    import polars as pl


class AbstractTaken:
    """Positions of rows."""

    __slots__ = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self._positions()
        return found if dtype is None else found.astype(dtype, copy=False)

    def _positions(self) -> np.ndarray:
        raise NotImplementedError

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows at these positions."""
        return frame[np.asarray(self)]


class Chosen(AbstractTaken):
    """The positions at which a mask is true. The mask is copied, one bit per row."""

    __slots__ = ("_length", "_mask")

    def __init__(self, mask: np.ndarray) -> None:
        import polars as pl

        self._mask = pl.Series(np.asarray(mask).reshape(-1).astype(bool, copy=False))
        self._length = int(self._mask.sum())

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        return -(-len(self._mask) // 8)

    def _positions(self) -> np.ndarray:
        return np.flatnonzero(self._mask.to_numpy())

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        # A mask of one cell would be spread over all rows.
        whole = frame.width > 0 and frame.height == len(self._mask)
        return frame.filter(self._mask) if whole else frame[np.asarray(self)]


class Numbered(AbstractTaken):
    """Positions in the engine's own width. `base`: the pairs of which these are a column."""

    __slots__ = ("_numbers", "base")

    def __init__(self, numbers: pl.Series, base: Any = None) -> None:
        self._numbers = numbers
        self.base = base

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def nbytes(self) -> int:
        return 4 * len(self._numbers)

    def _positions(self) -> np.ndarray:
        return self._numbers.to_numpy().astype(np.int64)

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame[self._numbers] if frame.width else frame[np.asarray(self)]


class Pairs(AbstractTaken):
    """Pairs of positions, `(k, 2)`; `pairs[:, side]` are those of one side."""

    __slots__ = ("_sides",)

    def __init__(self, left: pl.Series, right: pl.Series) -> None:
        self._sides = (left, right)

    def __len__(self) -> int:
        return len(self._sides[0])

    def __getitem__(self, index: tuple[Any, int]) -> Numbered:
        return Numbered(self._sides[index[1]], self)

    @property
    def nbytes(self) -> int:
        return 8 * len(self)

    def _positions(self) -> np.ndarray:
        found = np.empty((len(self), 2), dtype=np.int64, order="F")
        for side, numbers in enumerate(self._sides):
            found[:, side] = numbers.to_numpy()
        return found


def only_taken(program: Program) -> set[Value]:
    """The positions of a program that are used for nothing but taking rows of tables, and being recorded."""
    users: dict[Value, list[Any]] = {}
    for op in program.ops:
        for value in op.operands:
            users.setdefault(value, []).append(op)
    returned = set(program.returns)

    def taken(value: Value) -> bool:
        return value not in returned and all(_takes(op, value) for op in users.get(value, ()))

    def _takes(op: Any, value: Value) -> bool:
        if op.definition is record:
            return True
        if op.native is not None:
            return False
        if op.definition is gather:
            table, index = op.operands
            return index is value and isinstance(table.type, TableType) and not op.attrs.get("along")
        return column_of(op.result) is not None and column_of(op.result)[0] is value and taken(op.result)

    makers = (filter, sort, distinct, join)
    return {
        op.result
        for op in program.ops
        if op.definition in makers
        and op.native is None
        and (op.definition is not sort or op.payload == "table.argsort")
        and users.get(op.result)
        and any(user.definition is not record for user in users[op.result])
        and taken(op.result)
    }
