"""Ops on rows whose positions the data may decide: gather, filter, sort; and concat, whose pieces are known."""

from __future__ import annotations

from dataclasses import replace

from traceprop.errors import DimMismatchError, TypeRuleError
from traceprop.ir.expr import Dim
from traceprop.ir.graph import Op
from traceprop.ir.index_map import Bound, Full, Kind, Look, Read, axes, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, Field, TableType, Type, dtype_name, numpy_dtype

gather = OpDef(
    "gather",
    "Takes the positions that `%index` holds along `{axis=0}`; with `{along=True}` every cell looks up its own, in an index of"
    " the result's shape. A position below zero counts from the end.",
)
filter = OpDef("filter", "The positions at which a boolean array is true, `{size=K}` of them, in order.", "never")
sort = OpDef(
    "sort",
    "The permutation that sorts the operands, first key first, along `{axis=0}`: the stable one, or what another of"
    ' NumPy\'s algorithms gives, `{kind="quicksort"}`.',
)
concat = OpDef(
    "concat",
    "Operands one after another along `{axis=0}`; along axis 1 a table takes columns, arrays among them under `names`.",
)


@gather.types
def _gather_type(sig: Signature) -> Type:
    operand, index = sig.operands
    if not isinstance(index, ArrayType) or index.dtype[0] not in "iu":
        raise TypeRuleError(f"the index must be an integer array, not {index}")
    k = sig.attrs.get("axis", 0)
    if isinstance(operand, TableType):
        if len(index.dims) != 1 or k != 0 or sig.attrs.get("along"):
            raise TypeRuleError(
                f"rows of a table are taken by a one-dimensional index along axis 0, not {index} along {k}"
            )
        fields = operand.fields
        if sig.attrs.get("non_null"):
            fields = tuple(replace(field, nullable=False) for field in fields)
        return TableType(fields, index.dims[0])
    if not 0 <= k < len(operand.dims):
        raise TypeRuleError(f"{operand} has no axis {k}")
    if sig.attrs.get("along"):
        others = operand.dims[:k] + operand.dims[k + 1 :]
        if len(index.dims) != len(operand.dims) or others != index.dims[:k] + index.dims[k + 1 :]:
            raise TypeRuleError(f"an index {index} does not lie along axis {k} of {operand}")
        return ArrayType(operand.dtype, index.dims)
    return ArrayType(operand.dtype, (*operand.dims[:k], *index.dims, *operand.dims[k + 1 :]))


@gather.reads
def _gather_reads(op: Op) -> tuple[Read, ...]:
    """(i, j) <- %x[%index[i], j], and %index[i] decided it"""
    operand, index = op.operands
    k = op.attrs.get("axis", 0)
    names = axes(op.result.rank)
    if op.attrs.get("along"):
        return (Read(operand, (*names[:k], Look(index, names), *names[k + 1 :])), Read(index, names, Kind.CONTROL))
    at = names[k : k + index.rank]
    return (
        Read(operand, (*names[:k], Look(index, at), *names[k + index.rank :])),
        Read(index, at, Kind.CONTROL),
    )


@filter.types
def _filter_type(sig: Signature) -> Type:
    (mask,) = sig.operands
    if not isinstance(mask, ArrayType) or mask.dtype != "bool" or len(mask.dims) != 1:
        raise TypeRuleError(f"the mask must be a one-dimensional boolean array, not {mask}")
    return ArrayType("i64", (sig.attrs["size"],))


def _decided_by(op: Op) -> list[Read]:
    """The own cell of each chosen position is its control; all the others decided where it landed."""
    along = op.attrs.get("axis", 0)
    names = axes(op.result.rank)
    own = tuple(Look(op.result, names) if k == along else name for k, name in enumerate(names))
    others = tuple(Full() if k == along else name for k, name in enumerate(names))
    return [read for key in op.operands for read in (Read(key, own, Kind.CONTROL), Read(key, others, Kind.ORDER))]


@filter.reads
def _filter_reads(op: Op) -> list[Read]:
    """(i) <- %mask[result[i]] (control), %mask[*] (order)"""
    return _decided_by(op)


@sort.types
def _sort_type(sig: Signature) -> Type:
    if not sig.operands:
        raise TypeRuleError("there is nothing to sort by")
    first = sig.operands[0]
    for keys in sig.operands:
        known = isinstance(keys, ArrayType) and 0 <= sig.attrs["axis"] < len(keys.dims) == len(first.dims)
        if not known or not isinstance(keys, ArrayType):
            raise TypeRuleError(f"cannot sort {keys} along axis {sig.attrs['axis']}")
        for left, right in zip(first.dims, keys.dims, strict=True):
            if left != right:
                message = f"cannot sort {keys} along axis {sig.attrs['axis']} by {first}"
                raise DimMismatchError(message, left, right)
    return ArrayType(sig.dtype if sig.dtype in ("i32", "i64") else "i64", first.dims)


@sort.reads
def _sort_reads(op: Op) -> list[Read]:
    """(i) <- %keys[result[i]] (control), %keys[*] (order)"""
    return _decided_by(op)


def _promote(left: Field, right: Field) -> Field:
    if left.dtype == right.dtype:
        dtype = left.dtype
    elif "str" in (left.dtype, right.dtype):
        raise TypeRuleError(f"column {left.name!r} is {left.dtype} in one table and {right.dtype} in another")
    else:
        dtype = dtype_name(numpy_dtype(left.dtype) if right is left else _common(left.dtype, right.dtype))
    if left.width != right.width:
        raise TypeRuleError(
            f"column family {left.name!r} has {left.width} columns in one table, {right.width} in another"
        )
    return replace(left, dtype=dtype, nullable=left.nullable or right.nullable)


def _common(left: str, right: str) -> object:
    import numpy as np

    return np.promote_types(numpy_dtype(left), numpy_dtype(right))


def _stack_tables(tables: tuple[Type, ...]) -> TableType:
    first, *rest = tables
    if not isinstance(first, TableType):
        raise TypeRuleError("tables and arrays cannot be put under one another")
    fields, rows = first.fields, first.rows
    for table in rest:
        if not isinstance(table, TableType):
            raise TypeRuleError("tables and arrays cannot be put under one another")
        names, others = [f.name for f in fields], [f.name for f in table.fields]
        if names != others:
            differing = sorted(set(names) ^ set(others)) or [a for a, b in zip(names, others, strict=True) if a != b]
            raise TypeRuleError(
                f"the tables differ in column {differing[0]!r}; bring them to the same columns in the same order"
            )
        fields = tuple(_promote(a, b) for a, b in zip(fields, table.fields, strict=True))
        rows = rows + table.rows
    return TableType(fields, rows)


def _join_columns(sig: Signature) -> TableType:
    arrays = [operand for operand in sig.operands if isinstance(operand, ArrayType)]
    names = iter(sig.attrs.get("names", ()))
    if len(sig.attrs.get("names", ())) != len(arrays) or any(len(array.dims) not in (1, 2) for array in arrays):
        raise TypeRuleError("each array needs a name in names, and one or two axes")
    fields: list[Field] = []
    rows = sig.operands[0].dims[0]
    for operand in sig.operands:
        if operand.dims[0] != rows:
            raise DimMismatchError(f"columns of {rows} and of {operand.dims[0]} rows", rows, operand.dims[0])
        if isinstance(operand, TableType):
            fields.extend(operand.fields)
        else:
            width = operand.dims[1] if len(operand.dims) == 2 else None
            fields.append(Field(next(names), operand.dtype, width=width))
    called = [field.name for field in fields]
    if len(set(called)) < len(called):
        raise TypeRuleError(f"two columns are called {next(name for name in called if called.count(name) > 1)!r}")
    return TableType(tuple(fields), rows)


@concat.types
def _concat_type(sig: Signature) -> Type:
    k = sig.attrs["axis"]
    if not sig.operands:
        raise TypeRuleError("there is nothing to put together")
    if "names" in sig.attrs and k != 1:
        raise TypeRuleError("names are for columns, put together along axis 1")
    tables = [operand for operand in sig.operands if isinstance(operand, TableType)]
    if "names" in sig.attrs or (tables and k == 1):
        return _join_columns(sig)
    if tables:
        return _stack_tables(sig.operands)
    first = sig.operands[0]
    if not 0 <= k < len(first.dims):
        raise TypeRuleError(f"{first} has no axis {k}")
    total: Dim = 0
    for operand in sig.operands:
        if len(operand.dims) != len(first.dims):
            raise TypeRuleError("all arrays must have the same number of axes")
        for position, (left, right) in enumerate(zip(first.dims, operand.dims, strict=True)):
            if position != k and left != right:
                raise DimMismatchError(f"axis {position} is {left} in one array and {right} in another", left, right)
        total = total + operand.dims[k]
    dtypes = {operand.dtype for operand in sig.operands if isinstance(operand, ArrayType)}
    if sig.dtype is None and len(dtypes) > 1:
        raise TypeRuleError("the result's dtype must be given, since the operands' differ")
    return ArrayType(sig.dtype or dtypes.pop(), (*first.dims[:k], total, *first.dims[k + 1 :]))


@concat.reads
def _concat_reads(op: Op) -> list[Read]:
    """(i<N, j) <- %a[i, j] | (i>=N, j) <- %b[i-N, j]"""
    k = op.attrs["axis"]
    reads = []
    offset: Dim = 0
    last = len(op.operands) - 1
    for position, operand in enumerate(op.operands):
        size = operand.type.dims[k] if operand.rank > k else 1
        bound = Bound(k, offset if position else None, offset + size if position < last else None)
        places: list[Dim] = [axis(position) for position in range(operand.rank)]
        if operand.rank > k:
            places[k] = axis(k) - offset
        reads.append(Read(operand, tuple(places), where=(bound,) if last else ()))
        offset = offset + size
    return reads
