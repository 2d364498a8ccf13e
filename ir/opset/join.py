"""Rows of two tables brought together by key, and what a row without a match takes."""

from __future__ import annotations

from dataclasses import replace

from traceprop.errors import TypeRuleError
from traceprop.ir.graph import Op
from traceprop.ir.index_map import AxisRead, Bound, Full, Kind, Look, Read, axes, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.opset.group import rows_by
from traceprop.ir.types import ArrayType, TableType, Type

join = OpDef(
    "join",
    'The `{size=K}` pairs of a left and a right row whose keys are equal, in left order, then right: `{how="inner"}`. `"left"`'
    ' pairs a left row without a match with the last right row, which matches nothing else. `"semi"` and `"anti"` give left'
    " positions alone: of the rows that have a match, or have none. A null matches nothing.",
    "never",
)
pad = OpDef("pad", "A table with `{rows=1}` rows of nulls under it, which read nothing.", "never")

HOWS = ("inner", "left", "semi", "anti")
_NUMBERS = "iuf"


@join.types
def _join_type(sig: Signature) -> Type:
    left, right = sig.operands
    how, size = sig.attrs["how"], sig.attrs["size"]
    if how not in HOWS:
        raise TypeRuleError(f"how is one of {', '.join(map(repr, HOWS))}, not {how!r}")
    rows_by(left, "left keys")
    rows_by(right, "right keys")
    keys, others = _keys(left), _keys(right)
    if len(keys) != len(others):
        raise TypeRuleError(f"{len(keys)} left keys and {len(others)} right keys")
    for (name, one), (_, other) in zip(keys, others, strict=True):
        if one != other and not (one[0] in _NUMBERS and other[0] in _NUMBERS):
            raise TypeRuleError(f"key {name} is {one} in the left table and {other} in the right; cast one of them")
    return ArrayType("i64", (size, 2) if how in ("inner", "left") else (size,))


def _keys(keys: Type) -> list[tuple[str, str]]:
    if isinstance(keys, ArrayType):
        return [("", keys.dtype)]
    return [(repr(field.name), field.dtype) for field in keys.fields]


@join.reads
def _join_reads(op: Op) -> list[Read]:
    """(i, j) <- control %left[result[i, 0], *], order %left[*, *], control %right[result[i, 1], *], order %right[*, *]"""
    reads = []
    for side, keys in enumerate(op.operands):
        rest: tuple[AxisRead, ...] = (Full(),) * (keys.rank - 1)
        if op.result.rank == 2:
            reads.append(Read(keys, (Look(op.result, (axis(0), side)), *rest), Kind.CONTROL))
        elif side == 0:
            reads.append(Read(keys, (Look(op.result, (axis(0),)), *rest), Kind.CONTROL))
        reads.append(Read(keys, (Full(), *rest), Kind.ORDER))
    return reads


@pad.types
def _pad_type(sig: Signature) -> Type:
    (table,) = sig.operands
    if not isinstance(table, TableType):
        raise TypeRuleError(f"{table} has no nulls to put under it")
    return TableType(tuple(replace(field, nullable=True) for field in table.fields), table.rows + sig.attrs["rows"])


@pad.reads
def _pad_reads(op: Op) -> tuple[Read, ...]:
    """(i<N, j) <- %t[i, j]"""
    (table,) = op.operands
    return (Read(table, axes(2), where=(Bound(0, None, table.type.dims[0]),)),)
