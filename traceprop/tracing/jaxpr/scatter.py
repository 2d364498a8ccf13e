"""Primitives that put cells at positions.

A box known before the run is a concat. Else the result asks for each of its cells which updates came there: the last one
(`scatter`), or all of them (`scatter-add` and its kin).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from traceprop.ir import Kind, Value
from traceprop.ir.given_map import OWN_RESULT, GivenLook, GivenMap, GivenMembers, GivenRead
from traceprop.ir.index_map import Full, axes, axis
from traceprop.ir.opset import elementwise, gather, opaque, reduce
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, Known, NoRule
from traceprop.tracing.jaxpr.rows import Window, with_window
from traceprop.tracing.jaxpr.shape import joined, sliced, transposed

_METHODS = {
    "scatter-add": "add",
    "scatter-sub": "subtract",
    "scatter-mul": "multiply",
    "scatter-min": "min",
    "scatter-max": "max",
}
_COMBINE: dict[str, Any] = {
    "scatter-add": jnp.add,
    "scatter-sub": jnp.subtract,
    "scatter-mul": jnp.multiply,
    "scatter-min": jnp.minimum,
    "scatter-max": jnp.maximum,
}


def _placed(e: Equation, x: Value, update: Value, box: Sequence[tuple[int, int]], k: int = 0) -> Value:
    """`x` with a box of cells replaced: along one axis after another, what is before it, the box, what is behind it."""
    if k == x.rank:
        combine = _COMBINE.get(e.name)
        return update if combine is None else e.emit(elementwise, [x, update], combine, combine.__name__)
    lo, hi = box[k]
    size = int(x.type.dims[k])

    def part(start: int, stop: int) -> Value:
        item = (start or None, None if stop == size else stop, None)
        return sliced(e, x, [*[(None, None, None)] * k, item])

    parts: list[Held] = [_placed(e, part(lo, hi), update, box, k + 1)]
    if lo:
        parts.insert(0, part(0, lo))
    if hi < size:
        parts.append(part(hi, size))
    return joined(e, parts, k)


def _dynamic_update_slice(e: Equation) -> Sequence[Held]:
    x, update = e.x, e.graph.value(e.inputs[1])
    starts = e.inputs[2:]
    moving = [k for k in range(x.rank) if update.type.dims[k] != x.type.dims[k] and not isinstance(starts[k], Known)]
    if x.rank != len(starts) or not all(update.type.dims):
        raise NoRule
    if moving:
        return _dynamic_update(e, moving)
    box = []
    for size, width, start in zip(x.type.dims, update.type.dims, starts, strict=True):
        at = int(np.clip(int(start.array), 0, size - width)) if isinstance(start, Known) else 0
        box.append((at, at + width))
    return [_placed(e, x, update, box)]


def _dynamic_update(e: Equation, moving: Sequence[int]) -> Sequence[Held]:
    """Along every axis where the update is the shorter one, a position less its start is a position of the update, or none."""
    x, put = e.x, e.graph.value(e.inputs[1])
    inside: Value | None = None
    for k in range(x.rank):
        size, width, start = int(x.type.dims[k]), int(put.type.dims[k]), e.inputs[2 + k]
        room = size - width
        if not room:
            continue
        dtype = e.graph.value(start).type.dtype
        places = Known(np.arange(size, dtype=numpy_dtype(dtype)))
        at = e.emit(
            elementwise, [places, start], functools.partial(_behind, room), "position_in_update", dtype, room=room
        )
        here = e.emit(elementwise, [at], lambda i, n=width: (i >= 0) & (i < n), "within", "bool", to=width)
        near = e.emit(elementwise, [at], lambda i, n=width: jnp.clip(i, 0, n - 1), "clamp_index", dtype, to=width - 1)
        put = e.emit(gather, [put, near], functools.partial(_taken, k), "take", axis=k)
        here = e.graph.reshape(here, [size if n == k else 1 for n in range(x.rank)])
        inside = here if inside is None else e.emit(elementwise, [inside, here], jnp.logical_and, "and", "bool")
    assert inside is not None
    return [e.emit(elementwise, [inside, put, x], jnp.where, "where", control=(0,))]


def _behind(room: int, places: Any, start: Any) -> Any:
    return places - jnp.clip(start, 0, room)


def _taken(k: int, array: Any, index: Any) -> Any:
    return jnp.take(array, index, axis=k, mode="clip")


def _scatter(e: Equation) -> Sequence[Held]:
    x, index, update = e.x, e.graph.value(e.inputs[1]), e.graph.value(e.inputs[2])
    if e.name == "scatter" and not e.bodies.gives_last(e["update_jaxpr"]):
        return _applied(e)
    if not all(update.type.dims) or not all(x.type.dims):
        return [x]
    window, where = _window(e, x, update)
    sizes = window.sizes
    known = e.inputs[1]
    if index.rank == 1 and isinstance(known, Known) and (e.name in _COMBINE or e.name == "scatter"):
        starts = np.asarray(known.array).astype(np.int64)
        box = [(0, n) for n in sizes]
        for start, k, room in zip(starts, window.starts, window.room, strict=True):
            at = int(np.clip(start, 0, room))
            if at != start and "CLIP" not in str(e["mode"]):
                return [x]  # a window that leaves the array is dropped
            box[k] = (at, at + sizes[k])
        return [_placed(e, x, e.graph.reshape(update, sizes), box)]
    if e.name == "scatter" and isinstance(known, Known) and not window.batch:
        rows = _known_rows(e, window, np.asarray(known.array))
        if rows is not None:
            return [_replaced(e, window, where, x, update, *rows)]
    return _scattered(e, window, where, x, index, update)


def _window(e: Equation, x: Value, update: Value) -> tuple[Window, dict[int, int]]:
    """How the updates are addressed, and for the axes of `x` that windows lie along which axis of the updates that is."""
    numbers = e["dimension_numbers"]
    dropped = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    kept = [k for k in range(x.rank) if k not in dropped]
    where = dict(zip(kept, numbers.update_window_dims, strict=True))
    sizes = [int(update.type.dims[where[k]]) if k in where else 1 for k in range(x.rank)]
    return Window(x.type.dims, sizes, numbers.scatter_dims_to_operand_dims, numbers.operand_batching_dims), where


def _known_rows(e: Equation, window: Window, index: np.ndarray) -> tuple[int, np.ndarray, np.ndarray] | None:
    """The axis, the positions on it and the numbers of the updates that land there; `None` where it is not that simple."""
    if (
        len(window.looked) != 1
        or any(window.sizes[k] != window.shape[k] for k in window.rest)
        or window.starts != (window.looked[0],)
    ):
        return None
    k = window.looked[0]
    at, size = index[..., 0].astype(np.int64).ravel(), window.shape[k]
    at = np.clip(at, 0, size - 1) if "CLIP" in str(e["mode"]) else at
    inside = (at >= 0) & (at < size)
    if window.sizes[k] != 1 or len(np.unique(at[inside])) < inside.sum():
        return None
    return k, at[inside], np.flatnonzero(inside)


def _replaced(
    e: Equation,
    window: Window,
    where: dict[int, int],
    x: Value,
    update: Value,
    k: int,
    at: np.ndarray,
    which: np.ndarray,
) -> Value:
    """Rows of `x` or of the updates, put behind one another: which of them a row is, is known before the run."""
    lead = [n for n in range(update.rank) if n not in where.values()]
    order = [where[n] for n in range(k)] + lead + [where[n] for n in sorted(where) if n >= k]
    count = int(np.prod([update.type.dims[n] for n in lead]))
    rows = e.graph.reshape(transposed(e, update, order), [*window.shape[:k], count, *window.shape[k + 1 :]])
    chosen = np.arange(window.shape[k])
    chosen[at] = window.shape[k] + which
    both = joined(e, [x, rows], k)
    return e.emit(gather, [both, Known(chosen)], lambda t, i: jnp.take(t, i, axis=k, mode="clip"), "take", axis=k)


def _scattered(
    e: Equation, window: Window, where: dict[int, int], x: Value, index: Value, update: Value
) -> Sequence[Held]:
    """By one number for every addressed cell: (i, j) <- %x[i, j], %updates[%codes==i, j], and the codes decided."""
    if not window.ready or not index.type.dims[-1] or not all(index.type.dims):
        return [x] if not all(index.type.dims[:-1]) else _coarse(e, window, where, x, index, update)
    numbers = e["dimension_numbers"]
    addressed = [*window.batch, *window.looked]
    cells = int(np.prod([window.shape[k] for k in addressed]))
    rest = [window.shape[k] for k in window.rest]
    lead = [n for n in range(update.rank) if n not in numbers.update_window_dims]
    behind = [*[k for k in window.looked if k in where], *window.rest]
    codes = _codes(e, window, index)
    count = int(np.prod(codes.type.dims))
    rows = e.graph.reshape(transposed(e, update, [*lead, *(where[k] for k in behind)]), [count, *rest])
    codes = e.graph.reshape(codes, (count,))
    order = [*addressed, *window.rest]
    flat = e.graph.reshape(transposed(e, x, order), [cells, *rest])
    found = _replacing(e, flat, codes, rows) if e.name == "scatter" else _combining(e, flat, codes, rows)
    found = e.graph.reshape(found, [window.shape[k] for k in order])
    return [transposed(e, found, [order.index(k) for k in range(x.rank)])]


def _codes(e: Equation, window: Window, index: Value) -> Value:
    """For every index, and every cell of the window there, the number of the addressed cell; what is behind them is dropped."""
    index_batch = [int(n) for n in e["dimension_numbers"].scatter_indices_batching_dims]
    cells = int(np.prod([window.shape[k] for k in (*window.batch, *window.looked)]))
    sizes = [window.shape[k] for k in window.looked]
    columns = [window.starts.index(k) for k in window.looked]
    batch = [(place, window.shape[k]) for place, k in zip(index_batch, window.batch, strict=True)]
    clips = "CLIP" in str(e["mode"])
    native = functools.partial(_numbered, tuple(batch), tuple(columns), tuple(sizes), tuple(window.room), clips, cells)
    dtype = "i64" if index.type.dtype in ("i64", "u64") else "i32"
    attrs = {"sizes": tuple(sizes), "room": tuple(window.room), "batch": tuple(place for place, _ in batch)}
    start = e.emit(reduce, [index], native, "scatter_index", dtype, axes=(index.rank - 1,), **attrs)
    return with_window(e, start, window)[0]


def _numbered(
    batch: tuple[tuple[int, int], ...], columns: tuple[int, ...], sizes: tuple[int, ...], room: tuple[int, ...],
    clips: bool, cells: int, index: Any,
) -> Any:  # fmt: skip
    last = jnp.asarray(room)
    dropped = jnp.zeros(index.shape[:-1], bool) if clips else ((index < 0) | (index > last)).any(-1)
    dtype = jnp.int64 if index.dtype in (jnp.int64, jnp.uint64) else jnp.int32
    held = jnp.clip(index, 0, last).astype(dtype)
    total = jnp.zeros(index.shape[:-1], dtype)
    for place, size in batch:
        total = total * size + lax.broadcasted_iota(dtype, total.shape, place)
    for m, size in zip(columns, sizes, strict=True):
        total = total * size + held[..., m]
    return jnp.where(dropped, cells, total)


def _replacing(e: Equation, x: Value, codes: Value, rows: Value) -> Value:
    """A cell that was addressed is that of the last update which came there."""
    cells = int(x.type.dims[0])
    rule = GivenMap(
        (GivenRead(0, (GivenLook(OWN_RESULT, (axis(0),)),), Kind.CONTROL), GivenRead(0, (Full(),), Kind.ORDER))
    )
    owner = e.emit(opaque, [codes], functools.partial(_last, cells), "owner", codes.type.dtype, rule, shape=(cells,))
    near = e.emit(elementwise, [owner], lambda i: jnp.maximum(i, 0), "max", owner.type.dtype, other=0)
    put = e.emit(gather, [rows, near], functools.partial(_taken, 0), "take", axis=0)
    held = e.emit(elementwise, [owner], lambda i: i >= 0, "ge", "bool", other=0)
    wide = e.graph.reshape(held, (cells, *[1] * (x.rank - 1)))
    return e.emit(elementwise, [wide, put, x], jnp.where, "where", control=(0,))


def _last(cells: int, codes: Any) -> Any:
    places = jnp.arange(len(codes), dtype=codes.dtype)
    return jnp.full((cells,), -1, codes.dtype).at[codes].max(places, mode="drop")


def _combining(e: Equation, x: Value, codes: Value, rows: Value) -> Value:
    """A cell of %x, with all updates that came there."""
    names = axes(x.rank)
    rule = GivenMap((
        GivenRead(0, names),
        GivenRead(2, (GivenMembers(1, names[0]), *names[1:])),
        GivenRead(1, (GivenMembers(1, names[0]),), Kind.CONTROL),
        GivenRead(1, (Full(),), Kind.ORDER),
    ))  # fmt: skip
    native = functools.partial(_combined, _METHODS[e.name])
    return e.emit(opaque, [x, codes, rows], native, rule=rule, shape=x.type.dims)


def _combined(method: str, x: Any, codes: Any, rows: Any) -> Any:
    return getattr(x.at[codes], method)(rows, mode="drop")


def _applied(e: Equation) -> Sequence[Held]:
    """`x.at[i].apply(f)`: a function of the cell, as often as it is addressed; what stands for updates is not used.

    (i, j) <- %x[i, j], and the indices that came there decided it.
    """
    x, index = e.x, e.inputs[1]
    if isinstance(index, Known) and isinstance(e.inputs[2], Known):
        where, nothing = index.array, e.inputs[2].array
        return [e.emit(elementwise, [x], lambda t: e.native(t, where, nothing), "scatter_apply")]
    held, nothing = e.graph.value(index), e.graph.value(e.inputs[2])
    window, _ = _window(e, x, nothing)
    if not window.ready or not all(held.type.dims):
        return e.opaque(
            GivenMap((GivenRead(0, axes(x.rank)), GivenRead(1, (Full(),) * held.rank, Kind.CONTROL)), False)
        )
    codes = _codes(e, window, held)
    codes = e.graph.reshape(codes, (int(np.prod(codes.type.dims)),))
    cell: Any = 0
    for k in (*window.batch, *window.looked):
        cell = cell * window.shape[k] + axis(k)
    reads = (
        GivenRead(0, axes(x.rank)),
        GivenRead(1, (GivenMembers(1, cell),), Kind.CONTROL),
        GivenRead(1, (Full(),), Kind.ORDER),
    )
    native = functools.partial(_applied_at, e.native)
    return [e.emit(opaque, [x, codes, held, nothing], native, rule=GivenMap(reads), shape=e.shape)]


def _applied_at(scatter: Any, x: Any, codes: Any, index: Any, nothing: Any) -> Any:
    return scatter(x, index, nothing)


def _coarse(
    e: Equation, window: Window, where: dict[int, int], x: Value, index: Value, update: Value
) -> Sequence[Held]:
    """(i, j) <- %x[i, j], %updates[*, j], and all indices decided it."""
    numbers = e["dimension_numbers"]
    updates: list[Any] = [Full()] * update.rank
    indices: list[Any] = [Full()] * index.rank
    for k, place in where.items():
        if k in window.rest and window.sizes[k] == window.shape[k]:
            updates[place] = axis(k)
    lead = [k for k in range(update.rank) if k not in numbers.update_window_dims]
    pairs = zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True)
    for k, place in pairs:
        indices[place] = axis(k)
        updates[lead[place]] = axis(k)
    reads = (
        GivenRead(0, tuple(axis(k) for k in range(x.rank))),
        GivenRead(1, tuple(indices), Kind.CONTROL),
        GivenRead(2, tuple(updates)),
    )
    return e.opaque(GivenMap(reads, False))


HANDLERS: dict[str, Handler] = {
    "dynamic_update_slice": _dynamic_update_slice,
    **dict.fromkeys(("scatter", *_COMBINE), _scatter),
}
