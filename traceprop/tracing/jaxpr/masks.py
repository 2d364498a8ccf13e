"""Masks of positions alone: which cells lie on a diagonal, on one side of it, or off it, as numbers (0 or 1) per cell."""

from __future__ import annotations

import numpy as np

from traceprop.ir import Dim, Value
from traceprop.ir.expr import maximum, minimum, substitute
from traceprop.ir.index_map import AXIS_NAMES, axis
from traceprop.ir.opset import broadcast, constant, iota, reshape
from traceprop.tracing.jaxpr.graph import Held, Known

Counts = tuple[Dim, Dim]
"""For a cell: 1 where the mask is false, else 0; and 1 where it is true."""


def by_position(mask: Held, rank: int) -> Counts | None:
    """What a mask of a result's shape says of its cells, if that follows from their last two indices."""
    if rank < 2:
        return None
    if isinstance(mask, Known):
        return _of_array(np.asarray(mask.array), rank)
    return _of_ops(mask)


def _at_least(left: Dim, right: Dim) -> Counts:
    return minimum(1, maximum(0, right - left)), minimum(1, maximum(0, left - right + 1))


def _equal(left: Dim, right: Dim) -> Counts:
    return minimum(1, maximum(left - right, right - left)), maximum(0, minimum(left - right + 1, right - left + 1))


def _of_array(mask: np.ndarray, rank: int) -> Counts | None:
    """By the diagonal that its cells lie on, the same in every matrix."""
    if mask.ndim != rank or mask.dtype != bool or not mask.any() or mask.all():
        return None
    rows, columns = mask.shape[-2:]
    matrix = mask.reshape(-1, rows, columns)[0]
    if (mask != matrix).any():
        return None
    behind = np.arange(columns) - np.arange(rows)[:, None]
    first, last = int(behind[matrix].min()), int(behind[matrix].max())
    i, j = axis(rank - 2), axis(rank - 1)
    if (matrix == (behind <= last)).all():
        return _at_least(i + last, j)
    if (matrix == (behind >= first)).all():
        return _at_least(j, i + first)
    return _equal(i + first, j) if first == last and (matrix == (behind == first)).all() else None


def _of_ops(mask: Value) -> Counts | None:
    """A comparison of counted positions."""
    op = mask.op
    if op is not None and op.definition is broadcast and op.operands[0].rank == mask.rank:
        return _of_ops(op.operands[0]) if op.operands[0].type == mask.type else None
    name = (op.payload or "").removeprefix("jax.") if op is not None else ""
    if op is None or name not in ("ge", "le", "gt", "lt", "eq"):
        return None
    left, right = (_position(operand, mask.rank) for operand in op.operands)
    if left is None or right is None:
        return None
    match name:
        case "ge" | "gt":
            return _at_least(left, right + (name == "gt"))
        case "le" | "lt":
            return _at_least(right, left + (name == "lt"))
    return _equal(left, right)


def _position(value: Value, rank: int) -> Dim | None:
    """A value of whole numbers as an expression of a cell's indices, in an array of `rank` axes that it is stretched to."""
    op, found = value.op, None
    if op is None:
        return None
    long = [k for k, size in enumerate(value.type.dims) if size != 1]
    if op.definition is constant:
        numbers = np.asarray(op.attrs["value"])
        first = int(numbers.flat[0]) if numbers.size and numbers.dtype.kind in "iu" else None
        if first is None or not long:
            return first
        if len(long) == 1 and (numbers.ravel() == first + np.arange(numbers.size)).all():
            found = axis(long[0]) + first
    elif op.definition is iota:
        found = axis(0)
    elif op.definition is reshape and op.operands[0].op is not None and op.operands[0].op.definition is iota:
        found = axis(long[0]) if len(long) == 1 else None
    elif op.definition is broadcast or op.payload == "jax.convert_element_type" and value.type.dtype in ("i32", "i64"):
        return _position(op.operands[0], rank)
    elif op.payload in ("jax.add", "jax.sub"):
        left, right = (_position(operand, rank) for operand in op.operands)
        if left is None or right is None:
            return None
        return left + right if op.payload == "jax.add" else left - right
    if found is None:
        return None
    moved: Dim = substitute(found, {AXIS_NAMES[k]: axis(k + rank - value.rank) for k in range(value.rank)})
    return moved
