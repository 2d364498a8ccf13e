"""Ops on groups of equal keys: which group each row is in, what a group folds to, and the first row of each."""

from __future__ import annotations

from dataclasses import replace

from traceprop.errors import DimMismatchError, TypeRuleError
from traceprop.ir.graph import Op
from traceprop.ir.index_map import AxisRead, Full, Kind, Look, Members, Read, axes, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, TableType, Type

group = OpDef(
    "group",
    "For every row the number of its group of equal keys; the `{groups=G}` groups are numbered in key order.",
    "never",
)
segment = OpDef(
    "segment",
    "Folds the rows of each of `{groups=G}` groups into one: result row g from those at which `%codes` holds g. A row whose"
    " code is none of 0 … G-1 is in no group.",
    "needed",
)
distinct = OpDef(
    "distinct", "The position of the first row of each distinct key, `{size=K}` of them, in order.", "never"
)
match = OpDef(
    "match",
    "For every cell its position among `%words`, which differ from one another; for one that is not there, how many words"
    " there are.",
    "never",
)


def rows_by(operand: Type, what: str) -> None:
    """Raises `TypeRuleError` for keys that are neither a table nor a one-dimensional array."""
    if isinstance(operand, ArrayType) and len(operand.dims) != 1:
        raise TypeRuleError(f"{what} must be a table or a one-dimensional array, not {operand}")


def _every(op: Op, operand: int = 0) -> tuple[AxisRead, ...]:
    """All places of the operand's axes behind the first: a key is the whole row."""
    return (Full(),) * (op.operands[operand].rank - 1)


@group.types
def _group_type(sig: Signature) -> Type:
    (keys,) = sig.operands
    rows_by(keys, "keys")
    sig.attrs["groups"]
    return ArrayType("i64", (keys.dims[0],))


@group.reads
def _group_reads(op: Op) -> tuple[Read, ...]:
    """(i) <- control %keys[i, *], order %keys[*, *]"""
    (keys,) = op.operands
    return (Read(keys, (axis(0), *_every(op)), Kind.CONTROL), Read(keys, (Full(), *_every(op)), Kind.ORDER))


@segment.types
def _segment_type(sig: Signature) -> Type:
    operand, codes = sig.operands
    if not isinstance(codes, ArrayType) or codes.dtype[0] not in "iu" or len(codes.dims) != 1:
        raise TypeRuleError(f"the codes must be a one-dimensional integer array, not {codes}")
    if not operand.dims:
        raise TypeRuleError(f"{operand} has no rows")
    if operand.dims[0] != codes.dims[0]:
        message = f"{operand.dims[0]} rows and {codes.dims[0]} codes"
        raise DimMismatchError(message, operand.dims[0], codes.dims[0])
    if isinstance(operand, TableType):
        return replace(operand, rows=sig.attrs["groups"])
    return ArrayType(sig.dtype or operand.dtype, (sig.attrs["groups"], *operand.dims[1:]))


@segment.reads
def _segment_reads(op: Op) -> tuple[Read, ...]:
    """(i, j) <- %x[%codes==i, j], control %codes[%codes==i], order %codes[*]"""
    operand, codes = op.operands
    names = axes(op.result.rank)
    members = Members(codes, names[0])
    return (
        Read(operand, (members, *names[1:])),
        Read(codes, (members,), Kind.CONTROL),
        Read(codes, (Full(),), Kind.ORDER),
    )


@distinct.types
def _distinct_type(sig: Signature) -> Type:
    (keys,) = sig.operands
    rows_by(keys, "keys")
    return ArrayType("i64", (sig.attrs["size"],))


@distinct.reads
def _distinct_reads(op: Op) -> tuple[Read, ...]:
    """(i) <- control %keys[result[i], *], order %keys[*, *]"""
    (keys,) = op.operands
    own = Look(op.result, (axis(0),))
    return (Read(keys, (own, *_every(op)), Kind.CONTROL), Read(keys, (Full(), *_every(op)), Kind.ORDER))


@match.types
def _match_type(sig: Signature) -> Type:
    cells, words = sig.operands
    if not isinstance(cells, ArrayType) or not isinstance(words, ArrayType) or len(words.dims) != 1:
        raise TypeRuleError(f"arrays are looked for among one-dimensional words, not {cells} among {words}")
    if cells.dtype != words.dtype:
        raise TypeRuleError(f"{cells.dtype} is looked for among {words.dtype}")
    return ArrayType("i64", cells.dims)


@match.reads
def _match_reads(op: Op) -> tuple[Read, ...]:
    """(i) <- %cells[i], %words[*]"""
    cells, words = op.operands
    return (Read(cells, axes(op.result.rank)), Read(words, (Full(),)))
