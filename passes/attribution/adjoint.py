"""Reverse-mode derivatives of a program that has run: from cotangents of results to those of parameters.

One sweep from the last op to the first (Griewank & Walther 2008, "Evaluating Derivatives", ch. 3), for k functions at once:
every cotangent has the function as its first axis. Where a value has fewer cells than there are functions, as the mean of a
column has, what lies behind it is swept once per cell instead, and the functions are combinations of those sweeps (ibid.,
ch. 10, on narrow cuts). Cells of integers, booleans and text have no derivative; an op without a rule passes nothing on and
is named.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

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

    def zeros(self, position: int, functions: int) -> Array:
        return np.zeros((functions, *self.shape(position)))


class Cotangents:
    """Cotangents by value, to which parts are added: in place, once the sum is an array of this sweep's own."""

    def __init__(self, given: Mapping[Value, Array]) -> None:
        self._found = dict(given)
        self._own: set[Value] = set()
        self._products: dict[Value, list[tuple[Array, Array]]] = {}

    def __contains__(self, value: Value) -> bool:
        return value in self._found or value in self._products

    def __getitem__(self, value: Value) -> Array:
        self._multiply(value)
        return self._found[value]

    def items(self) -> Iterable[tuple[Value, Array]]:
        for value in list(self._products):
            self._multiply(value)
        return self._found.items()

    def pop(self, value: Value) -> Array | None:
        self._multiply(value)
        self._own.discard(value)
        return self._found.pop(value, None)

    def add(self, value: Value, part: Array) -> None:
        if value not in self._found:
            self._found[value] = part
        elif value in self._own:
            self._found[value] += part
        else:
            self._found[value] = self._found[value] + part
            self._own.add(value)

    def add_product(self, value: Value, left: Array, right: Array) -> None:
        """Add left (k, w) times right (w, *shape): several of one value are one product once it is wanted."""
        waiting = self._products.setdefault(value, [])
        waiting.append((left, right))
        if sum(part.size for _, part in waiting) > BLOCK_CELLS:
            self._multiply(value)

    def _multiply(self, value: Value) -> None:
        waiting = self._products.pop(value, None)
        if waiting is not None:
            left = np.concatenate([part for part, _ in waiting], axis=1)
            right = np.concatenate([part for _, part in waiting])
            self.add(value, (left @ right.reshape(len(right), -1)).reshape(len(left), *right.shape[1:]))

    def add_at(self, value: Value, shape: tuple[int, ...], place: Any, part: Array) -> None:
        """Add to some cells; `shape` is that of the whole cotangent."""
        if value not in self._own:
            held = self._found.get(value)
            self._found[value] = np.zeros(shape) if held is None else np.array(held)
            self._own.add(value)
        self._found[value][place] += part


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
                what = _IN_WORDS.get(op.payload or "", op.label)
                self.stopped[f"{what} at {op.location or 'an unknown line'} has no derivative here"] = None
                continue
            self.active.add(op.result)
            self.ops.append(op)

    @property
    def needed(self) -> list[Value]:
        """The values of a run that the sweep looks at."""
        return list(dict.fromkeys(value for op in self.ops for value in (*op.operands, op.result)))

    def pull(self, values: Mapping[Value, Any], sizes: Sizes, cotangents: Mapping[Value, Array]) -> dict[Value, Array]:
        """Cotangents of the active parameters, given those of some values; float64, of the values' shapes."""
        many = {value: np.asarray(cotangent, dtype=np.float64)[None] for value, cotangent in cotangents.items()}
        return {param: found[0] for param, found in self.pull_many(values, sizes, many).items()}

    def pull_many(
        self, values: Mapping[Value, Any], sizes: Sizes, cotangents: Mapping[Value, Array]
    ) -> dict[Value, Array]:
        """The same for k functions at once: float64 arrays (k, *shape) to float64 arrays (k, *shape)."""
        found = Cotangents(cotangents)
        k = max((len(cotangent) for cotangent in cotangents.values()), default=0)
        cells = {value: _cells(value, sizes) for op in self.ops for value in (*op.operands, op.result)}
        widest = max(cells.values(), default=1)
        for at in reversed(range(len(self.ops))):
            op = self.ops[at]
            cotangent = found.pop(op.result)
            if cotangent is None:
                continue
            width = cells[op.result]
            behind = max(cells[value] for value in op.operands if value in self.active)
            if not width < min(k, behind):
                self._step(op, values, sizes, cotangent, found)
                continue
            mixed = cotangent.reshape(k, width)
            for part in blocks(width, widest):
                unit = np.eye(width)[part].reshape(-1, *cotangent.shape[1:])
                for value, slopes in self._behind(at, values, sizes, unit, cells, k).items():
                    found.add_product(value, mixed[:, part], slopes)
        return {param: found[param] for param in self.program.params if param in found}

    def _behind(
        self, at: int, values: Mapping[Value, Any], sizes: Sizes, unit: Array, cells: Mapping[Value, int], k: int
    ) -> Cotangents:
        """Sweep from one op back, as far as the next values with fewer than k cells, which it gives."""
        found = Cotangents({self.ops[at].result: unit})
        for op in reversed(self.ops[: at + 1]):
            if op.result in found and (op is self.ops[at] or cells[op.result] >= k):
                own = found.pop(op.result)
                assert own is not None
                self._step(op, values, sizes, own, found)
        return found

    def _step(self, op: Op, values: Mapping[Value, Any], sizes: Sizes, cotangent: Array, found: Cotangents) -> None:
        step = Step(op, values, sizes)
        if op.definition is slice:  # of a table of many columns, one after another: never a whole one for each
            shape = (len(cotangent), *step.shape(0))
            for place, cells in sliced(step, cotangent):
                found.add_at(op.operands[0], shape, place, cells)
            return
        for value, part in zip(op.operands, _PULLS[op.definition](step, cotangent), strict=False):
            if part is not None and value in self.active:
                found.add(value, part)


_IN_WORDS = {"weighted.log_absent": "whether a group has a row left"}

BLOCK_CELLS = 1 << 24
"""Cells of the largest array that a sweep over many functions makes at once: 128 MB."""


def blocks(width: int, widest: int) -> list[builtins.slice]:
    """Cut `width` functions so that arrays of `widest` cells for each stay within BLOCK_CELLS."""
    step = max(1, BLOCK_CELLS // max(widest, 1))
    return [builtins.slice(start, min(start + step, width)) for start in range(0, width, step)]


def _cells(value: Value, sizes: Sizes) -> int:
    return math.prod(size(dim, sizes) for dim in value.type.dims)


def size(dim: Dim, sizes: Sizes) -> int:
    """The number that a dim stands for."""
    return int(evaluate(dim, sizes))


def _has_rule(op: Op) -> bool:
    if op.definition is elementwise:
        return op.payload in _CELLS
    if op.definition is slice:
        return True
    return op.definition in _PULLS and op.payload in _KNOWN_FOLDS.get(op.definition, {op.payload})


def _smooth(value: Value) -> bool:
    """Whether a value has cells with a derivative."""
    if isinstance(value.type, TableType):
        return any(field.dtype[0] == "f" for field in value.type.fields)
    return value.type.dtype[0] == "f"


def unbroadcast(cotangent: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which an operand of that shape was repeated, the first axis apart."""
    extra = cotangent.ndim - 1 - len(shape)
    if extra:
        cotangent = cotangent.sum(axis=tuple(range(1, 1 + extra)))
    repeated = tuple(k for k, n in enumerate(shape, 1) if n == 1 and cotangent.shape[k] != 1)
    return cotangent.sum(axis=repeated, keepdims=True) if repeated else cotangent


# -- one rule per structural op: cotangents are (k, *shape) ----------------------------------------------------------------


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
            slope = np.asarray(partial(*cells, np.asarray(step.result)))
            part = cotangent if slope.ndim == 0 and slope == 1 else cotangent * slope
            if not np.isfinite(slope).all():
                part = np.where(cotangent == 0, 0.0, part)
        pulled.append(unbroadcast(part, cells[position].shape))
    return pulled


def _identity(step: Step, cotangent: Array) -> Sequence[Array | None]:
    return [cotangent]


def _summed(cells: Array, shape: tuple[int, ...]) -> Array:
    """One number per function, in the shape of a scalar operand."""
    return np.asarray(cells.sum(axis=tuple(range(1, cells.ndim)))).reshape(len(cells), *shape)


def _fill_null(step: Step, cotangent: Array) -> Sequence[Array | None]:
    frame, value = step.operands
    cells = frame.to_series(0)
    missing = cells.is_null() | cells.is_nan() if cells.dtype.is_float() else cells.is_null()
    absent = missing.to_numpy()[:, None]
    return [np.where(absent, 0.0, cotangent), _summed(np.where(absent, cotangent, 0.0), np.shape(value))]


def _encoded(step: Step, cotangent: Array) -> Sequence[Array | None]:
    frame, _, prior = step.operands
    known = frame.to_series(0).is_not_null().to_numpy()[:, None]
    return [None, np.where(known, cotangent, 0.0), _summed(np.where(known, 0.0, cotangent), np.shape(prior))]


_TABLE_CELLS: dict[str, Pull] = {
    "table.to_numpy": _identity,
    "table.cast": _identity,
    "table.term_columns": _identity,
    "table.fill_null": _fill_null,
    "table.encoded": _encoded,
}
_CELLS = PARTIALS.keys() | FLAT | _TABLE_CELLS.keys()


def sliced(step: Step, cotangent: Array) -> Iterator[tuple[Any, Array]]:
    """Where in the operand's cotangent parts of a slice's go."""
    op = step.op
    table = op.operands[0].type
    every = builtins.slice(None)
    if not isinstance(table, TableType):
        yield (every, *(_plain(item, step.sizes) for item in op.attrs["index"])), cotangent  # basic indexing: a view
        return
    names = [op.attrs["column"]] if "column" in op.attrs else op.attrs["columns"]
    column = cotangent[:, :, None] if cotangent.ndim == 2 else cotangent
    at = 0
    for first, width in column_ranges(table, names):
        start, count = size(first, step.sizes), size(width, step.sizes)
        yield (every, every, builtins.slice(start, start + count)), column[:, :, at : at + count]
        at += count


def _plain(item: Any, sizes: Sizes) -> Any:
    if isinstance(item, tuple):
        return builtins.slice(*(bound if bound is None else size(bound, sizes) for bound in item))
    return item if item is None else size(item, sizes)


def _concat(step: Step, cotangent: Array) -> Sequence[Array | None]:
    axis = step.op.attrs["axis"]
    parts, at = [], 0
    for position in range(len(step.operands)):
        shape = step.shape(position)
        width = shape[axis] if len(shape) > axis else 1
        part = cotangent[(builtins.slice(None),) * (axis + 1) + (builtins.slice(at, at + width),)]
        parts.append(part.reshape(len(cotangent), *shape))
        at += width
    return parts


def _gather(step: Step, cotangent: Array) -> Sequence[Array | None]:
    axis, index = step.op.attrs.get("axis", 0), np.asarray(step.operands[1])
    shape, k = step.shape(0), len(cotangent)
    if step.op.attrs.get("along"):
        out = step.zeros(0, k)
        places = list(np.ogrid[tuple(np.s_[:n] for n in (k, *index.shape))])
        places[axis + 1] = index[None]
        np.add.at(out, tuple(places), cotangent)
        return [out, None]
    rows = shape[axis]
    taken = cotangent.reshape(k, *shape[:axis], index.size, *shape[axis + 1 :])
    moved = np.moveaxis(taken, axis + 1, 0)
    flat = index.ravel() % rows if rows else index.ravel()
    back = scipy.sparse.csr_array((np.ones(len(flat)), (flat, np.arange(len(flat)))), shape=(rows, len(flat)))
    summed = (back @ moved.reshape(index.size, -1)).reshape(rows, *moved.shape[1:])
    return [np.moveaxis(summed, 0, axis + 1), None]


def _reduce(step: Step, cotangent: Array) -> Sequence[Array | None]:
    op = step.op
    cells, result = np.asarray(step.operands[0]), np.asarray(step.result)
    axes = op.attrs["axes"]
    if not op.attrs.get("keepdims"):
        places = tuple(axis % cells.ndim + 1 for axis in axes)
        cotangent, result = np.expand_dims(cotangent, places), np.expand_dims(result, axes)
    full = (len(cotangent), *cells.shape)
    payload = op.payload or ""
    if payload in ("numpy.sum", "numpy.add.reduce"):
        return [np.broadcast_to(cotangent, full)]
    if payload == "numpy.mean":
        return [np.broadcast_to(cotangent * (result.size / max(cells.size, 1)), full)]
    hit = cells == result  # of an extreme; several share it
    return [np.where(hit, cotangent / np.maximum(hit.sum(axis=axes, keepdims=True), 1), 0.0)]


_EXTREMES = {f"numpy.{name}" for name in ("min", "max", "amin", "amax", "minimum.reduce", "maximum.reduce")}


def _scan(step: Step, cotangent: Array) -> Sequence[Array | None]:
    axis = step.op.attrs["axis"] % (cotangent.ndim - 1) + 1
    return [np.flip(np.cumsum(np.flip(cotangent, axis), axis), axis)]


FUNCTION = "Z"
"""The letter of the axis of functions: those of a contraction are small."""


def _contract(step: Step, cotangent: Array) -> Sequence[Array | None]:
    terms, _, result = step.op.attrs["spec"].partition("->")
    letters = terms.split(",")
    pulled: list[Array | None] = []
    for position, own in enumerate(letters):
        others = [(term, step.operands[k]) for k, term in enumerate(letters) if k != position]
        known = set(result).union(*(term for term, _ in others))
        alone = [letter for letter in own if letter not in known]
        spread = [(letter, np.ones(step.shape(position)[own.index(letter)])) for letter in alone]
        parts = [(FUNCTION + result, cotangent), *others, *spread]
        spec = ",".join(term for term, _ in parts) + "->" + FUNCTION + own
        pulled.append(np.einsum(spec, *(array for _, array in parts), optimize=True))
    return pulled


def _segment(step: Step, cotangent: Array) -> Sequence[Array | None]:
    codes, groups = np.asarray(step.operands[1]), cotangent.shape[1]
    if not groups:
        return [step.zeros(0, len(cotangent)), None]
    inside = (codes >= 0) & (codes < groups)
    taken = cotangent[:, np.where(inside, codes, 0)]
    if not inside.all():
        taken[:, ~inside] = 0.0
    return [taken, None]


_PULLS: dict[OpDef, Pull] = {
    elementwise: _elementwise,
    concat: _concat,
    gather: _gather,
    reduce: _reduce,
    scan: _scan,
    contract: _contract,
    segment: _segment,
    reshape: lambda step, cotangent: [cotangent.reshape(len(cotangent), *step.shape(0))],
    transpose: lambda step, cotangent: [cotangent.transpose(0, *(np.argsort(step.op.attrs["axes"]) + 1))],
    broadcast: lambda step, cotangent: [unbroadcast(cotangent, step.shape(0))],
}
_KNOWN_FOLDS = {
    reduce: {"numpy.sum", "numpy.add.reduce", "numpy.mean"} | _EXTREMES,
    scan: {"numpy.cumsum", "numpy.add.accumulate"},
    segment: {"table.group_sum"},
}
