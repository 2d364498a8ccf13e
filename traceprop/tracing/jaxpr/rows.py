"""Primitives that take cells from positions which the data may decide: sort, gather, dynamic slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from traceprop.ir import Value
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Full, axis
from traceprop.ir.opset import broadcast, elementwise, gather, iota, opaque, reduce, reshape, sort
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.jaxpr.bounds import plain_index, within
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, Known, NoRule
from traceprop.tracing.jaxpr.shape import sliced, transposed


def taken_along(e: Equation, x: Value, index: Value, k: int, name: str = "take_along_axis") -> Value:
    """The cells of `x` at an index that lies along axis `k`; its positions are within the axis."""
    if x.rank == 1:
        return e.emit(gather, [x, index], lambda t, i: t.at[i].get(mode="promise_in_bounds"), name, axis=0)

    def native(t: Any, i: Any) -> Any:
        return jnp.take_along_axis(t, i, k, mode="promise_in_bounds")

    return e.emit(gather, [x, index], native, name, axis=k, along=True)


def _sort(e: Equation) -> Sequence[Held]:
    k, count, stable = int(e["dimension"]), int(e["num_keys"]), bool(e["is_stable"])
    size = e.x.type.dims[k]
    dtype = "i64" if any(type.dtype == "i64" for type in e.types[1:]) else "i32"

    def order(*keys: Any) -> Any:
        positions = lax.broadcasted_iota(numpy_dtype(dtype), keys[0].shape, k)
        return lax.sort((*keys, positions), dimension=k, is_stable=stable, num_keys=count)[-1]

    permutation = e.emit(sort, e.inputs[:count], order, dtype=dtype, axis=k)
    found: list[Held] = []
    for held, type in zip(e.inputs, e.types, strict=True):
        if _counts(held, k, size):
            found.append(permutation if type.dtype == dtype else _converted(e, permutation, type.dtype))
        else:
            found.append(taken_along(e, e.graph.value(held), permutation, k, "sort"))
    return found


def _converted(e: Equation, x: Value, dtype: str) -> Value:
    numpy = numpy_dtype(dtype)
    return e.emit(elementwise, [x], lambda t: t.astype(numpy), "convert_element_type", dtype, dtype_=dtype)


def _counts(held: Held, k: int, size: Any) -> bool:
    """Whether a value is 0, 1, 2, … along axis `k`: sorted beside keys, it becomes the permutation."""
    if isinstance(held, Known):
        array = np.asarray(held.array)
        line = np.arange(size).reshape([-1] + [1] * (array.ndim - 1 - k))
        return array.dtype.kind in "iu" and bool((array == line).all())
    narrow = held
    if held.op is not None and held.op.definition is broadcast:
        narrow = held.op.operands[0]
    k -= held.rank - narrow.rank
    if k < 0 or any(n != 1 for place, n in enumerate(narrow.type.dims) if place != k):
        return False
    op = narrow.op
    if op is not None and op.definition is reshape:
        op = op.operands[0].op
    return op is not None and op.definition is iota


def _top_k(e: Equation) -> Sequence[Held]:
    k, count = int(e.params.get("axis", e.x.rank - 1)) % max(e.x.rank, 1), int(e["k"])
    size = int(e.x.type.dims[k])

    def order(t: Any) -> Any:
        return jnp.moveaxis(lax.top_k(jnp.moveaxis(t, k, -1), size)[1], -1, k)

    descending = e.emit(sort, [e.x], order, "top_k", dtype=e.types[1].dtype, axis=k, descending=True)
    item = (None, None if count == size else count, None)
    first = sliced(e, descending, [item if n == k else (None, None, None) for n in range(e.x.rank)])
    return [taken_along(e, e.x, first, k, "top_k"), first]


def _approx_top_k(e: Equation) -> Sequence[Held]:
    """Positions, for which all cells along the axis are compared, and the cells there.

    So it is on CPUs, which sort; accelerators may compare fewer.
    """
    k = int(e["reduction_dimension"]) % e.x.rank
    line = tuple(Full() if n == k else axis(n) for n in range(e.x.rank))
    first = e.emit(
        opaque, [e.x], e.result_natives()[1], "approx_top_k", e.types[1].dtype, GivenMap((GivenRead(0, line),)),
        shape=e.types[1].dims, **e.scalars(),
    )  # fmt: skip
    return [taken_along(e, e.x, first, k, "top_k"), first]


# -- gather -----------------------------------------------------------------------------------------------------------


class Window:
    """How a gather or a scatter addresses an array: starts in `index[..., m]` for some axes, a window around them.

    `batch`: axes of the array that go with axes of the index; `looked`: axes that the index moves along, in the order of
    its last axis; `rest`: axes taken whole. Axes along which the window is as long as the array are at rest: the start is
    clamped to 0 there, or (where such windows are dropped) `checked` beside the others.
    """

    def __init__(self, shape: Sequence[int], sizes: Sequence[int], starts: Sequence[int], batch: Sequence[int]) -> None:
        self.shape, self.sizes, self.starts, self.batch = tuple(shape), tuple(sizes), tuple(starts), tuple(batch)
        self.looked = [k for k in self.starts if self.sizes[k] != self.shape[k] or self.shape[k] == 1]
        self.rest = [k for k in range(len(self.shape)) if k not in (*self.looked, *self.batch)]
        self.room = [self.shape[k] - self.sizes[k] for k in self.starts]

    @property
    def ready(self) -> bool:
        """Whether there are cells to take, and one window fits."""
        return all(self.shape) and all(n >= 0 for n in self.room) and all(self.sizes)


def _linear(e: Equation, index: Value, window: Window) -> Value:
    """Starts in `index[..., m]`, clamped as XLA does, as positions on the looked-up axes flattened: one per row of it."""
    columns = [window.starts.index(k) for k in window.looked]
    lead = index.type.dims[:-1]
    if len(columns) == 1:
        m = columns[0]
        if len(window.starts) > 1:
            index = sliced(e, index, [*[(None, None, None)] * len(lead), (m, m + 1, None)])
        flat = e.graph.reshape(index, lead)
        room, size = window.room[m], window.shape[window.looked[0]]
        flat = plain_index(flat, size)
        if within(flat, 0, room + 1):
            return flat
        return e.emit(
            elementwise, [flat], lambda t: jnp.clip(t, 0, room).astype(t.dtype), "clamp_index", flat.type.dtype, to=room
        )  # fmt: skip
    sizes = [window.shape[k] for k in window.looked]
    room = [window.room[m] for m in columns]

    def ravel(t: Any) -> Any:
        total: Any = 0
        for m, size, last in zip(columns, sizes, room, strict=True):
            total = total * size + jnp.clip(t[..., m].astype(jnp.int64), 0, last)
        return total

    return e.emit(reduce, [index], ravel, "ravel_index", "i64", axes=(index.rank - 1,), sizes=tuple(sizes))


def with_window(e: Equation, starts: Value, window: Window) -> tuple[Value, tuple[int, ...]]:
    """Positions of all cells of the windows on the looked-up axes: a start and an offset; and the window's shape."""
    widths = tuple(window.sizes[k] for k in window.looked)
    if all(n == 1 for n in widths):
        return starts, ()
    sizes = [window.shape[k] for k in window.looked]
    offsets: Any = np.zeros(widths, np.int64)
    for n, (width, size) in enumerate(zip(widths, sizes, strict=True)):
        along = np.arange(width).reshape([-1] + [1] * (len(widths) - 1 - n))
        offsets = offsets * size + along
    offsets = offsets.astype(numpy_dtype(starts.type.dtype))
    rank = starts.rank
    spans = (tuple(range(rank)), tuple(range(rank, rank + len(widths))))

    def native(t: Any, o: Any) -> Any:
        return t.reshape(t.shape + (1,) * o.ndim) + o

    return e.emit(
        elementwise, [starts, Known(offsets)], native, "add", starts.type.dtype, spread=spans
    ), widths  # fmt: skip


def taken(e: Equation, x: Value, index: Value, window: Window, index_batch: Sequence[int]) -> tuple[Value, int, int]:
    """The windows of `x` as [batch…, other index axes…, window…, rest…]; and how many axes are index axes, window axes."""
    lead = [k for k in range(index.rank - 1) if k not in index_batch]
    order = [*index_batch, *lead]
    index = transposed(e, index, [*order, index.rank - 1])
    whole = transposed(e, x, [*window.batch, *window.looked, *window.rest])
    dims = [window.shape[k] for k in window.batch]
    rest = [window.shape[k] for k in window.rest]
    cells = int(np.prod([window.shape[k] for k in window.looked]))
    whole = e.graph.reshape(whole, [*dims, cells, *rest])
    starts = _linear(e, index, window)
    at, widths = with_window(e, starts, window)
    shape: list[int] = list(at.type.dims)
    if not window.batch:
        found = e.emit(gather, [whole, at], lambda t, i: t.at[i].get(mode="promise_in_bounds"), axis=0)
    else:
        k = len(dims)
        flat = e.graph.reshape(at, [*dims, int(np.prod(shape[k:]))])
        if rest:
            wide = (*flat.type.dims, *rest)
            flat = e.graph.reshape(flat, [*flat.type.dims, *[1] * len(rest)])
            flat = e.emit(broadcast, [flat], lambda t: jnp.broadcast_to(t, wide), shape=wide)
        found = taken_along(e, whole, flat, k)
    found = e.graph.reshape(found, [*shape, *rest])
    return found, index.rank - 1, len(widths)


def _gather(e: Equation) -> Sequence[Held]:
    numbers = e["dimension_numbers"]
    x, index = e.x, e.graph.value(e.inputs[1])
    window = Window(x.type.dims, e["slice_sizes"], numbers.start_index_map, numbers.operand_batching_dims)
    if not all(window.shape) or not all(e.shape):  # there is no cell to read, or none to read for
        return e.opaque(GivenMap(()))
    if not window.ready or x.rank != len(e["slice_sizes"]):
        raise NoRule
    index_batch = [int(k) for k in numbers.start_indices_batching_dims]
    lead = [*index_batch, *(k for k in range(index.rank - 1) if k not in index_batch)]
    found: Value
    along = len(window.looked) == 1 and not window.rest and not numbers.offset_dims and index.rank == x.rank + 1
    if along and index_batch == list(window.batch):
        found = taken_along(e, x, _linear(e, index, window), window.looked[0])
        return [_filled(e, found, index, window, range(x.rank))]
    if lead and not window.looked and window.starts:  # whole windows, as many as there are indices
        window.looked = [window.starts[0]]
        window.rest.remove(window.starts[0])
    if window.looked:
        found, _, widths = taken(e, x, index, window, index_batch)
    elif lead:
        raise NoRule
    else:
        found, widths = transposed(e, x, window.rest), 0
    # Axes now: batch and index axes, the window's along the looked-up axes, the rest. Collapsed ones have size 1 or none.
    looked = window.looked if widths else []
    places = {k: len(lead) + n for n, k in enumerate(looked)}
    places |= {k: len(lead) + len(looked) + n for n, k in enumerate(window.rest)}
    dropped = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [k for k in range(x.rank) if k not in dropped]
    order = [lead.index(k) for k in range(len(lead))]
    final: list[int] = []
    index_axes = iter(order)
    offsets = dict(zip(numbers.offset_dims, kept, strict=True))
    for k in range(len(e.shape)):
        if k not in offsets:
            final.append(next(index_axes))
        elif offsets[k] in places:
            final.append(places[offsets[k]])
    final += [k for k in range(found.rank) if k not in final]  # collapsed, of size 1
    found = e.graph.reshape(transposed(e, found, final), e.shape)
    return [_filled(e, found, index, window, [k for k in range(len(e.shape)) if k not in offsets])]


def _drops(e: Equation) -> bool:
    return "FILL" in str(e["mode"])


def _in_bounds(e: Equation, index: Value, window: Window) -> Value | None:
    """Per index, whether its window lies within the array; `None` where that is known of all."""
    room = window.room
    columns = [index]
    if len(room) > 1:
        columns = _columns(e, index)
    sizes = [window.shape[k] for k in window.starts]
    flat = [plain_index(e.graph.reshape(c, c.type.dims[:-1]), n) for c, n in zip(columns, sizes, strict=False)]
    if len(flat) == len(room) and all(within(c, 0, last + 1) for c, last in zip(flat, room, strict=True)):
        return None
    last = np.array(room)

    def native(t: Any) -> Any:
        wide = t.astype(jnp.int64)
        return ((wide >= 0) & (wide <= last)).all(-1)

    return e.emit(reduce, [index], native, "in_bounds", "bool", axes=(index.rank - 1,), room=tuple(room))


def _columns(e: Equation, index: Value) -> list[Value]:
    """The parts that an index was put together from, where it was."""
    op = index.op
    if op is not None and op.payload == "jax.concatenate" and op.attrs["axis"] == index.rank - 1:
        return list(op.operands)
    return []


def _filled(e: Equation, found: Value, index: Value, window: Window, index_axes: Sequence[int]) -> Value:
    """Where a window leaves the array, JAX gives `fill_value` in its place."""
    inside = _in_bounds(e, index, window) if _drops(e) else None
    if inside is None:
        return found
    wide = [1] * found.rank
    for k, place in enumerate(index_axes):
        wide[place] = inside.type.dims[k]
    inside = e.graph.reshape(inside, wide)
    filler = _fill_value(e["fill_value"], found.type.dtype)
    return e.emit(
        elementwise, [inside, found], lambda m, t: jnp.where(m, t, filler.astype(t.dtype)), "fill", control=(0,)
    )


def _fill_value(given: Any, dtype: str) -> np.ndarray:
    kind = numpy_dtype(dtype)
    if given is not None:
        return np.asarray(given, kind)
    if kind.kind in "fc":
        return np.asarray(np.nan, kind)
    if kind.kind == "b":
        return np.asarray(True)
    return np.asarray(np.iinfo(kind).max if kind.kind == "u" else np.iinfo(kind).min, kind)


def joined_starts(e: Equation, starts: Sequence[Held]) -> Value:
    """Scalar starts as one index of shape (m,)."""
    from traceprop.tracing.jaxpr.shape import joined

    if all(isinstance(held, Known) for held in starts):
        return e.graph.value(Known(np.array([int(held.array) for held in starts], np.int64)))
    values = [e.graph.value(held) for held in starts]
    ones = []
    for value in values:
        if value.type.dtype != "i64":
            value = _converted(e, value, "i64")
        ones.append(e.graph.reshape(value, (1,)))
    return joined(e, ones, 0)


def _dynamic_slice(e: Equation) -> Sequence[Held]:
    x, starts = e.x, e.inputs[1:]
    sizes = [int(n) for n in e["slice_sizes"]]
    window = Window(x.type.dims, sizes, range(len(sizes)), ())
    if not all(window.shape) or not all(e.shape):
        return e.opaque(GivenMap(()))
    if x.rank != len(sizes) or not window.ready:
        raise NoRule
    # Where the start is known, or nothing can move, it is a plain slice.
    index: list[Any] = [(None, None, None)] * x.rank
    moving = []
    for k in range(x.rank):
        start = starts[k]
        if not window.room[k]:
            continue
        if isinstance(start, Known):
            at = int(np.clip(int(start.array), 0, window.room[k]))
            index[k] = (at or None, None if at + sizes[k] == window.shape[k] else at + sizes[k], None)
        else:
            moving.append(k)
    x = sliced(e, x, index)
    if not moving:
        return [x]
    part = Window(x.type.dims, sizes, moving, ())
    found, _, widths = taken(e, x, joined_starts(e, [starts[k] for k in moving]), part, ())
    if not widths:
        return [e.graph.reshape(_reordered(e, found, part, 0), e.shape)]
    return [e.graph.reshape(_reordered(e, found, part, len(part.looked)), e.shape)]


def _reordered(e: Equation, found: Value, window: Window, widths: int) -> Value:
    """[window…, rest…] back in the order of the array's axes."""
    now = [*(window.looked if widths else []), *window.rest]
    return transposed(e, found, [now.index(k) for k in sorted(now)])


HANDLERS: dict[str, Handler] = {
    "sort": _sort,
    "top_k": _top_k,
    "approx_top_k": _approx_top_k,
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
}
