"""Values with some cells replaced: what a write in place is in a traced function."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import Full, Kind
from traceprop.ir.location import user_location
from traceprop.ir.opset import broadcast
from traceprop.tracing import numpy as front
from traceprop.tracing.indexing import builtins_slice
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy.mapped import mapped, number
from traceprop.tracing.worlds import world_of_value


class At:
    """`tp.at(x)`: index it, then `.set(v)`, `.add(v)` or `.get()`."""

    def __init__(self, x: Any) -> None:
        self._x = x

    def __getitem__(self, index: Any) -> Update:
        return Update(self._x, index)


class Update:
    """Cells of a value, to be replaced."""

    def __init__(self, x: Any, index: Any) -> None:
        self._x = x
        self._index = index

    def set(self, v: Any) -> Any:
        """The value with `v` in these cells, broadcast to them; all else as it was."""
        return _updated(self._x, self._index, lambda _: v)

    def get(self) -> Any:
        """The cells themselves: `x[index]`, also where `x` is a plain array and the index is traced, which Python hands to
        NumPy alone."""
        items = self._index if isinstance(self._index, tuple) else (self._index,)
        like = next((item for item in items if isinstance(item, Lazy)), None)
        if isinstance(self._x, Lazy) or like is None or world_of_value(self._x) in ("jax", "torch"):
            return self._x[self._index]
        return front.constant_like(np.asarray(self._x), like)[self._index]

    def add(self, v: Any) -> Any:
        """The value with `v` added to these cells."""
        return _updated(self._x, self._index, lambda old: old + v)


def at(x: Any) -> At:
    """`tp.at(x)[index].set(v)` is `x` with `v` at `index`: instead of `x[index] = v` in a traced function.

    The index: whatever NumPy takes, where it is plain; one boolean mask over the first axes, or one array of positions of the
    first axis, where it is traced (where a position is named twice, the last `v` stays). `tp.at(table)[index].get()` looks up
    in a plain array by a traced index, as `table[index]` cannot. Cells outside the index keep their own lineage alone, and
    cells inside have that of `v`; under a mask that the data decides a cell has both, as with `np.where`. Plain arrays are
    copied. JAX arrays go to their own `.at`.

        tp.at(x)[:, 0].set(0.0)
        tp.at(x)[np.isnan(x)].set(x.mean())

    Raises `TraceError` for other indices: write those as `np.where(condition, v, x)`.
    """
    return At(x)


def _updated(x: Any, index: Any, new: Callable[[Any], Any]) -> Any:
    world = world_of_value(x)
    if world == "jax":
        return x.at[index].set(new(x[index]))
    if world == "torch":
        x, before = x.clone(), x
        x[index] = new(before[index])
        return x
    items = list(index) if isinstance(index, tuple) else [index]
    if not isinstance(x, Lazy):
        value = None if any(isinstance(item, Lazy) for item in items) else new(np.asarray(x)[index])
        if value is None or isinstance(value, Lazy):
            raise TraceError(
                f"tp.at(x) at {user_location() or 'an unknown line'}: x is a plain array, and the cells to set are traced; make "
                "x an argument of the traced function, or use np.where(condition, v, x)"
            )
        result = np.array(x)
        result[index] = value
        return result
    if len(items) == 1 and _is_mask(items[0]):
        if isinstance(items[0], Lazy):
            return _masked(x, items[0], new)
        found = _at_plain(x, (np.asarray(items[0]),), new, otherwise=True)
        return _masked(x, items[0], new) if found is None else found
    if len(items) == 1 and _is_positions(items[0]):
        return _at_positions(x, items[0], new)
    if not any(isinstance(item, Lazy) for item in items) and not all(
        _is_basic(item) or item is Ellipsis for item in items
    ):
        return _at_plain(x, tuple(items), new)
    if len(items) > 1 and _is_mask(items[0]) and np.ndim(items[0]) == 1 and all(_is_basic(item) for item in items[1:]):
        return _masked_rows(x, items[0], tuple(items[1:]), new)
    items = _written_out(items, x.ndim)
    ranges = [_range(x, axis, item) for axis, item in enumerate(items)]
    old = x[tuple(items)]
    value = new(old)
    if not isinstance(value, Lazy):
        value = front.constant_like(np.asarray(value, x.dtype), x)
    value = emit(broadcast, [value.astype(x.dtype)], {"shape": old.type.dims})
    numbers = tuple(axis for axis, item in enumerate(items) if not isinstance(item, builtins_slice))
    return _pasted(x, ranges, np.expand_dims(value, numbers) if numbers else value, 0)


def _at_plain(x: Any, index: tuple[Any, ...], new: Callable[[Any], Any], otherwise: bool = False) -> Any:
    """Any index that is known: of the cells of x and the new ones behind them, those that NumPy's own write would leave.

    The trace becomes one for this shape. `otherwise`: None for values that do not fit the chosen cells.
    """
    shape = tuple(number(x, k, "tp.at(x)[…]") for k in range(x.ndim))
    size = int(np.prod(shape))
    order = np.arange(size).reshape(shape)
    chosen = order[index]
    try:
        value = new(np.take(np.ravel(x), chosen))
        if np.broadcast_shapes(np.shape(value), chosen.shape) != chosen.shape:
            raise ValueError(f"{np.shape(value)} values for {chosen.shape} cells at {user_location()}")
    except ValueError:
        if not otherwise:
            raise
        return None
    order[index] = size + np.arange(chosen.size).reshape(chosen.shape)
    if not isinstance(value, Lazy):
        value = front.constant_like(np.asarray(value, x.dtype), x)
    value = emit(broadcast, [value.astype(x.dtype)], {"shape": chosen.shape})
    return np.take(np.concatenate([np.ravel(x), np.ravel(value)]), order)


def _masked_rows(x: Any, mask: Any, rest: tuple[Any, ...], new: Callable[[Any], Any]) -> Any:
    """`x[mask, 1]`: one value for all, or one for each place behind the mask, in the rows where the mask is true."""
    part = x[(builtins_slice(None), *rest)]
    value = new(part)
    if np.ndim(value) >= np.ndim(part) and np.ndim(value):
        raise TraceError(
            f"tp.at(x)[mask, …].set(v) at {user_location() or 'an unknown line'} takes one value for all rows; use "
            "np.where(mask, v, x) with a v of x's shape"
        )
    wide = np.reshape(mask, (*np.shape(mask), *(1,) * (np.ndim(part) - 1)))
    chosen = np.where(wide, value, part).astype(x.dtype)
    return _updated(x, (builtins_slice(None), *rest), lambda _: chosen)


def _written_out(items: list[Any], rank: int) -> list[Any]:
    """One number or slice per axis."""
    if any(item is Ellipsis for item in items):
        k = next(k for k, item in enumerate(items) if item is Ellipsis)
        items = [*items[:k], *[builtins_slice(None)] * (rank - len(items) + 1), *items[k + 1 :]]
    items = [*items, *[builtins_slice(None)] * (rank - len(items))]
    if len(items) > rank or not all(map(_is_basic, items)):
        raise TraceError(
            f"tp.at(x)[…] at {user_location() or 'an unknown line'} takes numbers, slices of step 1 or one boolean mask for an x "
            f"of {rank} axes; write other updates as np.where(condition, new, x)"
        )
    return items


def _range(x: Any, axis: int, item: Any) -> tuple[int, int, int] | None:
    """First position, the one behind the last, and the axis' size; None for all of it. A number is written in."""
    if isinstance(item, builtins_slice) and item.start is None and item.stop is None:
        return None
    size = operator.index(x.shape[axis])
    if isinstance(item, builtins_slice):
        start, stop, _ = item.indices(size)
        return start, max(start, stop), size
    if not -size <= item < size:
        raise IndexError(f"index {item} is out of bounds for axis {axis} with size {size} at {user_location()}")
    return item % size, item % size + 1, size


def _pasted(x: Any, ranges: list[tuple[int, int, int] | None], value: Any, axis: int) -> Any:
    """The value amid what of `x` lies around it, axis by axis."""
    while axis < len(ranges) and ranges[axis] is None:
        axis += 1
    if axis == len(ranges):
        return value
    start, stop, size = ranges[axis] or (0, 0, 0)
    lead = (builtins_slice(None),) * axis
    middle = _pasted(x[(*lead, builtins_slice(start, stop))], ranges, value, axis + 1)
    before = [x[(*lead, builtins_slice(0, start))]] if start else []
    after = [x[(*lead, builtins_slice(stop, size))]] if stop < size else []
    return np.concatenate([*before, middle, *after], axis=axis) if before or after else middle


def _is_mask(item: Any) -> bool:
    array = np.asarray(item) if isinstance(item, list) else item
    return isinstance(array, (Lazy, np.ndarray)) and array.dtype.kind == "b"  # type: ignore[attr-defined]


def _is_positions(item: Any) -> bool:
    if isinstance(item, builtins_slice):
        return item.step not in (None, 1)
    array = np.asarray(item) if isinstance(item, list) else item
    return isinstance(array, (Lazy, np.ndarray)) and array.dtype.kind in "iu" and array.ndim == 1  # type: ignore[attr-defined]


def _at_positions(x: Any, index: Any, new: Callable[[Any], Any]) -> Any:
    """Of x with the new rows under it, each row: its own, or the last new one that is put there."""
    if isinstance(index, builtins_slice):
        index = np.arange(operator.index(x.shape[0]))[index]
    index = index if isinstance(index, Lazy) else np.asarray(index)
    size = number(x, 0, "tp.at(x)[positions]")
    old = x[index]
    value = new(old)
    if not isinstance(value, Lazy):
        value = front.constant_like(np.asarray(value, x.dtype), x)
    value = emit(broadcast, [value.astype(x.dtype)], {"shape": old.type.dims})

    def sources(places: np.ndarray) -> np.ndarray:
        if places.size and (places.min() < -size or places.max() >= size):
            raise IndexError(f"an index is out of bounds for axis 0 with size {size}")
        found = np.arange(size)
        found[places] = size + np.arange(len(places))
        return found

    if isinstance(index, Lazy):
        reads = [GivenRead(0, (Full(),), Kind.ORDER)]
        rows: Any = mapped("put", [index], reads, (size,), np.int64, sources)
    else:
        rows = sources(index)
    return np.concatenate([x, value], axis=0)[rows]


def _is_basic(item: Any) -> bool:
    if isinstance(item, builtins_slice):
        return item.step in (None, 1)
    return isinstance(item, (int, np.integer)) and not isinstance(item, bool)


def _masked(x: Any, mask: Any, new: Any) -> Any:
    value = new(x)
    if np.ndim(value) > max(x.ndim - np.ndim(mask), 0) and np.shape(value) != np.shape(x):
        raise TraceError(
            f"tp.at(x)[mask].set(v) at {user_location() or 'an unknown line'} takes one value for all cells (or one row for all "
            f"rows), not {np.ndim(value)} axes; use np.where(mask, v, x) with a v of x's shape"
        )
    wide = mask if np.ndim(mask) == x.ndim else np.reshape(mask, (*np.shape(mask), *(1,) * (x.ndim - np.ndim(mask))))
    return np.where(wide, value, x).astype(x.dtype)
