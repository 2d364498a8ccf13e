"""The beginning of a backward sweep from the rows of one value, each the row of one function.

Of function f only row rows[f] has a cotangent, and while ops work row by row it stays so: one array of the value's own shape
stands for all functions, where a sweep would have an array for each. What rows share, as means or encodings, is where
functions part, and `Adjoint.pull_many` goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from traceprop.ir.graph import Op, Value
from traceprop.ir.opset import concat, elementwise, gather, slice
from traceprop.ir.types import TableType
from traceprop.passes.attribution.adjoint import Adjoint, Array, Cotangents, Sizes, Step, sliced, unbroadcast
from traceprop.passes.attribution.partials import FLAT, PARTIALS

Part = tuple[Value, Array, bool]
"""An operand, its cotangent, and whether that is still row by row: (n, …) for all functions, else (k, *shape)."""


def parted(
    adjoint: Adjoint, values: Mapping[Value, Any], sizes: Sizes, value: Value, cotangent: Array, rows: Array
) -> dict[Value, Array]:
    """The cotangents, float64 (k, *shape), of the values in which the k functions are no longer of one row each.

    `cotangent`: float64, of the value's shape: row rows[f] is function f's. Other rows count for nothing.
    """
    waiting = Cotangents({value: cotangent})
    left = Cotangents({})
    for op in reversed(adjoint.ops):
        own = waiting.pop(op.result)
        if own is None:
            continue
        parts = _parts(Step(op, values, sizes), own, rows)
        if parts is None:
            left.add(op.result, _apart(own, rows))
            continue
        for operand, part, by_row in parts:
            if operand in adjoint.active:
                (waiting if by_row else left).add(operand, part)
    for param, own in waiting.items():
        left.add(param, _apart(own, rows))
    return dict(left.items())


def _apart(cotangent: Array, rows: Array) -> Array:
    """An array for each function, with one row that is not 0."""
    out = np.zeros((len(rows), *cotangent.shape))
    out[np.arange(len(rows)), rows] = cotangent[rows]
    return out


def _parts(step: Step, cotangent: Array, rows: Array) -> list[Part] | None:
    """What an op that works row by row passes on; None for one that may not."""
    op = step.op
    if op.definition is elementwise:
        return (
            _TABLE_CELLS[op.payload](step, cotangent, rows)
            if op.payload in _TABLE_CELLS
            else _cells(step, cotangent, rows)
        )
    if op.definition is slice and _all_rows(op):
        out = step.zeros(0, 1)
        for place, part in sliced(step, cotangent[None]):
            out[place] += part
        return [(op.operands[0], out[0], True)]
    if op.definition is concat and op.attrs["axis"] >= 1:
        return list(_side_by_side(step, cotangent))
    if op.definition is gather and op.attrs.get("axis", 0) == 0 and not op.attrs.get("along"):
        return _taken(step, cotangent, rows)
    return None


def _all_rows(op: Op) -> bool:
    return isinstance(op.operands[0].type, TableType) or op.attrs["index"][:1] == ((None, None, None),)


def _cells(step: Step, cotangent: Array, rows: Array) -> list[Part] | None:
    payload, op = step.op.payload or "", step.op
    if payload in FLAT:
        return []
    if payload not in PARTIALS:
        return None
    cells, parts = [np.asarray(operand) for operand in step.operands], []
    for operand, own, partial in zip(op.operands, cells, PARTIALS[payload], strict=False):
        if partial is None:
            continue
        with np.errstate(all="ignore"):
            slope = np.asarray(partial(*cells, np.asarray(step.result)))
            part = cotangent * slope
            if not np.isfinite(slope).all():
                part = np.where(cotangent == 0, 0.0, part)
        if own.ndim == cotangent.ndim and own.shape[0] == len(cotangent) > 1:
            parts.append((operand, unbroadcast(part[None], own.shape)[0], True))
        else:
            mine = part[rows]
            parts.append(
                (operand, unbroadcast(mine[:, None] if own.ndim == cotangent.ndim else mine, own.shape), False)
            )
    return parts


def _side_by_side(step: Step, cotangent: Array) -> Iterator[Part]:
    axis, at = step.op.attrs["axis"], 0
    for position, operand in enumerate(step.op.operands):
        shape = step.shape(position)
        width = shape[axis] if len(shape) > axis else 1
        part = cotangent[(np.s_[:],) * axis + (np.s_[at : at + width],)]
        yield operand, part.reshape(shape), True
        at += width


def _taken(step: Step, cotangent: Array, rows: Array) -> list[Part] | None:
    index, shape = np.asarray(step.operands[1]), step.shape(0)
    if index.ndim != 1 or not shape[0]:
        return None
    out = step.zeros(0, len(rows))
    out[np.arange(len(rows)), index[rows] % shape[0]] = cotangent[rows]
    return [(step.op.operands[0], out, False)]


def _same(step: Step, cotangent: Array, rows: Array) -> list[Part] | None:
    operand = step.op.operands[0]
    return [(operand, cotangent, True)] if step.shape(0) == cotangent.shape else None


def _of_one(cells: Array, rows: Array, like: Any) -> Array:
    """One number per function, in the shape of a scalar operand."""
    mine = cells[rows]
    sums: Array = mine.reshape(len(rows), math.prod(mine.shape[1:])).sum(axis=1)
    return sums.reshape(len(rows), *np.shape(like))


def _fill_null(step: Step, cotangent: Array, rows: Array) -> list[Part] | None:
    frame, value = step.operands
    cells = frame.to_series(0)
    missing = cells.is_null() | cells.is_nan() if cells.dtype.is_float() else cells.is_null()
    return _either(step, cotangent, rows, ~missing.to_numpy(), 0, 1, value)


def _encoded(step: Step, cotangent: Array, rows: Array) -> list[Part] | None:
    frame, _, prior = step.operands
    return _either(step, cotangent, rows, frame.to_series(0).is_not_null().to_numpy(), 1, 2, prior)


def _either(
    step: Step, cotangent: Array, rows: Array, known: Array, cells: int, scalar: int, like: Any
) -> list[Part] | None:
    """Rows have their own cell, or the one that stands in for it."""
    inside = known.reshape(-1, *(1,) * (cotangent.ndim - 1))
    if step.shape(cells)[:1] != cotangent.shape[:1] or np.size(like) != 1:
        return None
    own = np.where(inside, cotangent, 0.0).reshape(step.shape(cells))
    other = _of_one(np.where(inside, 0.0, cotangent), rows, like)
    return [(step.op.operands[cells], own, True), (step.op.operands[scalar], other, False)]


_TABLE_CELLS: dict[str | None, Any] = {
    "table.to_numpy": _same,
    "table.cast": _same,
    "table.fill_null": _fill_null,
    "table.encoded": _encoded,
}
