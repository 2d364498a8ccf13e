"""Positions that a seeded generator draws."""

from __future__ import annotations

from traceprop.errors import TypeRuleError
from traceprop.ir.graph import Op
from traceprop.ir.index_map import Read
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, Type

random = OpDef(
    "random",
    "`{count=3}` different positions of the operand's first axis, drawn by NumPy's default generator with `{seed=0}`. What"
    " the operand holds does not matter, only how many rows it has.",
    "never",
)


@random.types
def _random_type(sig: Signature) -> Type:
    (operand,) = sig.operands
    count = sig.attrs["count"]
    rows = operand.dims[0] if operand.dims else 0
    if isinstance(count, int) and (count < 0 or isinstance(rows, int) and count > rows):
        raise TypeRuleError(f"{count} rows cannot be drawn from {rows}")
    return ArrayType("i64", (count,))


@random.reads
def _random_reads(op: Op) -> tuple[Read, ...]:
    return ()
