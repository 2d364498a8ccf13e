"""Constants, counters, and everything that computes each result cell from one cell of each operand."""

from __future__ import annotations

from typing import Any

import numpy as np

from traceprop.errors import DimMismatchError, TypeRuleError
from traceprop.ir.expr import Dim
from traceprop.ir.graph import Op
from traceprop.ir.index_map import AxisRead, Kind, Read, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, Field, TableType, Type, dtype_name

constant = OpDef("constant", "A value that the program holds: `{value=1e-08}`, or an array in its side table.", "never")
iota = OpDef("iota", "The integers 0, 1, … along one axis: `{size=N}`.", "never")
elementwise = OpDef(
    "elementwise",
    "Each result cell from the operands' cells at the same place, with NumPy's broadcasting. `spread=((0,), (1,))` says"
    " instead which result axes each operand spans; operands named in `control=(0,)` decide rather than flow;"
    ' `family="c"` makes a two-dimensional result the columns of a table, and so do `names` and `dtypes`, one per column'
    ' (`"i64?"`: it may hold nulls).',
    "needed",
)


def broadcast_dims(*shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """NumPy's broadcasting over symbolic dims; raises `DimMismatchError` for dims that are not shown to be equal."""
    widest = {shape for shape in shapes if shape}
    if len(widest) <= 1:  # the ordinary case: equal shapes, and numbers
        return next(iter(widest), ())
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for position, dim in enumerate(shape, rank - len(shape)):
            if result[position] == 1:
                result[position] = dim
            elif dim not in (1, result[position]):
                raise DimMismatchError(f"cannot broadcast {result[position]} against {dim}", result[position], dim)
    return tuple(result)


def literal_dtype(value: Any) -> str:
    """The dtype of a Python scalar or an array."""
    if isinstance(value, np.ndarray):
        return dtype_name(value.dtype)
    if value is None or isinstance(value, str):
        return "str"
    return dtype_name(np.asarray(value).dtype)


# A Python number may stand for one of a narrower dtype, which then is written in front: `%0: f32[] = constant {value=0.5}`.
_WIDTHS = {"f": "f", "i": "iu", "u": "iu", "c": "c"}


@constant.types
def _constant_type(sig: Signature) -> Type:
    value = sig.attrs["value"]
    dtype = literal_dtype(value)
    if isinstance(value, np.ndarray):
        return ArrayType(dtype, np.shape(value))
    narrower = sig.dtype is not None and any(dtype[0] == c and sig.dtype[0] in widths for c, widths in _WIDTHS.items())
    return ArrayType(sig.dtype if narrower and sig.dtype else dtype)


@constant.reads
def _constant_reads(op: Op) -> tuple[Read, ...]:
    return ()


@iota.types
def _iota_type(sig: Signature) -> Type:
    return ArrayType(sig.dtype or "i64", (sig.attrs["size"],))


@iota.reads
def _iota_reads(op: Op) -> tuple[Read, ...]:
    return ()


def _spread_dims(sig: Signature) -> tuple[Dim, ...]:
    """Result dims where each operand says which result axes it spans."""
    dims: dict[int, Dim] = {}
    if len(sig.attrs["spread"]) != len(sig.operands):
        raise TypeRuleError(f"spread={sig.attrs['spread']} has no entry for each of {len(sig.operands)} operands")
    for operand, spans in zip(sig.operands, sig.attrs["spread"], strict=True):
        if len(spans) != len(operand.dims):
            raise TypeRuleError(f"spread={spans} does not name one result axis for each axis of {operand}")
        for dim, target in zip(operand.dims, spans, strict=True):
            if dims.setdefault(target, dim) != dim:
                raise DimMismatchError(f"axis {target} is both {dims[target]} and {dim}", dims[target], dim)
    if sorted(dims) != list(range(len(dims))):
        raise TypeRuleError(f"spread={sig.attrs['spread']} leaves out a result axis")
    return tuple(dims[target] for target in sorted(dims))


def _named_columns(names: tuple[str, ...], dtypes: tuple[str, ...], dims: tuple[Dim, ...]) -> TableType:
    if len(dims) != 2 or dims[1] != len(names) or len(dtypes) != len(names):
        raise TypeRuleError(f"the columns {names} of {dtypes} are not what cells of shape {dims} make")
    fields = zip(names, dtypes, strict=True)
    return TableType(tuple(Field(name, dtype.rstrip("?"), dtype.endswith("?")) for name, dtype in fields), dims[0])


@elementwise.types
def _elementwise_type(sig: Signature) -> Type:
    if "spread" in sig.attrs:
        dims = _spread_dims(sig)
    else:
        dims = broadcast_dims(*(operand.dims for operand in sig.operands))
    if any(not 0 <= position < len(sig.operands) for position in sig.attrs.get("control", ())):
        raise TypeRuleError(f"control={sig.attrs['control']} are not positions of operands")
    if "family" in sig.attrs:
        if len(dims) != 2:
            raise TypeRuleError(f"a family of columns has two axes, not {len(dims)}")
        return TableType((Field(sig.attrs["family"], sig.dtype or "u8", width=dims[1]),), dims[0])
    if "names" in sig.attrs:
        return _named_columns(sig.attrs["names"], sig.attrs["dtypes"], dims)
    dtypes = [operand.dtype for operand in sig.operands if isinstance(operand, ArrayType)]
    if sig.dtype is None and not dtypes:
        raise TypeRuleError("the result's dtype must be given")
    return ArrayType(sig.dtype or dtypes[0], dims)


@elementwise.reads
def _elementwise_reads(op: Op) -> list[Read]:
    """(i, j) <- %x[i, j], %row[j], %column[i, 0]"""
    control = op.attrs.get("control", ())
    rank = op.result.rank
    reads = []
    for position, operand in enumerate(op.operands):
        spans = op.attrs["spread"][position] if "spread" in op.attrs else range(rank - operand.rank, rank)
        places: list[AxisRead] = [
            0 if dim == 1 and op.result.type.dims[target] != 1 else axis(target)
            for dim, target in zip(operand.type.dims, spans, strict=True)
        ]
        reads.append(Read(operand, tuple(places), Kind.CONTROL if position in control else Kind.DATA))
    return reads
