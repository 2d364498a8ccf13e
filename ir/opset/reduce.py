"""Ops that fold an axis: reduce to one cell, scan to a running one."""

from __future__ import annotations

from traceprop.errors import TypeRuleError
from traceprop.ir.graph import Op
from traceprop.ir.index_map import AxisRead, Full, Read, Span, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, TableType, Type

reduce = OpDef(
    "reduce",
    "Folds `{axes=(0,)}` away (kept as ones with `keepdims=True`); with `{size=V}` the result has V cells, as many as"
    " the data has distinct values.",
    "needed",
)
scan = OpDef("scan", "Folds up to and including each position along `{axis=0}`.", "needed")


@reduce.types
def _reduce_type(sig: Signature) -> Type:
    (operand,) = sig.operands
    axes = sig.attrs["axes"]
    rank = len(operand.dims)
    if any(not 0 <= k < rank for k in axes) or len(set(axes)) != len(axes):
        raise TypeRuleError(f"axes={axes} are not axes of {operand}")
    dtype = sig.dtype or (operand.dtype if isinstance(operand, ArrayType) else None)
    if dtype is None:
        raise TypeRuleError("the result's dtype must be given")
    if "size" in sig.attrs:
        return ArrayType(dtype, (sig.attrs["size"],))
    keep = sig.attrs.get("keepdims", False)
    if isinstance(operand, TableType) and keep:
        raise TypeRuleError("keepdims is for arrays")
    return ArrayType(dtype, tuple(1 if k in axes else d for k, d in enumerate(operand.dims) if keep or k not in axes))


@reduce.reads
def _reduce_reads(op: Op) -> tuple[Read, ...]:
    """(j) <- %x[*, j]"""
    (operand,) = op.operands
    axes, keep = op.attrs["axes"], op.attrs.get("keepdims", False)
    places: list[AxisRead] = []
    position = 0
    for k in range(operand.rank):
        if k in axes or "size" in op.attrs:
            places.append(Full())
        else:
            places.append(axis(position))
        position += keep or k not in axes
    return (Read(operand, tuple(places)),)


@scan.types
def _scan_type(sig: Signature) -> Type:
    (operand,) = sig.operands
    if not isinstance(operand, ArrayType) or not 0 <= sig.attrs["axis"] < len(operand.dims):
        raise TypeRuleError(f"cannot scan {operand} along axis {sig.attrs['axis']}")
    return ArrayType(sig.dtype or operand.dtype, operand.dims)


@scan.reads
def _scan_reads(op: Op) -> tuple[Read, ...]:
    """(i) <- %x[0..i+1]"""
    (operand,) = op.operands
    along = op.attrs["axis"]
    return (Read(operand, tuple(Span(0, axis(k) + 1) if k == along else axis(k) for k in range(operand.rank))),)
