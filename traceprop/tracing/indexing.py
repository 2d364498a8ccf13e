"""Basic and advanced indexing, as ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from traceprop.errors import TraceError, TypeRuleError
from traceprop.ir import ArrayType, Dim
from traceprop.ir.expr import product, symbols_of
from traceprop.ir.location import user_location
from traceprop.ir.opset import elementwise, filter, gather, reshape, slice
from traceprop.tracing.lazy import Lazy, emit, fresh_symbol
from traceprop.tracing.numpy.mapped import number
from traceprop.tracing.opaque import opaque_call
from traceprop.tracing.trace import Size, active_trace


def getitem(x: Any, index: Any) -> Any:
    """`x[index]` for ints, slices, `None`, an ellipsis, and one boolean or integer array among them."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = _expanded(items, x)
    if len(items) == 1 and isinstance(items[0], (bool, np.bool_)):
        return _basic(_basic(x, [None]), [builtins_slice(None, None if items[0] else 0)])
    advanced = [k for k, item in enumerate(items) if _is_array(item)]
    if not advanced:
        return _basic(x, items)
    if len(advanced) == 1 and len(items) == 1 and _is_wide_mask(items[0]):
        return _by_wide_mask(x, items[0])
    if len(advanced) == len(items) == 2 and not any(map(_is_boolean, items)) and not isinstance(items[1], Lazy):
        found = _by_two(x, *items)
        if found is not None:
            return found
    if len(advanced) > 1 or _is_wide_mask(items[advanced[0]]):
        found = _by_many(x, items)
        return opaque_call(operator.getitem, "numpy.getitem", (x, tuple(items)), {}) if found is None else found
    (position,) = advanced
    array = items[position]
    numbers = [k for k, item in enumerate(items) if isinstance(item, int)]
    items[position] = builtins_slice(None)
    if all(item == builtins_slice(None) for item in items):
        based, axis = x, position
    else:
        based = _basic(x, items)
        axis = sum(not isinstance(item, (int, np.integer)) for item in items[:position])
    taken = take(based, array, axis)
    together = [*numbers, position]
    if max(together) - min(together) < len(together):
        return taken
    wide = taken.value.rank - based.value.rank + 1  # numbers apart from the array: NumPy puts the array's axes first
    return np.moveaxis(taken, range(axis, axis + wide), range(wide))


builtins_slice = type(np.s_[:])


def _is_array(item: Any) -> bool:
    return isinstance(item, (list, np.ndarray, Lazy))


def _is_wide_mask(item: Any) -> bool:
    """Whether an index is a boolean array over more than one axis."""
    array = item if isinstance(item, Lazy) else np.asarray(item)
    return array.dtype == bool and array.ndim > 1  # type: ignore[attr-defined]


def _is_boolean(item: Any) -> bool:
    return bool((item if isinstance(item, Lazy) else np.asarray(item)).dtype == bool)  # type: ignore[attr-defined]


def _by_wide_mask(x: Any, mask: Any) -> Any:
    """x[mask] for a mask over the first axes: those axes as one, and of that the positions."""
    mask = mask if isinstance(mask, Lazy) else np.asarray(mask)
    dims = x.type.dims
    if mask.ndim > len(dims):
        raise IndexError(f"too many indices at {user_location()}: the mask has {mask.ndim} axes, the array {len(dims)}")
    for axis in range(1, mask.ndim):
        check_mask(x, np.moveaxis(mask, axis, 0), axis)
    check_mask(x, mask, 0)
    if not isinstance(mask, Lazy) and not all(isinstance(dim, int) for dim in dims[: mask.ndim]):
        trace = active_trace()
        for dim in dims[: mask.ndim]:
            if trace is not None:
                trace.number(dim, "a mask from outside")
    flat = emit(reshape, [x], {"shape": (product(dims[: mask.ndim]), *dims[mask.ndim :])})
    return take(flat, np.ravel(mask), 0)


def _by_two(x: Any, rows: Any, columns: Any) -> Any:
    """x[rows, columns] for plain columns: the first two axes as one. None where that cannot be said."""
    width = x.type.dims[1] if len(x.type.dims) > 1 else None
    columns = np.asarray(columns)
    if not isinstance(width, int) or columns.dtype.kind not in "iu":
        return None
    if columns.size and (columns.min() < -width or columns.max() >= width):
        raise IndexError(f"index out of bounds for axis 1 with size {width} at {user_location()}")
    rows = rows if isinstance(rows, Lazy) else np.asarray(rows)
    flat = emit(reshape, [x], {"shape": (product(x.type.dims[:2]), *x.type.dims[2:])})
    return take(flat, rows * width + np.where(columns < 0, columns + width, columns), 0)


def _by_many(x: Any, items: list[Any]) -> Any:
    """x[i, j, …] for several arrays of positions, which are broadcast: their axes as one, and of that one position each.

    None for what is left to NumPy: a mask over several axes that the data decides.
    """
    spread: list[Any] = []
    for item in items:
        if _is_array(item) and _is_boolean(item):
            mask = item if isinstance(item, Lazy) else np.asarray(item)
            if isinstance(mask, Lazy):
                if mask.ndim != 1:  # type: ignore[attr-defined]
                    return None
                check_mask(x, mask, sum(part is not None for part in spread))
                spread.append(positions(mask))
            else:
                where = sum(part is not None for part in spread)
                for k in range(mask.ndim):
                    check_mask(x, np.moveaxis(mask, k, 0), where + k)
                spread.extend(np.nonzero(mask))
        else:
            spread.append(np.asarray(item) if isinstance(item, list) else item)
    chosen = [k for k, item in enumerate(spread) if isinstance(item, (int, np.ndarray, Lazy))]
    based = _basic(x, [builtins_slice(None) if k in chosen else item for k, item in enumerate(spread)])
    rest = [k for k in range(based.value.rank) if k not in chosen]
    sizes = [number(based, k, "an index of several arrays") if n else based.type.dims[k] for n, k in enumerate(chosen)]
    flat: Any = None
    for n, k in enumerate(chosen):
        place = spread[k] if n == 0 and isinstance(spread[k], Lazy) else _within(spread[k], sizes[n])
        flat = place if flat is None else flat * sizes[n] + place
    turned = np.transpose(based, [*chosen, *rest])
    merged = emit(reshape, [turned], {"shape": (product(sizes), *turned.type.dims[len(chosen) :])})
    taken = take(merged, flat, 0)
    if chosen != list(range(chosen[0], chosen[-1] + 1)):
        return taken  # apart from one another: NumPy puts their axes first
    wide = np.ndim(flat)
    return np.moveaxis(taken, range(wide), range(chosen[0], chosen[0] + wide))


def _within(index: Any, size: Dim) -> Any:
    """Positions counted from the front. Raises `IndexError` for one that lies outside: here, or (traced) in the run."""
    if not isinstance(size, int):  # the first axis; a position below zero counts from the end of all of them
        return index

    def checked(places: np.ndarray) -> np.ndarray:
        if places.size and (places.min() < -size or places.max() >= size):
            raise IndexError(f"an index is out of bounds for an axis of size {size}")
        return np.where(places < 0, places + size, places)

    if isinstance(index, Lazy):
        return emit(elementwise, [index], {"size": size}, "numpy.position", "i64", native=checked)
    array = np.asarray(index)
    return checked(array.astype(np.int64) if array.dtype.kind in "iu" or not array.size else array)


def _expanded(items: list[Any], x: Any) -> list[Any]:
    """The index with its ellipsis written out, and numbers as plain ints."""
    used = sum(item is not None and item is not Ellipsis for item in items)
    if any(item is Ellipsis for item in items):
        at = next(k for k, item in enumerate(items) if item is Ellipsis)
        items[at : at + 1] = [builtins_slice(None)] * (x.ndim - used)
    result = []
    for item in items:
        if isinstance(item, Lazy) and not item.value.rank and item.type.dtype[0] not in "iu":  # type: ignore[union-attr]
            raise TraceError(
                f"indexing with a single traced {item.type} at {user_location()} is not traced; use np.where, or x[[k]]"
            )
        result.append(int(item) if isinstance(item, (Size, np.integer)) else item)
    return result


def _basic(x: Any, items: list[Any]) -> Any:
    plain: list[Any] = []
    position = 0
    for item in items:
        if isinstance(item, builtins_slice):
            bounds = tuple(None if b is None else int(b) for b in (item.start, item.stop, item.step))
            plain.append(bounds)
        elif item is None or (isinstance(item, int) and not isinstance(item, bool)):
            plain.append(item)
        else:
            raise TraceError(f"an index of type {type(item).__name__} at {user_location()} is not traced")
        position += item is not None
    try:
        return emit(slice, [x], {"index": tuple(plain)})
    except TypeRuleError as error:
        if "needs the number" in str(error) and (trace := active_trace()) is not None:
            for dim in x.type.dims:
                trace.number(dim, "a slice with a negative step")
        raise IndexError(str(error)) from None


def take(x: Any, array: Any, axis: int) -> Any:
    """Rows (or positions of another axis) by a boolean mask or an integer array."""
    if not isinstance(array, Lazy):
        array = np.asarray(array)
        if array.size == 0 and array.dtype == float:
            array = array.astype(np.int64)
        if array.dtype == bool:
            if array.ndim != 1:
                raise TraceError(
                    f"a boolean index of {array.ndim} axes at {user_location()} is not traced; use np.where"
                )
            check_mask(x, array, axis)
            array = np.flatnonzero(array)
        return emit(gather, [x, array], {"axis": axis})
    assert isinstance(array.type, ArrayType)
    if array.type.dtype != "bool":
        return emit(gather, [x, array], {"axis": axis})
    found = positions(array)
    check_mask(x, array, axis)
    return emit(gather, [x, found], {"axis": axis})


def check_mask(x: Any, mask: Any, axis: int = 0) -> None:
    """Raises `IndexError` for a mask that has not one cell per position of the axis.

    Outside a trace this runs what it needs to know two sizes that the data decides; inside, they must be shown equal.
    """
    have, wanted = (
        array.shape[k] if isinstance(array, np.ndarray) else _dim(array, k) for array, k in ((mask, 0), (x, axis))
    )
    if have == wanted:
        return
    trace = active_trace()
    if trace is not None:
        trace.unify(have, wanted)
    elif symbols_of(have) | symbols_of(wanted):
        have, wanted = mask.shape[0], x.shape[axis]
        if have == wanted:
            return
    raise IndexError(
        f"boolean index did not match at {user_location() or 'an unknown line'}: the mask has {have} cells, where axis {axis} "
        f"has {wanted}"
    )


def _dim(value: Any, axis: int) -> Dim:
    """A size, as a number if that is known without running anything."""
    known = None if value.trace is not None else value.known_shape()[axis]
    return value.type.dims[axis] if known is None else known


def positions(mask: Any) -> Any:
    """The positions at which a lazy mask is true.

    Asked twice of one mask it is the same value, so that sizes agree; inside a trace also of equal masks, as in `x[a > 0]`
    and `y[a > 0]`.
    """
    if mask.value.rank != 1:
        raise TraceError(
            f"a boolean index of {mask.value.rank} axes at {user_location()} is not traced; use np.where(mask, x, fill)"
        )
    trace = active_trace()
    if trace is not None:
        return trace.shared(mask, lambda: emit(filter, [mask], {"size": fresh_symbol("K")}))
    if mask._mask_positions is None:
        mask._mask_positions = emit(filter, [mask], {"size": fresh_symbol("K")})
    return mask._mask_positions
