"""Functions that put cells elsewhere: rolled, repeated, inserted, put together in blocks, or laid out in columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.ir.given_map import OWN_RESULT, GivenLook, GivenRead
from traceprop.ir.index_map import Full, Kind, axis
from traceprop.tracing.lazy import Lazy, fresh_symbol
from traceprop.tracing.numpy.basic import take as take_rows
from traceprop.tracing.numpy.calls import NoRule, apply, axis_of, item_along, operand
from traceprop.tracing.numpy.composed import pad, sliding_window_view
from traceprop.tracing.numpy.mapped import dtype_of, mapped, number


def _plain(values: Any) -> np.ndarray:
    """Positions that are known while the function is traced."""
    if isinstance(values, Lazy):
        raise NoRule
    return np.asarray(values)


def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if isinstance(shift, Lazy):
        raise NoRule
    if axis is None:
        if np.ndim(shift):
            raise NoRule
        return np.reshape(roll(np.ravel(a), shift, 0), np.shape(a)) if np.ndim(a) != 1 else roll(a, shift, 0)
    shifts, axes = np.broadcast_arrays(shift, axis)
    for by, k in zip(shifts.ravel().tolist(), axes.ravel().tolist(), strict=True):
        place = axis_of(k, np.ndim(a))
        size = number(a, place, "numpy.roll")
        cut = -int(by) % size if size else 0
        if cut:
            a = np.concatenate(
                [item_along(a, place, slice(cut, None)), item_along(a, place, slice(0, cut))], axis=place
            )
    return a


def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """x[positions]; where the data says how often, the positions are one more captured index."""
    if axis is None:
        a, axis = np.ravel(a), 0
    place = axis_of(axis, np.ndim(a))
    if not isinstance(repeats, Lazy):
        counts = np.asarray(repeats)
        size = number(a, place, "numpy.repeat")
        return np.take(a, np.repeat(np.arange(size), counts), axis=place)
    if np.ndim(repeats) != 1:
        raise NoRule
    own = GivenRead(0, (GivenLook(OWN_RESULT, (_own(0),)),), Kind.CONTROL)
    reads = [own, GivenRead(0, (Full(),), Kind.ORDER)]
    native = lambda counts: np.repeat(np.arange(len(counts)), counts)  # noqa: E731
    positions = mapped("repeat", [repeats], reads, (fresh_symbol("K"),), np.intp, native)
    return np.take(a, positions, axis=place)


_own = axis


def resize(a: Any, new_shape: Any) -> Any:
    shape = tuple(new_shape) if isinstance(new_shape, (tuple, list)) else (new_shape,)
    flat = np.ravel(a)
    size, wanted = number(flat, 0, "numpy.resize"), int(np.prod(shape))
    if not size:
        raise NoRule
    return np.reshape(np.take(flat, np.arange(wanted) % size), shape)


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    place = axis_of(axis, np.ndim(arr))
    if isinstance(obj, slice) or (isinstance(obj, (list, tuple, np.ndarray)) and np.ndim(obj) == 1):
        return _several_inserted(arr, obj, values, place)
    where = _plain(obj)
    if where.ndim or where.dtype.kind not in "iu":
        raise NoRule
    size = number(arr, place, "numpy.insert")
    k = int(where)
    if not -size <= k <= size:
        raise IndexError(f"index {k} is out of bounds for axis {place} with size {size}")
    k += size if k < 0 else 0
    values = values if isinstance(values, Lazy) else np.asarray(values)
    if np.ndim(values) > 1 or (np.ndim(values) and np.ndim(arr) == 1 and np.shape(values)[0] != 1):
        raise NoRule
    shape = (*np.shape(arr)[:place], 1, *np.shape(arr)[place + 1 :])
    if np.ndim(values) and place == np.ndim(arr) - 1 and np.ndim(arr) > 1:
        values = np.expand_dims(values, -1)
    piece = np.broadcast_to(values.astype(dtype_of(arr)), shape)
    return np.concatenate(
        [item_along(arr, place, slice(0, k)), piece, item_along(arr, place, slice(k, None))], axis=place
    )


def _several_inserted(arr: Any, where: Any, values: Any, place: int) -> Any:
    """The new cells under the old ones, and of these the order that NumPy says."""
    size = number(arr, place, "numpy.insert")
    count = len(np.insert(np.arange(size), where, 0)) - size
    order = np.insert(np.arange(size), where, size + np.arange(count))
    values = values if isinstance(values, Lazy) else np.asarray(values)
    if np.ndim(values) > np.ndim(arr):
        raise NoRule
    shape = (*np.shape(arr)[:place], count, *np.shape(arr)[place + 1 :])
    wide = np.broadcast_to(values.astype(dtype_of(arr)), shape)
    return np.take(np.concatenate([arr, wide], axis=place), order, axis=place)


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """The cells from the first that is not zero to the last: which these are, the data decides."""
    if axis is not None or np.ndim(filt) != 1 or set(trim.lower()) - {"f", "b"}:
        raise NoRule
    some = np.not_equal(filt, 0)
    kept = np.ones_like(some)
    if "f" in trim.lower():
        kept = np.logical_and(kept, np.logical_or.accumulate(some))
    if "b" in trim.lower():
        kept = np.logical_and(kept, np.flip(np.logical_or.accumulate(np.flip(some))))
    return filt[kept]


def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    place = axis_of(axis, np.ndim(arr))
    kept = np.delete(np.arange(number(arr, place, "numpy.delete")), obj if isinstance(obj, slice) else _plain(obj))
    return np.take(arr, kept, axis=place)


def block(arrays: Any) -> Any:
    """Nested lists: the innermost side by side, the next under one another, and so on."""

    def depth(item: Any) -> int:
        return 1 + max(map(depth, item)) if isinstance(item, list) else 0

    def rank(item: Any) -> int:
        return max(map(rank, item)) if isinstance(item, list) else np.ndim(item)

    levels = depth(arrays)
    axes = max(levels, rank(arrays))

    def joined(item: Any, level: int) -> Any:
        if isinstance(item, list):
            return np.concatenate([joined(part, level - 1) for part in item], axis=axes - level)
        item = item if isinstance(item, Lazy) else np.asarray(item)
        while np.ndim(item) < axes:
            item = np.expand_dims(item, 0)
        return item

    return joined(arrays, levels)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    place = axis_of(axis, np.ndim(x))
    return tuple(item_along(x, place, k) for k in range(number(x, place, "numpy.unstack")))


def atleast_3d(*arrays: Any) -> Any:
    def one(x: Any) -> Any:
        rank = np.ndim(x)
        if rank == 0:
            return np.reshape(x, (1, 1, 1))
        return x[None, :, None] if rank == 1 else x[:, :, None] if rank == 2 else x

    return one(arrays[0]) if len(arrays) == 1 else tuple(map(one, arrays))


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    rank = np.ndim(a)
    place = axis_of(axis, rank)
    start = start + rank if start < 0 else start
    order = [k for k in range(rank) if k != place]
    order.insert(start - (place < start), place)
    return np.transpose(a, order)


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    n = len(xi)
    shaped = [np.reshape(x, (*(1,) * k, -1, *(1,) * (n - k - 1))) for k, x in enumerate(map(np.ravel, xi))]
    if indexing == "xy" and n > 1:
        shaped = [np.swapaxes(x, 0, 1) for x in shaped]
    return tuple(shaped) if sparse else tuple(np.broadcast_arrays(*shaped))


def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    """`mode="clip"` and `"wrap"` change the positions, and then nothing is out of bounds."""
    if mode == "raise":
        return take_rows(a, indices, axis)
    if axis is None:
        a, axis = np.ravel(a), 0
    size = number(a, axis_of(axis, np.ndim(a)), "numpy.take")
    if not size:
        raise NoRule
    indices = indices if isinstance(indices, Lazy) else np.asarray(indices)
    return take_rows(a, np.clip(indices, 0, size - 1) if mode == "clip" else np.mod(indices, size), axis)


def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """Each cell is that of one of the choices; the number that says which is its control."""
    listed = list(choices) if isinstance(choices, (tuple, list)) else list(unstack(choices))

    native = lambda x, *given: np.choose(x, given, mode=mode)  # noqa: E731
    return apply(native, "numpy.choose", [a, *map(operand, listed)], {}, control=(0,), native=native)


def ravel_multi_index(multi_index: Any, dims: Any, mode: str = "raise", order: str = "C") -> Any:

    parts = list(multi_index) if isinstance(multi_index, (tuple, list)) else list(unstack(multi_index))
    native = lambda *given: np.ravel_multi_index(given, dims, mode, order)  # noqa: E731
    return apply(native, "numpy.ravel_multi_index", parts, {}, native=native)


def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:

    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)

    def one(k: int) -> Any:
        native = lambda x: np.unravel_index(x, sizes, order)[k]  # noqa: E731
        return apply(native, "numpy.unravel_index", [indices], {}, result=k, native=native)

    return tuple(map(one, range(len(sizes))))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers side by side; that of exponent 0 reads nothing."""
    count = number(x, 0, "numpy.vander") if N is None else int(N)
    dtype = np.promote_types(dtype_of(x), int)
    if count < 1:
        raise NoRule
    wide = np.broadcast_to(np.expand_dims(x.astype(dtype), 1), (*np.shape(x), count - 1))
    powers = np.multiply.accumulate(wide, axis=1) if count > 1 else wide
    found = np.concatenate([np.ones_like(np.expand_dims(x, 1), dtype), powers], axis=1)
    return found if increasing else found[:, ::-1]


def padded(array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    """Constants that differ from side to side: one axis, and one side, after the other."""
    if mode in ("maximum", "minimum", "mean", "median", "linear_ramp") and not isinstance(pad_width, dict):
        return _padded_by_statistics(array, np.broadcast_to(pad_width, (np.ndim(array), 2)).tolist(), mode, options)
    fill = options.get("constant_values", 0)
    if mode != "constant" or not np.ndim(fill) or isinstance(pad_width, dict):
        return pad(array, pad_width, mode, **options)
    widths = np.broadcast_to(pad_width, (np.ndim(array), 2)).tolist()
    fills = np.broadcast_to(fill, (np.ndim(array), 2)).tolist()
    none = (0, 0)
    for k, ((before, after), (low, high)) in enumerate(zip(widths, fills, strict=True)):
        rest = [none] * np.ndim(array)
        for width, value in (((before, 0), low), ((0, after), high)):
            array = pad(array, [*rest[:k], width, *rest[k + 1 :]], constant_values=value)
    return array


def _padded_by_statistics(array: Any, widths: list[list[int]], mode: str, options: dict[str, Any]) -> Any:
    """Of every line its statistic on both sides, or a ramp towards the end value; one axis after the other."""
    end = options.pop("end_values", 0) if mode == "linear_ramp" else 0
    if options or np.ndim(end) or dtype_of(array).kind != "f":
        raise NoRule
    fold = {"maximum": np.max, "minimum": np.min, "mean": np.mean, "median": np.median}.get(mode)
    for k, (before, after) in enumerate(widths):
        shape = np.shape(array)
        if fold is not None:
            line = fold(array, axis=k, keepdims=True)
            sides = [np.broadcast_to(line, (*shape[:k], width, *shape[k + 1 :])) for width in (before, after)]
        else:
            edges = [item_along(array, k, slice(0, 1)), item_along(array, k, slice(-1, None))]
            ramps = [
                np.linspace(
                    end,
                    np.reshape(edge, (*shape[:k], *shape[k + 1 :])),
                    width,
                    endpoint=False,
                    axis=k,
                    dtype=dtype_of(array),
                )
                if width
                else edge
                for edge, width in zip(edges, (before, after), strict=True)
            ]
            sides = [ramps[0], np.flip(ramps[1], k)]
        parts = [side for side, width in ((sides[0], before), (array, 1), (sides[1], after)) if width]
        array = np.concatenate(parts, axis=k) if len(parts) > 1 else array
    return array


def windows(x: Any, window_shape: Any, axis: Any = None, **options: Any) -> Any:
    """Windows over several axes: one after the other, each with an axis of its own at the end."""
    shapes = list(window_shape) if isinstance(window_shape, (tuple, list)) else [window_shape]
    if len(shapes) == 1:
        return sliding_window_view(x, window_shape, axis, **options)
    axes = range(np.ndim(x)) if axis is None else list(axis)
    if len(axes) != len(shapes):
        raise ValueError("window_shape and axis must name the same number of axes")
    for width, k in zip(shapes, axes, strict=True):
        x = sliding_window_view(x, width, axis=axis_of(k, np.ndim(x)) if k >= 0 else k + len(axes), **options)
    return x


def array_equiv(a1: Any, a2: Any) -> Any:
    return np.all(np.equal(a1, a2))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    if np.ndim(a1) != np.ndim(a2):
        raise NoRule
    if not equal_nan:
        return np.all(np.equal(a1, a2))
    both = np.logical_and(np.isnan(a1), np.isnan(a2))
    return np.all(np.logical_or(np.equal(a1, a2), both))


def isreal_like(name: str) -> Callable[..., Any]:
    """`iscomplex`, `fix` and others that NumPy writes in Python: element-wise, by NumPy's own function."""
    function = getattr(np, name)

    def handler(x: Any, *rest: Any, **options: Any) -> Any:

        if rest or options:
            raise NoRule
        return apply(function, f"numpy.{name}", [x], {}, native=function)

    return handler


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.roll: roll, np.repeat: repeat, np.resize: resize, np.insert: insert, np.delete: delete, np.block: block,
    np.unstack: unstack, np.atleast_3d: atleast_3d, np.rollaxis: rollaxis, np.meshgrid: meshgrid, np.take: take,
    np.choose: choose, np.trim_zeros: trim_zeros,
    np.ravel_multi_index: ravel_multi_index, np.unravel_index: unravel_index, np.vander: vander, np.pad: padded,
    np.lib.stride_tricks.sliding_window_view: windows, np.array_equiv: array_equiv, np.array_equal: array_equal,
    **{getattr(np, name): isreal_like(name) for name in "fix isposinf isneginf iscomplex isreal".split()},
}  # fmt: skip
