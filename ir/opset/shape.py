"""Ops that move cells by a rule known before the run: broadcast, reshape, transpose, slice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from traceprop.errors import DimMismatchError, TypeRuleError
from traceprop.ir.expr import Dim, Expr, evaluate, floordiv, maximum, minimum, mod, product, symbols_of
from traceprop.ir.graph import Op
from traceprop.ir.index_map import AxisRead, Bound, Read, axes, axis
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.opset.elementwise import broadcast_dims
from traceprop.ir.types import ArrayType, TableType, Type

broadcast = OpDef("broadcast", "Repeats cells to `{shape=(N,4)}` by NumPy's rules.", "never")
reshape = OpDef("reshape", "The same cells in the same (row-major) order under another `{shape=…}`.", "never")
transpose = OpDef("transpose", "Result axis k is operand axis `axes[k]`.", "never")
slice = OpDef(
    "slice",
    "Basic indexing: per operand axis an int or (start, stop, step), `None` for a new axis; of a table `{column=…}`"
    " (an array) or `{columns=(…)}` (a table).",
    "never",
)


def _dtype(type: Type) -> str:
    if isinstance(type, ArrayType):
        return type.dtype
    raise TypeRuleError(f"takes an array, not {type}; turn the table into one with .to_numpy()")


@broadcast.types
def _broadcast_type(sig: Signature) -> Type:
    (operand,) = sig.operands
    shape = tuple(sig.attrs["shape"])
    if broadcast_dims(operand.dims, shape) != shape:
        raise TypeRuleError(f"{operand} does not broadcast to {shape}")
    return ArrayType(_dtype(operand), shape)


@broadcast.reads
def _broadcast_reads(op: Op) -> tuple[Read, ...]:
    (operand,) = op.operands
    lead = op.result.rank - operand.rank
    places: list[AxisRead] = [
        0 if dim == 1 and op.result.type.dims[lead + k] != 1 else axis(lead + k)
        for k, dim in enumerate(operand.type.dims)
    ]
    return (Read(operand, tuple(places)),)


@reshape.types
def _reshape_type(sig: Signature) -> Type:
    (operand,) = sig.operands
    shape = tuple(sig.attrs["shape"])
    cells, wanted = product(operand.dims), product(shape)
    if cells != wanted:
        raise DimMismatchError(f"cannot reshape {operand} to ({', '.join(map(str, shape))})", cells, wanted)
    return ArrayType(_dtype(operand), shape)


def _about(dim: Dim) -> int:
    """A size to compare by, for unequal symbolic sizes; only which axis is taken next hangs on it, never a result."""
    return int(evaluate(dim, dict.fromkeys(symbols_of(dim), 7919)))


def _factor_groups(old: Sequence[Dim], new: Sequence[Dim]) -> list[tuple[range, range]]:
    """Splits both shapes into the smallest runs of axes with equal products: (N,28,28) to (N,784) is N:N and 28,28:784."""
    if 0 in old:
        return [(range(len(old)), range(len(new)))]
    groups: list[tuple[range, range]] = []
    a = b = 0
    while a < len(old) or b < len(new):
        left, right = range(a, min(a + 1, len(old))), range(b, min(b + 1, len(new)))
        while (have := product(old[k] for k in left)) != (want := product(new[k] for k in right)):
            if right.stop == len(new) or (left.stop < len(old) and _about(have) < _about(want)):
                left = range(left.start, left.stop + 1)
            else:
                right = range(right.start, right.stop + 1)
        groups.append((left, right))
        a, b = left.stop, right.stop
    return groups


@reshape.reads
def _reshape_reads(op: Op) -> tuple[Read, ...]:
    """The row-major position, taken apart again: per group of axes whose sizes agree, so that rows stay rows."""
    (operand,) = op.operands
    old, new = operand.type.dims, op.result.type.dims
    places: list[AxisRead] = [0] * len(old)
    if 0 in old or 0 in new:  # there is no cell to read for
        return (Read(operand, tuple(places)),)
    for left, right in _factor_groups(old, new):
        flat: Dim = 0
        for k in right:
            flat = flat * new[k] + (axis(k) if new[k] != 1 else 0)
        inner: Dim = 1
        wide = [k for k in left if old[k] != 1]
        for k in reversed(wide):
            place = floordiv(flat, inner)
            places[k] = place if k == wide[0] else mod(place, old[k])
            inner = inner * old[k]
    return (Read(operand, tuple(places)),)


@transpose.types
def _transpose_type(sig: Signature) -> Type:
    (operand,) = sig.operands
    order = sig.attrs["axes"]
    if sorted(order) != list(range(len(operand.dims))):
        raise TypeRuleError(f"axes={order} is no permutation of the axes of {operand}")
    return ArrayType(_dtype(operand), tuple(operand.dims[k] for k in order))


@transpose.reads
def _transpose_reads(op: Op) -> tuple[Read, ...]:
    order = op.attrs["axes"]
    return (Read(op.operands[0], tuple(axis(order.index(k)) for k in range(len(order)))),)


Extent = tuple[Dim, int, Dim]
"""Of a slice along one axis: first position, step, and how many positions."""


def extent(item: tuple[Any, Any, Any], size: Dim) -> Extent:
    """Python's slice rules over a size that may be symbolic. Raises `TypeRuleError` for what needs the number itself."""
    start, stop, step = item
    step = 1 if step is None else step
    if step == 0:
        raise TypeRuleError("slice step cannot be zero")
    if isinstance(size, int):
        positions = range(size)[start:stop:step]
        return positions.start, step, len(positions)
    if step < 0:
        if start is not None or stop is not None:
            raise TypeRuleError(f"the slice {start}:{stop}:{step} of {size} rows needs the number of rows")
        return size - 1, step, floordiv(size - step - 1, -step)

    def clamp(bound: int) -> Dim:
        return minimum(bound, size) if bound >= 0 else maximum(size + bound, 0)

    lo = 0 if not start else clamp(start)
    hi = size if stop is None else clamp(stop)
    count = hi - lo
    if isinstance(count, Expr) and lo != 0:
        count = maximum(count, 0)
    return lo, step, floordiv(count + (step - 1), step)


def column_ranges(table: TableType, names: Sequence[str]) -> list[tuple[Dim, Dim]]:
    """For each named column (or family): its first position among the table's columns, and how many it takes."""
    places = table.places
    missing = [name for name in names if name not in places]
    if missing:
        raise TypeRuleError(f"there is no column {missing[0]!r}; the table has {', '.join(places)}")
    return [(start, field.columns) for field, start in map(places.__getitem__, names)]


def _column_dtype(table: TableType, name: str) -> str:
    """A whole-number or boolean column with nulls comes out as float64 with NaN, as in pandas."""
    field = table.field(name)
    numeric = field.dtype[0] in "iu" or field.dtype == "bool"
    return "f64" if field.nullable and numeric else field.dtype


@slice.types
def _slice_type(sig: Signature) -> Type:
    (operand,) = sig.operands
    if isinstance(operand, TableType):
        if "columns" in sig.attrs:
            column_ranges(operand, sig.attrs["columns"])
            return TableType(tuple(operand.field(name) for name in sig.attrs["columns"]), operand.rows)
        name = sig.attrs["column"]
        ((_, width),) = column_ranges(operand, [name])
        family = operand.field(name).width is not None
        return ArrayType(_column_dtype(operand, name), (operand.rows, width) if family else (operand.rows,))
    dims: list[Dim] = []
    sizes = iter(operand.dims)
    for item in sig.attrs["index"]:
        if item is None:
            dims.append(1)
            continue
        size = next(sizes, None)
        if size is None:
            raise TypeRuleError(f"too many indices for {operand}")
        if isinstance(item, tuple):
            dims.append(extent(item, size)[2])
        elif isinstance(size, int) and not -size <= item < size:
            raise TypeRuleError(f"index {item} is out of bounds for an axis of size {size}")
    return ArrayType(operand.dtype, (*dims, *sizes))


def _column_reads(op: Op, table: TableType) -> list[Read]:
    if "column" in op.attrs:
        ((start, _),) = column_ranges(table, [op.attrs["column"]])
        return [Read(op.operands[0], (axis(0), start if op.result.rank == 1 else start + axis(1)))]
    runs: list[tuple[Dim, Dim, Dim]] = []  # first result column, first operand column, how many: neighbours joined
    offset: Dim = 0
    for start, width in column_ranges(table, op.attrs["columns"]):
        if runs and runs[-1][1] + runs[-1][2] == start:
            runs[-1] = (*runs[-1][:2], runs[-1][2] + width)
        else:
            runs.append((offset, start, width))
        offset = offset + width
    if len(runs) == 1:
        return [Read(op.operands[0], (axis(0), axis(1) + runs[0][1]))]
    return [
        Read(op.operands[0], (axis(0), axis(1) + (start - first)), where=(Bound(1, first, first + width),))
        for first, start, width in runs
    ]


@slice.reads
def _slice_reads(op: Op) -> list[Read]:
    (operand,) = op.operands
    if isinstance(operand.type, TableType):
        return _column_reads(op, operand.type)
    places: list[AxisRead] = []
    sizes = iter(operand.type.dims)
    result_axes = itertools.chain(axes(op.result.rank))
    for item in op.attrs["index"]:
        if item is None:
            next(result_axes)
        elif isinstance(item, tuple):
            first, step, _ = extent(item, next(sizes))
            places.append(next(result_axes) * step + first)
        else:
            size = next(sizes)
            places.append(item if item >= 0 else size + item)
    places.extend(next(result_axes) for _ in sizes)
    return [Read(operand, tuple(places))]
