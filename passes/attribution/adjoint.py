"""Reverse-mode derivatives of a program that has run: from cotangents of results to those of parameters.

One sweep from the last op to the first (Griewank & Walther 2008, "Evaluating Derivatives", ch. 3). Cells of integers,
booleans and text have no derivative; an op without a rule passes nothing on and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from traceprop.ir.expr import Dim, evaluate
from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import (
    broadcast,
    concat,
    contract,
    elementwise,
    gather,
    reduce,
    reshape,
    scan,
    segment,
    slice,
    transpose,
)
from traceprop.ir.opset.shape import column_ranges
from traceprop.ir.types import TableType
from traceprop.passes.attribution.partials import FLAT, PARTIALS

Array = np.ndarray
Sizes = Mapping[str, int]
Pull = Callable[["Step", Array], Sequence["Array | None"]]


class Step:
    """An op with the plain values of its operands and its result, and what the size symbols stood for."""

    def __init__(self, op: Op, values: Mapping[Value, Any], sizes: Sizes) -> None:
        self.op = op
        self.operands = [values[value] for value in op.operands]
        self.result = values.get(op.result)
        self.sizes = sizes

    def shape(self, position: int) -> tuple[int, ...]:
        """The shape of an operand."""
        return tuple(size(dim, self.sizes) for dim in self.op.operands[position].type.dims)

    def zeros(self, position: int) -> Array:
        return np.zeros(self.shape(position))


class Adjoint:
    """The backward sweep over one program, at the values of one run, from parameters that `active` names."""

    def __init__(self, program: Program, active: Iterable[Value]) -> None:
        self.program = program
        self.active = set(active)
        self.ops: list[Op] = []
        self.stopped: dict[str, None] = {}
        for op in program.ops:
            if op.definition.effect or not any(value in self.active for value in op.operands) or not _smooth(op.result):
                continue
            if not _has_rule(op):
                where = op.location or "an unknown line"
                self.stopped[f"{op.label} at {where} has no derivative here"] = None
                continue
            self.active.add(op.result)
            self.ops.append(op)

    @property
    def needed(self) -> list[Value]:
        """The values of a run that the sweep looks at."""
        return list(dict.fromkeys(value for op in self.ops for value in (*op.operands, op.result)))

    def pull(self, values: Mapping[Value, Any], sizes: Sizes, cotangents: Mapping[Value, Array]) -> dict[Value, Array]:
        """Cotangents of the active parameters, given those of some values; float64, of the values' shapes."""
        found = {value: np.asarray(cotangent, dtype=np.float64) for value, cotangent in cotangents.items()}
        for op in reversed(self.ops):
            cotangent = found.pop(op.result, None)
            if cotangent is None:
                continue
            step = Step(op, values, sizes)
            pulled = _PULLS[op.definition](step, cotangent)
            for value, part in zip(op.operands, pulled, strict=False):
                if part is not None and value in self.active:
                    found[value] = found[value] + part if value in found else part
        return {param: found[param] for param in self.program.params if param in found}


def size(dim: Dim, sizes: Sizes) -> int:
    """The number that a dim stands for."""
    return int(evaluate(dim, sizes))


def _has_rule(op: Op) -> bool:
    if op.definition is elementwise:
        return op.payload in _CELLS
    return op.definition in _PULLS and op.payload in _KNOWN_FOLDS.get(op.definition, {op.payload})


def _smooth(value: Value) -> bool:
    """Whether a value has cells with a derivative."""
    if isinstance(value.type, TableType):
        return any(field.dtype[0] == "f" for field in value.type.fields)
    return value.type.dtype[0] == "f"


def unbroadcast(cotangent: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which an operand of that shape was repeated."""
    extra = cotangent.ndim - len(shape)
    if extra:
        cotangent = cotangent.sum(axis=tuple(range(extra)))
    repeated = tuple(k for k, n in enumerate(shape) if n == 1 and cotangent.shape[k] != 1)
    return cotangent.sum(axis=repeated, keepdims=True) if repeated else cotangent


# -- one rule per structural op ------------------------------------------------------------------------------------------


def _elementwise(step: Step, cotangent: Array) -> Sequence[Array | None]:
    payload = step.op.payload or ""
    if payload in _TABLE_CELLS:
        return _TABLE_CELLS[payload](step, cotangent)
    if payload in FLAT:
        return [None] * len(step.operands)
    cells = [np.asarray(operand) for operand in step.operands]
    pulled: list[Array | None] = []
    for position, partial in enumerate(PARTIALS[payload]):
        if partial is None or position >= len(cells):
            pulled.append(None)
            continue
        with np.errstate(all="ignore"):
            slope = partial(*cells, np.asarray(step.result))
            part = np.where(cotangent == 0, 0.0, cotangent * slope)
        pulled.append(unbroadcast(part, cells[position].shape))
    return pulled


def _identity(step: Step, cotangent: Array) -> Sequence[Array | None]:
    return [cotangent]


def _fill_null(step: Step, cotangent: Array) -> Sequence[Array | None]:
    frame, value = step.operands
    cells = frame.to_series(0)
    missing = cells.is_null() | cells.is_nan() if cells.dtype.is_float() else cells.is_null()
    absent = missing.to_numpy()[:, None]
    return [
        np.where(absent, 0.0, cotangent),
        np.asarray(np.where(absent, cotangent, 0.0).sum()).reshape(np.shape(value)),
    ]


def _encoded(step: Step, cotangent: Array) -> Sequence[Array | None]:
    frame, _, prior = step.operands
    known = frame.to_series(0).is_not_null().to_numpy()[:, None]
    rest = np.asarray(np.where(known, 0.0, cotangent).sum()).reshape(np.shape(prior))
    return [None, np.where(known, cotangent, 0.0), rest]


_TABLE_CELLS: dict[str, Pull] = {
    "table.to_numpy": _identity,
    "table.cast": _identity,
    "table.term_columns": _identity,
    "table.fill_null": _fill_null,
    "table.encoded": _encoded,
}
_CELLS = PARTIALS.keys() | FLAT | _TABLE_CELLS.keys()


def _slice(step: Step, cotangent: Array) -> Sequence[Array | None]:
    out = step.zeros(0)
    op = step.op
    table = op.operands[0].type
    if not isinstance(table, TableType):
        items = [_plain(item, step.sizes) for item in op.attrs["index"]]
        out[tuple(items)] += cotangent  # basic indexing: a view
        return [out]
    names = [op.attrs["column"]] if "column" in op.attrs else op.attrs["columns"]
    column = cotangent[:, None] if cotangent.ndim == 1 else cotangent
    at = 0
    for first, width in column_ranges(table, names):
        start, count = size(first, step.sizes), size(width, step.sizes)
        out[:, start : start + count] += column[:, at : at + count]
        at += count
    return [out]


def _plain(item: Any, sizes: Sizes) -> Any:
    if isinstance(item, tuple):
        import builtins

        return builtins.slice(*(bound if bound is None else size(bound, sizes) for bound in item))
    return item if item is None else size(item, sizes)


def _concat(step: Step, cotangent: Array) -> Sequence[Array | None]:
    axis = step.op.attrs["axis"]
    parts, at = [], 0
    for position in range(len(step.operands)):
        shape = step.shape(position)
        width = shape[axis] if len(shape) > axis else 1
        part = np.take(cotangent, range(at, at + width), axis=axis)
        parts.append(part.reshape(shape))
        at += width
    return parts


def _gather(step: Step, cotangent: Array) -> Sequence[Array | None]:
    axis, index = step.op.attrs.get("axis", 0), np.asarray(step.operands[1])
    out = step.zeros(0)
    if step.op.attrs.get("along"):
        places = list(np.ogrid[tuple(np.s_[:n] for n in index.shape)])
        places[axis] = index
        np.add.at(out, tuple(places), cotangent)
        return [out, None]
    rows = np.moveaxis(out, axis, 0)
    moved = np.moveaxis(cotangent.reshape(*out.shape[:axis], index.size, *out.shape[axis + 1 :]), axis, 0)
    flat = index.ravel() % len(rows) if len(rows) else index.ravel()
    if rows.ndim == 1:
        return [np.bincount(flat, weights=moved, minlength=len(rows)), None]
    np.add.at(rows, flat, moved)
    return [out, None]


def _reduce(step: Step, cotangent: Array) -> Sequence[Array | None]:
    op = step.op
    cells, result = np.asarray(step.operands[0]), np.asarray(step.result)
    axes = op.attrs["axes"]
    if not op.attrs.get("keepdims"):
        cotangent, result = np.expand_dims(cotangent, axes), np.expand_dims(result, axes)
    payload = op.payload or ""
    if payload in ("numpy.sum", "numpy.add.reduce"):
        return [np.broadcast_to(cotangent, cells.shape)]
    if payload == "numpy.mean":
        return [np.broadcast_to(cotangent * result.size / max(cells.size, 1), cells.shape)]
    hit = cells == result  # of an extreme; several share it
    return [np.where(hit, cotangent / np.maximum(hit.sum(axis=axes, keepdims=True), 1), 0.0)]


_EXTREMES = {f"numpy.{name}" for name in ("min", "max", "amin", "amax", "minimum.reduce", "maximum.reduce")}


def _scan(step: Step, cotangent: Array) -> Sequence[Array | None]:
    axis = step.op.attrs["axis"]
    return [np.flip(np.cumsum(np.flip(cotangent, axis), axis), axis)]


def _contract(step: Step, cotangent: Array) -> Sequence[Array | None]:
    terms, _, result = step.op.attrs["spec"].partition("->")
    letters = terms.split(",")
    pulled: list[Array | None] = []
    for position, own in enumerate(letters):
        others = [(term, step.operands[k]) for k, term in enumerate(letters) if k != position]
        known = set(result).union(*(term for term, _ in others))
        alone = [letter for letter in own if letter not in known]
        spread = [(letter, np.ones(step.shape(position)[own.index(letter)])) for letter in alone]
        parts = [(result, cotangent), *others, *spread]
        spec = ",".join(term for term, _ in parts) + "->" + own
        pulled.append(np.einsum(spec, *(array for _, array in parts), optimize=True))
    return pulled


def _segment(step: Step, cotangent: Array) -> Sequence[Array | None]:
    codes = np.asarray(step.operands[1])
    inside = (codes >= 0) & (codes < len(cotangent))
    return [
        np.where(inside, cotangent[np.where(inside, codes, 0)], 0.0) if len(cotangent) else np.zeros(len(codes)),
        None,
    ]


_PULLS: dict[OpDef, Pull] = {
    elementwise: _elementwise,
    slice: _slice,
    concat: _concat,
    gather: _gather,
    reduce: _reduce,
    scan: _scan,
    contract: _contract,
    segment: _segment,
    reshape: lambda step, cotangent: [cotangent.reshape(step.shape(0))],
    transpose: lambda step, cotangent: [cotangent.transpose(np.argsort(step.op.attrs["axes"]))],
    broadcast: lambda step, cotangent: [unbroadcast(cotangent, step.shape(0))],
}
_KNOWN_FOLDS = {
    reduce: {"numpy.sum", "numpy.add.reduce", "numpy.mean"} | _EXTREMES,
    scan: {"numpy.cumsum", "numpy.add.accumulate"},
    segment: {"table.group_sum"},
}
