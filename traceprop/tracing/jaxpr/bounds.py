"""What is known of the numbers in an index array before the run: between which two they lie."""

from __future__ import annotations

import operator

import numpy as np

from traceprop.ir import ArrayType, Op, Value
from traceprop.ir.opset import (
    broadcast,
    concat,
    constant,
    elementwise,
    gather,
    iota,
    reduce,
    reshape,
    slice,
    sort,
    transpose,
)
from traceprop.ir.types import numpy_dtype

Bounds = tuple[int, int]
_SUMS = {"jax.add": operator.add, "jax.sub": operator.sub, "jax.mul": operator.mul}
_MOVES = (broadcast, reshape, transpose, slice)


def bounds(value: Value) -> Bounds | None:
    """The least and the greatest number that an integer value can hold, where that is known."""
    op = value.op
    if op is None or not isinstance(value.type, ArrayType) or value.type.dtype[0] not in "iu":
        return None
    if op.definition is constant:
        held = np.asarray(op.attrs["value"])
        return (int(held.min()), int(held.max())) if held.size else (0, 0)
    if op.definition is iota:
        return (0, max(op.attrs["size"] - 1, 0))
    if op.definition is sort:
        return (0, max(_size(op, [op.attrs["axis"]]) - 1, 0))
    if op.definition is reduce and op.payload in ("jax.argmax", "jax.argmin"):
        return (0, max(_size(op, op.attrs["axes"]) - 1, 0))
    if op.definition in _MOVES or op.definition is gather:
        return bounds(op.operands[0])
    if op.definition is concat:
        return _united([bounds(part) for part in op.operands])
    return _of_elementwise(op) if op.definition is elementwise else None


def _of_elementwise(op: Op) -> Bounds | None:
    if op.payload == "jax.convert_element_type":
        found = bounds(op.operands[0])
        fits = found is not None and found[0] >= 0 and found[1] < 2**31
        return found if fits else None
    if op.payload == "jax.clamp":
        low, _, high = map(bounds, op.operands)
        return None if low is None or high is None else (min(low[0], high[0]), high[1])
    if op.payload in _SUMS:
        left, right = map(bounds, op.operands)
        if left is None or right is None:
            return None
        ends = [_SUMS[op.payload](a, b) for a in left for b in right]
        dtype = np.iinfo(numpy_dtype(op.result.type.dtype))
        return (min(ends), max(ends)) if dtype.min <= min(ends) and max(ends) <= dtype.max else None
    start = counted_from_the_end(op.result)
    if start is not None:
        found, size = bounds(start[0]), start[1]
        if found is not None and -size <= found[0] and found[1] < size:
            return (0, max(size - 1, 0)) if found[0] < 0 else found
    return None


def _size(op: Op, axes: list[int] | tuple[int, ...]) -> int:
    dims = op.operands[0].type.dims
    return int(np.prod([dims[k] for k in axes]))


def _united(parts: list[Bounds | None]) -> Bounds | None:
    if any(part is None for part in parts):
        return None
    lows, highs = zip(*(part for part in parts if part is not None), strict=True)
    return min(lows), max(highs)


def counted_from_the_end(value: Value) -> tuple[Value, int] | None:
    """(i, n) where the value is `select(i < 0, i, i + n)`: NumPy's rule for positions below zero, as JAX writes it."""
    op = value.op
    if op is None or op.payload != "jax.select_n" or len(op.operands) != 3:
        return None
    below, index, moved = op.operands
    if below.op is None or below.op.payload != "jax.lt" or moved.op is None or moved.op.payload != "jax.add":
        return None
    zero, size = below.op.operands[1].op, moved.op.operands[1].op
    if below.op.operands[0] is not index or moved.op.operands[0] is not index:
        return None
    if zero is None or size is None or zero.definition is not constant or size.definition is not constant:
        return None
    if np.ndim(size.attrs["value"]) or np.any(zero.attrs["value"] != 0):
        return None
    return index, int(size.attrs["value"])


def plain_index(value: Value, size: int) -> Value:
    """The index itself, without what JAX wraps around it, where its positions are known to lie within the axis."""
    while True:
        op = value.op
        start = counted_from_the_end(value)
        if start is not None and start[1] == size and within(start[0], 0, size):
            value = start[0]
        elif op is not None and op.payload == "jax.convert_element_type" and within(op.operands[0], 0, size):
            value = op.operands[0]
        else:
            return value


def within(value: Value, low: int, high: int) -> bool:
    """Whether all its numbers are known to be at least `low` and below `high`."""
    found = bounds(value)
    return found is not None and low <= found[0] and found[1] < high
