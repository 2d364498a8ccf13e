"""NumPy functions that are made of others: traced as the ops that those are, so that their lineage is exact."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import ArrayType
from traceprop.ir.opset import contract, elementwise, gather
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy.calls import LETTERS, NoRule, axis_of, item_along


def _size(x: Any, axis: int, what: str) -> int:
    """The number of positions on an axis; the trace becomes one for it."""
    try:
        return int(x.shape[axis])
    except TraceError as error:
        raise TraceError(f"{what}: {error}") from None


# -- parts and borders ----------------------------------------------------------------------------------------------------


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    if np.ndim(indices) != np.ndim(arr):
        raise NoRule
    return emit(gather, [arr, indices], {"axis": axis_of(axis, np.ndim(arr)), "along": True})


def sliding_window_view(x: Any, window_shape: Any, axis: Any = None, **options: Any) -> Any:
    if isinstance(window_shape, (tuple, list)):
        if len(window_shape) != 1:
            raise NoRule
        (window_shape,) = window_shape
    if options or (axis is None and x.ndim != 1) or isinstance(axis, (tuple, list)) or not window_shape:
        raise NoRule
    width, along = int(window_shape), axis_of(0 if axis is None else axis, x.ndim)
    parts = [item_along(x, along, slice(k, k - width + 1 or None)) for k in range(width)]
    return np.stack(parts, axis=-1)


def pad(array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    widths = np.broadcast_to(pad_width, (array.ndim, 2)).tolist() if not isinstance(pad_width, dict) else None
    fill = options.pop("constant_values", 0)
    if widths is None or options or mode not in ("constant", "edge", "reflect", "symmetric", "wrap") or np.ndim(fill):
        raise NoRule
    for axis, (before, after) in enumerate(widths):
        array = _padded(array, axis, int(before), int(after), mode, fill)
    return array


def _padded(x: Any, axis: int, before: int, after: int, mode: str, fill: Any) -> Any:
    def end(width: int, first: bool) -> list[Any]:
        if not width:
            return []
        if mode == "constant":
            like = item_along(x, axis, slice(0, 1)) if first else item_along(x, axis, slice(-1, None))
            return [np.full_like(like, fill)] * width
        if mode == "edge":
            return [item_along(x, axis, slice(0, 1) if first else slice(-1, None))] * width
        if _size(x, axis, "np.pad") <= width:
            raise NoRule
        if mode == "wrap":
            return [item_along(x, axis, slice(-width, None) if first else slice(0, width))]
        skip = int(mode == "reflect")
        part = slice(skip, width + skip) if first else slice(-width - skip, -skip or None)
        return [np.flip(item_along(x, axis, part), axis)]

    parts = [*end(before, True), x, *end(after, False)]
    return np.concatenate(parts, axis=axis) if len(parts) > 1 else x


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    along = axis_of(axis, np.ndim(ary))
    if isinstance(indices_or_sections, (int, np.integer)) and _size(ary, along, "np.split") % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    along = axis_of(axis, np.ndim(ary))
    if isinstance(indices_or_sections, (int, np.integer)):
        total, sections = _size(ary, along, "np.array_split"), int(indices_or_sections)
        each, extra = divmod(total, sections)
        cuts: list[Any] = np.cumsum([0] + [each + 1] * extra + [each] * (sections - extra)).tolist()
    else:
        cuts = [0, *(int(cut) for cut in indices_or_sections), None]
    return [item_along(ary, along, slice(a, b)) for a, b in itertools.pairwise(cuts)]


def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    if not isinstance(obj, (int, np.integer)):
        raise NoRule
    along = axis_of(axis, np.ndim(arr))
    k = range(_size(arr, along, "np.delete"))[int(obj)]
    return np.concatenate([item_along(arr, along, slice(0, k)), item_along(arr, along, slice(k + 1, None))], axis=along)


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return np.concatenate([np.ravel(arr), np.ravel(values)] if axis is None else [arr, values], axis=axis or 0)


def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    first, second = axes
    turned = {0: lambda: m, 1: lambda: np.flip(m, second), 2: lambda: np.flip(m, axes), 3: lambda: m}[k % 4]()
    if k % 2 == 0:
        return turned
    swapped = np.swapaxes(turned, first, second)
    return swapped if k % 4 == 1 else np.flip(swapped, second)


def dstack(arrays: Sequence[Any]) -> Any:
    deep = [x if np.ndim(x) > 2 else np.expand_dims(np.atleast_2d(x), 2) for x in arrays]
    return np.concatenate(deep, axis=2)


# -- positions and choices ------------------------------------------------------------------------------------------------


def nonzero(a: Any) -> tuple[Any, ...]:
    if np.ndim(a) < 2:
        raise NoRule
    flat = np.flatnonzero(a)
    found = []
    for axis in reversed(range(1, np.ndim(a))):
        size = a.type.dims[axis]
        if not isinstance(size, int):
            raise NoRule
        found.append(flat % size)
        flat = flat // size
    return (flat, *reversed(found))


def argwhere(a: Any) -> Any:
    return np.stack(np.nonzero(a), axis=1)


def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    return item_along(a, axis_of(axis, np.ndim(a)), condition)


def extract(condition: Any, arr: Any) -> Any:
    return np.ravel(arr)[np.ravel(condition)]


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError("list of cases must be same length as list of conditions")
    dtype = np.result_type(*map(_kind, [*choicelist, default]))
    result: Any = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result.astype(dtype)


def _kind(x: Any) -> Any:
    return numpy_dtype(x.type.dtype) if isinstance(x, Lazy) and isinstance(x.type, ArrayType) else x


def beside_constants(name: str, moving: int) -> Callable[..., Any]:
    """A function that takes one array cell by cell, the others whole: element-wise, where those others are plain."""
    func = getattr(np, name)

    def handler(*args: Any, **kwargs: Any) -> Any:
        others = [*args[:moving], *args[moving + 1 :], *kwargs.values()]
        if len(args) <= moving or not isinstance(args[moving], Lazy) or any(isinstance(x, Lazy) for x in others):
            raise NoRule
        x = args[moving]

        def native(cells: Any) -> Any:
            return np.asarray(func(*args[:moving], cells, *args[moving + 1 :], **kwargs))

        text = isinstance(x.type, ArrayType) and x.type.dtype == "str"
        dtype = dtype_name(native(np.full(1, "") if text else np.zeros(1, _kind(x))).dtype)
        return emit(elementwise, [x], {}, f"numpy.{name}", dtype, native=native)

    return handler


# -- sums of products -----------------------------------------------------------------------------------------------------


def _product(name: str, spec: str, *operands: Any, **options: Any) -> Any:
    func = getattr(np, name)
    dtype = dtype_name(np.result_type(*map(_kind, operands)))
    return emit(
        contract, list(operands), {"spec": spec}, f"numpy.{name}", dtype, native=lambda *given: func(*given, **options)
    )


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    left, right = np.ndim(a), np.ndim(b)
    if isinstance(axes, (int, np.integer)):
        first, second = list(range(left - axes, left)), list(range(axes))
    else:
        first, second = (list(each) if isinstance(each, (tuple, list)) else [each] for each in axes)
    names, other = list(LETTERS[:left]), list(LETTERS[left : left + right])
    for here, there in zip(first, second, strict=True):
        other[axis_of(there, right)] = names[axis_of(here, left)]
    kept = [c for c in names if c not in other] + [c for c in other if c not in names]
    return _product("tensordot", f"{''.join(names)},{''.join(other)}->{''.join(kept)}", a, b, axes=axes)


def inner(a: Any, b: Any) -> Any:
    left, right = np.ndim(a), np.ndim(b)
    if not left or not right:
        return np.multiply(a, b)
    first, second = LETTERS[: left - 1], LETTERS[left - 1 : left + right - 2]
    return _product("inner", f"{first}z,{second}z->{first}{second}", a, b)


def vdot(a: Any, b: Any) -> Any:
    if any(np.dtype(_kind(x) if isinstance(x, Lazy) else np.asarray(x).dtype).kind == "c" for x in (a, b)):
        return np.dot(np.conjugate(np.ravel(a)), np.ravel(b))
    return _product("vdot", "a,a->", np.ravel(a), np.ravel(b))


def explicit(subscripts: str, ranks: Sequence[int]) -> str:
    """Einsum subscripts with the result and the axes behind an ellipsis written out."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"einsum of {len(ranks)} operands has {len(terms)} subscripts")
    free = [c for c in reversed(LETTERS.upper() + LETTERS) if c not in subscripts]
    wide = max(
        (rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks, strict=True) if "..." in t), default=0
    )
    more = "".join(free[:wide])
    terms = [
        t.replace("...", more[wide - (rank - len(t.replace("...", ""))) :])
        for t, rank in zip(terms, ranks, strict=True)
    ]
    if arrow:
        return f"{','.join(terms)}->{result.replace('...', more)}"
    letters = "".join(terms)
    once = sorted(c for c in set(letters) if letters.count(c) == 1 and c not in more)
    return f"{','.join(terms)}->{more}{''.join(once)}"


# -- statistics -----------------------------------------------------------------------------------------------------------


def allclose(a: Any, b: Any, **options: Any) -> Any:
    return np.all(np.isclose(a, b, **options))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    if equal_nan or np.ndim(a1) != np.ndim(a2):
        raise NoRule
    return np.all(np.equal(a1, a2))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.take_along_axis: take_along_axis,
    np.lib.stride_tricks.sliding_window_view: sliding_window_view,
    np.pad: pad,
    np.split: split, np.array_split: array_split,
    np.vsplit: lambda ary, parts: split(ary, parts, 0),
    np.dsplit: lambda ary, parts: split(ary, parts, 2),
    np.hsplit: lambda ary, parts: split(ary, parts, 1 if np.ndim(ary) > 1 else 0),
    np.delete: delete, np.append: append, np.rot90: rot90, np.dstack: dstack,
    np.flipud: lambda m: np.flip(m, 0), np.fliplr: lambda m: np.flip(m, 1),
    np.nonzero: nonzero, np.argwhere: argwhere, np.compress: compress, np.extract: extract, np.select: select,
    np.isin: beside_constants("isin", 0), np.digitize: beside_constants("digitize", 0),
    np.searchsorted: beside_constants("searchsorted", 1), np.interp: beside_constants("interp", 0),
    np.tensordot: tensordot, np.inner: inner, np.vdot: vdot,
    np.allclose: allclose, np.array_equal: array_equal,
}  # fmt: skip

# Functions whose every result cell is made of every cell of arrays of at most two axes: `opaque`, with the map that it has.
WHOLE = frozenset(
    [
        *(getattr(np.linalg, name) for name in "eig eigvals".split()),
        np.polyfit, np.roots,
    ]
)  # fmt: skip
