"""Statistics in their weighted, masked and several-at-once forms, and differences along an axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import AxisRead, Full, axis
from traceprop.ir.location import user_location
from traceprop.ir.opset import scan
from traceprop.ir.types import dtype_name
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy.calls import NoRule, apply, axis_of, constant_like, item_along
from traceprop.tracing.numpy.mapped import dims_of, dtype_of, mapped, number, sample
from traceprop.tracing.numpy.reductions import reduction


def several_quantiles(name: str) -> Callable[..., Any]:
    """One reduction per quantile, side by side."""
    function = getattr(np, name)

    def handler(a: Any, q: Any, axis: Any = None, *args: Any, **options: Any) -> Any:
        if isinstance(q, Lazy) and not args:
            return _quantiles_at_once(function, name, a, q, axis, options)
        if args:
            raise NoRule
        levels = np.asarray(q)
        if not levels.ndim:
            return function(a, levels.item(), axis, **options)
        if dtype_of(a) in (
            np.float16,
            np.float32,
        ):  # one by one they would be of that width, together they are of 64 bits
            return _quantiles_at_once(function, name, a, levels, axis, options)
        parts = [function(a, float(level), axis, **options) for level in levels.ravel()]
        stacked = np.stack(parts)
        return stacked if levels.ndim == 1 else np.reshape(stacked, (*levels.shape, *np.shape(parts[0])))

    return handler


def _quantiles_at_once(
    function: Callable[..., Any], name: str, a: Any, levels: Any, axis: Any, options: dict[str, Any]
) -> Any:
    if set(options) - {"method", "keepdims"}:
        raise NoRule
    rank, dims = np.ndim(a), dims_of(a)
    listed = range(rank) if axis is None else axis if isinstance(axis, (tuple, list)) else [axis]
    folded = {axis_of(k, rank) for k in listed}
    keep = bool(options.get("keepdims"))
    lazy = isinstance(levels, Lazy)
    result: list[Any] = list(dims_of(levels))
    places: list[AxisRead] = []
    for k, dim in enumerate(dims):
        places.append(Full() if k in folded else _own(len(result)))
        if keep or k not in folded:
            result.append(1 if k in folded else dim)
    if lazy:
        dtype = np.result_type(dtype_of(a), np.float64) if dtype_of(a).kind in "iub" else dtype_of(a)
        native = lambda x, q: function(x, q, axis, **options)  # noqa: E731
        reads = [GivenRead(0, tuple(places)), GivenRead(1, tuple(map(_own, range(np.ndim(levels)))))]
        return mapped(name, [a, levels], reads, result, np.result_type(dtype, dtype_of(levels)), native)
    native = lambda x: function(x, levels, axis, **options)  # noqa: E731
    return mapped(name, [a], [GivenRead(0, tuple(places))], result, np.float64, native)


def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = np._NoValue
) -> Any:
    """A mean; with weights, as NumPy has it: sum(a * w) / sum(w)."""
    options = {} if keepdims is np._NoValue else {"keepdims": keepdims}
    if weights is None:
        if returned:
            raise NoRule
        return np.mean(a, axis, **options)
    a = a if isinstance(a, Lazy) else np.asarray(a)
    weights = weights if isinstance(weights, Lazy) else np.asarray(weights)
    if np.ndim(a) != np.ndim(weights):
        if axis is None or isinstance(axis, (tuple, list)) or np.ndim(weights) != 1:
            raise NoRule
        place = axis_of(axis, np.ndim(a))
        weights = np.reshape(weights, (*(1,) * place, -1, *(1,) * (np.ndim(a) - place - 1)))
        weights = np.broadcast_arrays(weights, a)[0]
    kinds = [dtype_of(a), dtype_of(weights)]
    dtype = np.result_type(*kinds, np.float64) if kinds[0].kind in "iub" else np.result_type(*kinds)
    scale = np.sum(weights, axis=axis, dtype=dtype, **options)
    found = np.true_divide(np.sum(np.multiply(a.astype(dtype), weights.astype(dtype)), axis=axis, **options), scale)
    return (found, np.broadcast_to(scale, np.shape(found))) if returned else found


def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """Entry (i, j) is made of variables i and j alone: centred rows, and their products."""
    if np.ndim(m) > 2:
        raise NoRule
    dtype = np.result_type(dtype_of(m), np.float64, *([] if y is None else [dtype_of(y)])) if dtype is None else dtype
    x = np.atleast_2d(m).astype(dtype) if isinstance(m, Lazy) else np.array(m, ndmin=2, dtype=dtype)
    if not rowvar and np.ndim(m) != 1:
        x = np.transpose(x)
    if y is not None:
        other = np.atleast_2d(y).astype(dtype) if isinstance(y, Lazy) else np.array(y, ndmin=2, dtype=dtype)
        other = np.transpose(other) if not rowvar and np.shape(other)[0] != 1 else other
        x = np.concatenate([x, other], axis=0)
    count = number(x, 1, "numpy.cov")
    free = (0 if bias else 1) if ddof is None else ddof
    if fweights is not None or aweights is not None:
        return _weighted_cov(x, fweights, aweights, free)
    if count - free <= 0:
        raise NoRule  # NumPy warns, and divides by zero
    x = np.subtract(x, np.mean(x, axis=1)[:, None])
    c = np.multiply(np.dot(x, np.conjugate(np.transpose(x))), np.true_divide(1, count - free))
    return np.squeeze(c)


def _weighted_cov(x: Any, fweights: Any, aweights: Any, free: int) -> Any:
    """Rows centred by their weighted means, and their products with the weights, as NumPy has it."""
    parts = [w if isinstance(w, Lazy) else np.asarray(w, float) for w in (fweights, aweights) if w is not None]
    weights = parts[0].astype(float) if len(parts) == 1 else np.multiply(parts[0].astype(float), parts[1])
    mean, total = average(x, axis=1, weights=weights, returned=True)
    whole = total[0]
    if free == 0:
        fact = whole
    elif aweights is None:
        fact = whole - free
    else:
        fact = whole - free * np.sum(np.multiply(weights, parts[-1])) / whole
    x = np.subtract(x, mean[:, None])
    c = np.dot(x, np.conjugate(np.transpose(np.multiply(x, weights))))
    return np.squeeze(np.multiply(c, np.true_divide(1, fact)))


def corrcoef(
    x: Any, y: Any = None, rowvar: bool = True, bias: Any = None, ddof: Any = None, *, dtype: Any = None
) -> Any:
    c = cov(x, y, rowvar, dtype=dtype)
    if not np.ndim(c):
        return np.true_divide(c, c)
    if c.dtype.kind == "c":
        raise NoRule
    spread = np.sqrt(np.real(np.diagonal(c)))
    c = np.true_divide(np.true_divide(c, spread[:, None]), spread[None, :])
    return np.clip(c, -1, 1)


def nan_position(name: str) -> Callable[..., Any]:

    function = getattr(np, name)
    return lambda a, axis=None, out=None, *, keepdims=False: reduction(
        function, f"numpy.{name}", a, axis, keepdims=bool(keepdims) and keepdims is not np._NoValue
    )


# -- along an axis ------------------------------------------------------------------------------------------------------------


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Any:
    rank = np.ndim(a)
    place = axis_of(axis, rank)

    def beside(value: Any) -> Any:
        if np.ndim(value):
            return value
        shape = (*np.shape(a)[:place], 1, *np.shape(a)[place + 1 :])
        return (
            np.broadcast_to(value, shape)
            if isinstance(value, Lazy)
            else np.full_like(item_along(a, place, slice(0, 1)), value, dtype_of(value))
        )

    given = [beside(prepend)] if prepend is not np._NoValue else []
    after = [beside(append)] if append is not np._NoValue else []
    if given or after:
        a = np.concatenate([*given, a, *after], axis=place)
    for _ in range(n):
        later, before = item_along(a, place, slice(1, None)), item_along(a, place, slice(None, -1))
        a = np.not_equal(later, before) if a.dtype == bool else np.subtract(later, before)
    return a


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    flat = np.ravel(ary)
    if to_end is None and to_begin is None:
        return np.diff(flat)
    ends = [
        np.ravel(
            x if isinstance(x, Lazy) else np.asarray(x, dtype=None if isinstance(x, np.ndarray) else dtype_of(ary))
        )
        for x in (to_begin, to_end)
        if x is not None
    ]
    parts = [ends[0], np.diff(flat)] if to_begin is not None else [np.diff(flat)]
    parts += [ends[-1]] if to_end is not None else []
    return np.concatenate([part.astype(dtype_of(ary)) for part in parts])


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences, and one-sided ones at both ends."""
    rank = np.ndim(f)
    axes = (
        range(rank)
        if axis is None
        else [axis_of(k, rank) for k in (axis if isinstance(axis, (tuple, list)) else [axis])]
    )
    if edge_order not in (1, 2) or any(isinstance(h, Lazy) for h in varargs) or len(varargs) not in (0, 1, len(axes)):
        raise NoRule
    steps = list(varargs) * (len(axes) if len(varargs) == 1 else 1) or [1.0] * len(axes)
    steps = [_step(h) for h in steps]
    if dtype_of(f).kind in "mM":
        raise NoRule
    f = f.astype(np.float64) if dtype_of(f).kind in "iub" else f
    found = []
    for k, h in zip(axes, steps, strict=True):
        if number(f, k, "numpy.gradient") < edge_order + 1:
            raise ValueError(
                "Shape of array too small to calculate a numerical gradient, at least (edge_order + 1) elements are required."
            )
        first, last = _edges(f, k, h, edge_order)
        middle = _middle(f, k, h)
        found.append(np.concatenate([first, middle, last], axis=k))
    return found[0] if len(found) == 1 else tuple(found)


def _step(h: Any) -> Any:
    """The distance between places: one number where all are equal, as NumPy has it."""
    if not np.ndim(h):
        return h
    between = np.diff(np.asarray(h).astype(np.float64) if np.asarray(h).dtype.kind in "iu" else np.asarray(h))
    return between[0] if (between == between[0]).all() else between


def _middle(f: Any, k: int, h: Any) -> Any:
    before, here, after = (item_along(f, k, each) for each in (slice(None, -2), slice(1, -1), slice(2, None)))
    if not np.ndim(h):
        return (after - before) / (2.0 * h)
    left, right = h[:-1], h[1:]
    shape = [-1 if n == k else 1 for n in range(np.ndim(f))]
    a, b, c = (
        each.reshape(shape)
        for each in (-right / (left * (left + right)), (right - left) / (left * right), left / (right * (left + right)))
    )
    return a * before + b * here + c * after


def _edges(f: Any, k: int, h: Any, order: int) -> tuple[Any, Any]:
    """One-sided differences of two cells, or of three."""
    first, second, last, but_one = (
        item_along(f, k, each) for each in (slice(0, 1), slice(1, 2), slice(-1, None), slice(-2, -1))
    )
    left, right = (h, h) if not np.ndim(h) else (h[0], h[-1])
    if order == 1:
        return (second - first) / left, (last - but_one) / right
    third, but_two = item_along(f, k, slice(2, 3)), item_along(f, k, slice(-3, -2))
    if not np.ndim(h):
        return (
            (-1.5 / h) * first + (2.0 / h) * second + (-0.5 / h) * third,
            (0.5 / h) * but_two + (-2.0 / h) * but_one + (1.5 / h) * last,
        )
    one, two = h[0], h[1]
    lower = (-(2.0 * one + two) / (one * (one + two)), (one + two) / (one * two), -one / (two * (one + two)))
    one, two = h[-2], h[-1]
    upper = (two / (one * (one + two)), -(two + one) / (one * two), (2.0 * two + one) / (two * (one + two)))
    return (
        lower[0] * first + lower[1] * second + lower[2] * third,
        upper[0] * but_two + upper[1] * but_one + upper[2] * last,
    )


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    place = axis_of(axis, np.ndim(y))
    step: Any = dx
    if x is not None:
        step = np.diff(x, axis=-1 if np.ndim(x) == 1 else axis)
        if np.ndim(x) == 1:
            step = np.reshape(step, (*(1,) * place, -1, *(1,) * (np.ndim(y) - place - 1)))
    total = item_along(y, place, slice(1, None)) + item_along(y, place, slice(None, -1))
    return (step * total / 2.0).sum(axis=place)


def cumulative(name: str, function: Callable[..., Any], first: int) -> Callable[..., Any]:
    """`cumulative_sum` and `cumulative_prod`, with the empty sum or product in front where asked for."""

    def handler(
        x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False
    ) -> Any:
        if axis is None and np.ndim(x) > 1:
            raise ValueError(f"For arrays which have more than one dimension ``axis`` argument is required, in {name}")
        place = 0 if axis is None else axis
        found = function(x, axis=place, dtype=dtype)
        if not include_initial:
            return found
        k = axis_of(place, np.ndim(x))
        shape = (*np.shape(x)[:k], 1, *np.shape(x)[k + 1 :])

        return np.concatenate(
            [np.broadcast_to(constant_like(np.asarray(first, found.dtype), found), shape), found], axis=k
        )

    return handler


def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    """Each angle is moved by what all before it were."""
    dtype = dtype_name(np.unwrap(sample(p, (1,)), period=period).dtype)
    native = lambda x: np.unwrap(x, discont, axis, period=period)  # noqa: E731
    return emit(scan, [p], {"axis": axis_of(axis, np.ndim(p))}, "numpy.unwrap", dtype, native=native)


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """The function sees one line at a time, so a result cell reads its own line."""
    if not isinstance(arr, Lazy) or any(isinstance(x, Lazy) for x in (*args, *kwargs.values())):
        raise NoRule
    rank, dims = np.ndim(arr), dims_of(arr)
    along = axis_of(axis, rank)
    line = np.linspace(0.5, 1.5, number(arr, along, "numpy.apply_along_axis")).astype(dtype_of(arr))
    found = np.asarray(func1d(line, *args, **kwargs))
    shape = (*dims[:along], *found.shape, *dims[along + 1 :])
    places = [_own(k if k < along else k - 1 + found.ndim) if k != along else Full() for k in range(rank)]
    native = lambda x: np.apply_along_axis(func1d, along, x, *args, **kwargs)  # noqa: E731
    return mapped("apply_along_axis", [arr], [GivenRead(0, tuple(places))], shape, found.dtype, native)


_own = axis


def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    for k in np.ravel(axes).tolist():
        place = axis_of(k, np.ndim(a))
        found = func(a, place)
        a = found if np.ndim(found) == np.ndim(a) else np.expand_dims(found, place)
    return a


def several_results(func: np.ufunc, inputs: Sequence[Any], options: dict[str, Any]) -> tuple[Any, ...]:
    """modf, frexp, divmod: an element-wise op per result."""
    if options:
        raise NoRule

    def one(k: int) -> Any:
        return apply(
            lambda *given: func(*given)[k],
            f"numpy.{func.__name__}",
            inputs,
            {},
            result=k,
            native=lambda *given: func(*given)[k],
        )

    return tuple(one(k) for k in range(func.nout))


def in_place(name: str, instead: str) -> Callable[..., Any]:
    """A function that writes into its first argument, and gives nothing that could be traced."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        raise TraceError(
            f"in-place write by numpy.{name} at {user_location() or 'an unknown line'}: values of a program are written once; "
            f"{instead}"
        )

    return handler


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(np, name): several_quantiles(name) for name in ("percentile", "quantile", "nanpercentile", "nanquantile")},
    np.average: average, np.cov: cov, np.corrcoef: corrcoef,
    np.diff: diff, np.ediff1d: ediff1d, np.gradient: gradient, np.trapezoid: trapezoid, np.unwrap: unwrap,
    np.cumulative_sum: cumulative("cumulative_sum", np.cumsum, 0),
    np.cumulative_prod: cumulative("cumulative_prod", np.cumprod, 1),
    np.apply_along_axis: apply_along_axis, np.apply_over_axes: apply_over_axes,
    np.copyto: in_place("copyto", "use np.where(where, src, dst)"),
    np.place: in_place("place", "use tp.at(x)[mask].set(v)"),
    np.putmask: in_place("putmask", "use np.where(mask, values, x)"),
    np.put: in_place("put", "use tp.at(x)[index].set(v)"),
    np.put_along_axis: in_place("put_along_axis", "use tp.at(x)[index].set(v)"),
    np.fill_diagonal: in_place("fill_diagonal", "use np.where(np.eye(n, dtype=bool), v, x)"),
}  # fmt: skip
