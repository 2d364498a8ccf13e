"""Ops that do nothing."""

from __future__ import annotations

from typing import ClassVar

from traceprop.ir.graph import Op, Value
from traceprop.ir.opset import broadcast, reshape, slice, transpose
from traceprop.passes.rewrite import AbstractRewrite


class Fold(AbstractRewrite):
    """broadcast, reshape, transpose or slice whose index map is the identity  =>  its operand

    The map (i, j) <- %x[i, j] says that every result cell is the operand's cell at the same place, so values and lineage
    are kept. Column selections stay: the columns of a table are also its schema.
    """

    name: ClassVar[str] = "fold"

    def rewrite(self, op: Op) -> Value | None:
        if op.definition not in (broadcast, reshape, transpose, slice) or op.operands[0].type != op.result.type:
            return None
        if op.definition is transpose and op.attrs["axes"] != tuple(range(op.result.rank)):
            return None
        if op.definition is slice and op.attrs.get("index") is None:
            return None
        if op.definition is slice and any(
            not isinstance(item, tuple) or (item[2] or 1) != 1 for item in op.attrs["index"]
        ):
            return None
        return op.operands[0]
