"""Primitives that put cells at positions: a box known before the run is a concat, all else reads coarsely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from traceprop.ir import Kind, Value
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Full, axis
from traceprop.ir.opset import elementwise, gather
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, Known, NoRule
from traceprop.tracing.jaxpr.rows import Window
from traceprop.tracing.jaxpr.shape import joined, sliced, transposed

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
    """Which cell of the update lands where hangs on the starts: any along the axes on which it moves."""
    rank = e.x.rank
    shifted = [k for k in range(rank) if e.graph.value(e.inputs[1]).type.dims[k] != e.x.type.dims[k]]
    update = tuple(Full() if k in shifted else axis(k) for k in range(rank))
    reads = [GivenRead(0, tuple(axis(k) for k in range(rank))), GivenRead(1, update)]
    reads += [GivenRead(2 + k, (), Kind.CONTROL) for k in range(rank)]
    return e.opaque(GivenMap(tuple(reads), False))


def _scatter(e: Equation) -> Sequence[Held]:
    numbers = e["dimension_numbers"]
    x, index, update = e.x, e.graph.value(e.inputs[1]), e.graph.value(e.inputs[2])
    dropped = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    kept = [k for k in range(x.rank) if k not in dropped]
    if not all(update.type.dims) or not all(x.type.dims):
        return [x]
    sizes = [1] * x.rank
    where = dict(zip(kept, numbers.update_window_dims, strict=True))
    for k, place in where.items():
        sizes[k] = int(update.type.dims[place])
    window = Window(x.type.dims, sizes, numbers.scatter_dims_to_operand_dims, numbers.operand_batching_dims)
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
