"""Reductions and scans: what they fold, and of which cells."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.ir.given_map import GivenMembers, GivenRead
from traceprop.ir.index_map import AxisRead, Bound, Full, Kind, Span, axis
from traceprop.ir.opset import reduce, scan
from traceprop.ir.types import dtype_name
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy.calls import Handler, NoRule, attr_of, axes_of, empty_sample, lazy, rank_of
from traceprop.tracing.numpy.mapped import dims_of, mapped, number, sample


def reduction(func: Handler, payload: str, a: Any, axis: Any = None, **options: Any) -> Any:
    options = {k: v for k, v in options.items() if v is not np._NoValue and not (k == "where" and v is True)}
    options.pop("out", None)
    rank = rank_of(a)
    axes = axes_of(axis, rank)
    where = options.pop("where", None)
    if where is not None:
        return where_reduced(func, payload, a, axes, where, **options)
    if isinstance(options.get("mean"), Lazy):
        return _around(func, a, axes, **options)
    if any(isinstance(value, Lazy) for value in options.values()):
        raise NoRule
    given = {k: v for k, v in options.items() if v is not None and v is not False}
    sample = np.ones((1,) * max(rank, 1), empty_sample(a).dtype)
    dtype = dtype_name(
        func(sample, axis=None if not axes or "arg" in payload else axes[0] if len(axes) == 1 else axes, **given).dtype
    )
    attrs = {"axes": axes, **{name: attr_of(value) for name, value in given.items()}}
    return emit(reduce, [lazy(a)], attrs, payload, dtype)


def _around(func: Handler, a: Any, axes: tuple[int, ...], mean: Any, **options: Any) -> Any:
    """`np.var(x, mean=m)` and `np.std`: squares of the distances from a mean that is known already."""
    keep, free = bool(options.get("keepdims")), options.get("ddof") or options.get("correction") or 0
    count = 1
    for k in axes:
        count *= number(a, k, "numpy.var")
    distance = np.subtract(a, mean)
    found = np.true_divide(np.sum(np.multiply(distance, distance), axis=axes, keepdims=keep), max(count - free, 0))
    return np.sqrt(found) if func is np.std else found


def where_reduced(
    func: Callable[..., Any], name: str, a: Any, axes: tuple[int, ...], where: Any, **options: Any
) -> Any:
    """A reduction over the cells that a mask lets through: the cells are data, their mask decides."""
    keep = bool(options.get("keepdims"))
    if any(isinstance(value, Lazy) for value in options.values()):
        raise NoRule
    rank, dims = np.ndim(a), dims_of(a)
    if np.ndim(where) > rank:
        raise NoRule
    along = axes if len(axes) != 1 else axes[0]
    kept = {k: v for k, v in options.items() if v is not None}
    tried = func(sample(a, (1,) * rank), axis=along, where=np.ones((1,) * rank, bool), **kept)
    result = [1 if k in axes else dim for k, dim in enumerate(dims) if keep or k not in axes]
    places: list[AxisRead] = []
    position = 0
    for k in range(rank):
        places.append(Full() if k in axes else axis(position))
        position += keep or k not in axes
    lead = rank - np.ndim(where)
    mask = tuple(0 if dim == 1 and dims[lead + k] != 1 else places[lead + k] for k, dim in enumerate(dims_of(where)))
    reads = [GivenRead(0, tuple(places)), GivenRead(1, mask, Kind.CONTROL)]
    native = lambda x, m: func(x, axis=along, where=m, **kept)  # noqa: E731
    return mapped(name.removeprefix("numpy."), [a, where], reads, result, np.asarray(tried).dtype, native)


def _reduction_of(name: str) -> Handler:
    func = getattr(np, name)

    def handler(a: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(func).bind(a, *args, **kwargs)
        first, *_ = bound.arguments
        return reduction(func, f"numpy.{name}", **{"a": bound.arguments.pop(first), **bound.arguments})

    return handler


def _quantile_of(name: str) -> Handler:
    func = getattr(np, name)

    def handler(a: Any, q: Any, axis: Any = None, **options: Any) -> Any:
        if (
            not isinstance(q, (int, float))
            or options.get("weights") is not None
            or options.pop("overwrite_input", False)
        ):
            raise NoRule
        return reduction(func, f"numpy.{name}", a, axis, q=q, **options)

    return handler


def scanned(func: Handler, payload: str, a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    options = {} if dtype is None else {"dtype": dtype}
    result = dtype_name(func(np.ones(1, empty_sample(a).dtype), **options).dtype)
    (along,) = axes_of(axis, rank_of(a))
    return emit(scan, [lazy(a)], {"axis": along, **{k: attr_of(v) for k, v in options.items()}}, payload, result)


def _scan_of(name: str) -> Handler:
    func = getattr(np, name)
    return lambda a, axis=None, dtype=None, out=None: scanned(func, f"numpy.{name}", a, axis, dtype)


def reduced_at(func: np.ufunc, payload: str, a: Any, indices: Any, axis: int = 0, dtype: Any = None) -> Any:
    """`np.add.reduceat(x, [0, 4, 6])`: of each segment of an axis one fold. Result position k reads its own segment."""
    if isinstance(indices, Lazy):
        raise NoRule
    rank, starts = rank_of(a), np.asarray(indices)
    (along,) = axes_of(axis, rank)
    size = number(a, along, payload)
    options = {} if dtype is None else {"dtype": dtype}
    tried = func.reduceat(sample(a, (1,) * rank), [0], along, **options)
    dims = [len(starts) if k == along else dim for k, dim in enumerate(dims_of(a))]
    native = lambda x, *_: func.reduceat(x, starts, along, **options)  # noqa: E731

    def places(segment: Any) -> tuple[Any, ...]:
        return tuple(segment if k == along else own(k) for k in range(rank))

    ends = np.append(starts[1:], size)
    if np.all(starts < ends):  # each position is in one segment at most: a column of their numbers says it in one read
        codes = np.searchsorted(starts, np.arange(size), side="right") - 1
        reads = [GivenRead(0, places(GivenMembers(1, own(along))))]
        return mapped(payload.removeprefix("numpy."), [a, codes], reads, dims, tried.dtype, native)
    reads = [
        GivenRead(0, places(Span(int(lo), max(int(lo) + 1, int(hi)))), where=(Bound(along, k, k + 1),))
        for k, (lo, hi) in enumerate(zip(starts, ends, strict=True))
    ]
    return mapped(payload.removeprefix("numpy."), [a], reads, dims, tried.dtype, native)


own = axis

REDUCTIONS = (
    "sum prod mean std var min max amin amax any all median argmin argmax ptp count_nonzero "
    "nansum nanprod nanmean nanstd nanvar nanmin nanmax nanmedian nanargmin nanargmax"
).split()
QUANTILES = ("percentile", "quantile", "nanpercentile", "nanquantile")
SCANS = ("cumsum", "cumprod", "nancumsum", "nancumprod")
FUNCTIONS: dict[Any, Handler] = {
    **{getattr(np, name): _reduction_of(name) for name in REDUCTIONS},
    **{getattr(np, name): _scan_of(name) for name in SCANS},
    **{getattr(np, name): _quantile_of(name) for name in QUANTILES},
}
