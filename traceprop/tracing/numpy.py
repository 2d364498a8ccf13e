"""The NumPy front end: which op each function is. A function is listed once, with the family that says how it reads."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import ArrayType, Dim
from traceprop.ir.expr import floordiv, product
from traceprop.ir.location import user_location
from traceprop.ir.opset import broadcast, concat, contract, elementwise, gather, reduce, reshape, scan, sort, transpose
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing import (
    indexing,
    numpy_composed,
    numpy_linalg,
    numpy_products,
    numpy_sets,
    numpy_shapes,
    numpy_stats,
    numpy_text,
    numpy_transforms,
)
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy_composed import WHOLE, NoRule, explicit
from traceprop.tracing.opaque import opaque_call
from traceprop.tracing.registered import call as call_registered
from traceprop.tracing.registered import rule_of
from traceprop.tracing.trace import Size, dim_of

Handler = Callable[..., Any]

REDUCTIONS = (
    "sum prod mean std var min max amin amax any all median argmin argmax ptp count_nonzero "
    "nansum nanprod nanmean nanstd nanvar nanmin nanmax nanmedian nanargmin nanargmax"
).split()
QUANTILES = ("percentile", "quantile", "nanpercentile", "nanquantile")
SCANS = ("cumsum", "cumprod", "nancumsum", "nancumprod")
ELEMENTWISE = "clip nan_to_num real imag round around isclose angle sinc i0".split()


def function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`__array_function__`: the op that a NumPy function is; `opaque`, with a warning, for one without a rule."""
    name = getattr(func, "__name__", str(func))
    if kwargs.get("out") is not None:
        _in_place_refused(name)
    kwargs = {key: value for key, value in kwargs.items() if key != "out"}
    handler = _FUNCTIONS.get(func)
    if (rule := rule_of(func)) is not None:
        return call_registered(func, rule, list(inspect.signature(func).parameters), args, kwargs)
    try:
        if handler is not None:
            return handler(*args, **kwargs)
    except NoRule:
        pass
    module = getattr(func, "__module__", None) or "numpy"
    return opaque_call(func, f"{module}.{name}", args, kwargs, whole=func in WHOLE)


def ufunc(func: np.ufunc, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """`__array_ufunc__`: element-wise for a call; `reduce` and `accumulate` are reductions and scans."""
    name = f"numpy.{func.__name__}" + ("" if method == "__call__" else f".{method}")
    out = options.pop("out", None)
    if out is not None and method == "__call__" and len(out) == 1 and isinstance(out[0], Lazy):
        return _written(func, inputs, dict(options), out[0])
    if out is not None:
        _in_place_refused(func.__name__)
    if method == "at":
        _in_place_refused(f"{func.__name__}.at")
    try:
        return _ufunc(func, method, name, inputs, dict(options))
    except NoRule:
        return opaque_call(getattr(func, method), name, tuple(inputs), options)


def _ufunc(func: np.ufunc, method: str, name: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    if method == "reduce":
        return _reduction(func.reduce, name, inputs[0], **{"axis": 0, **options})
    if method == "accumulate":
        return _scan(func.accumulate, name, inputs[0], **{"axis": 0, **options})
    if method == "outer" and not options and func.nin == 2 and func.nout == 1:
        left, right = map(_lazy, inputs)
        return func(_expand_dims(left, tuple(range(_rank(left), _rank(left) + _rank(right)))), right)
    if method != "__call__":
        raise NoRule
    if options.pop("where", True) is not True:
        raise TraceError(
            f"numpy.{func.__name__} with where= and without out= at {user_location() or 'an unknown line'} leaves cells that "
            "nothing was written to; write np.where(mask, …, else), or give out=np.zeros_like(x)"
        )
    if func is np.matmul:
        return _matmul(*inputs)
    if func.signature:
        if options:
            raise NoRule
        return numpy_products.gufunc(func, inputs)
    if any(numpy_text.is_text(value) for value in inputs):
        return numpy_text.apply_text(func, inputs, options)
    if func.nout != 1:
        return numpy_stats.several_results(func, inputs, options)
    return apply(func, name, inputs, options)


def _written(func: np.ufunc, inputs: Sequence[Any], options: dict[str, Any], out: Lazy) -> Any:
    """`out=` a fresh value, as in `np.divide(a, b, out=np.zeros_like(a), where=b != 0)`: what it holds from here on.

    The name `out` then stands for the result, as in NumPy. A value that something has read already is refused, since
    NumPy would change what was read as well.
    """
    if out.trace is None or out.value.op is None or any(out.value in op.operands for op in out.trace.ops):
        _in_place_refused(func.__name__)
    where = options.pop("where", True)
    found = func(*inputs, **options)
    if not np.can_cast(found.dtype, out.dtype, "same_kind"):  # type: ignore[attr-defined]
        raise TypeError(
            f"numpy.{func.__name__} gives {found.dtype}, which out= of {out.dtype} does not hold, at {user_location()}"  # type: ignore[attr-defined]
        )
    found = found if where is True else np.where(where, found, out)
    found = np.broadcast_to(astype(found, out.dtype), out.shape)  # type: ignore[attr-defined]
    out.value = found.value
    return out


def apply(
    func: Handler,
    payload: str,
    inputs: Sequence[Any],
    options: dict[str, Any],
    native: Handler | None = None,
    **attrs: Any,
) -> Any:
    """An element-wise op over arrays and scalars; `options` go to the function as they are."""
    inputs = [
        int(x) if isinstance(x, Size) else _time(x) for x in inputs
    ]  # a size as a number: the trace is then for it
    dtype = dtype_name(func(*map(_sample, inputs), **options).dtype)
    kept = {name: _attr(value) for name, value in options.items()}
    return emit(elementwise, [_operand(x) for x in inputs], {**kept, **attrs}, payload, dtype, native=native)


def _attr(value: Any) -> Any:
    return dtype_name(value) if isinstance(value, (np.dtype, type)) else value


def _operand(value: Any) -> Any:
    """An operand as `emit` takes it: array-likes as arrays, Python scalars as they are (their dtype is weak)."""
    return value if isinstance(value, (Lazy, bool, int, float, complex, str)) else in_known_units(np.asarray(value))


def _time(value: Any) -> Any:
    """A date, point in time or span of Python's as NumPy's."""
    if isinstance(value, datetime.timedelta):
        return np.timedelta64(value)
    return np.datetime64(value) if isinstance(value, datetime.date) else value


def in_known_units(array: np.ndarray) -> np.ndarray:
    """Times in a unit that the IR has: hours, minutes, seconds and milliseconds in microseconds, weeks in days."""
    if array.dtype.kind not in "mM":
        return array
    unit = np.datetime_data(array.dtype)[0]
    known = {"h": "us", "m": "us", "s": "us", "ms": "us", "W": "D"}.get(unit)
    return array if known is None else array.astype(f"{array.dtype.kind}8[{known}]")


def _sample(value: Any) -> Any:
    """An empty stand-in of the same dtype, by which NumPy itself says what dtype a result has."""
    if isinstance(value, Lazy):
        assert isinstance(value.type, ArrayType)
        return np.empty((0,) * max(value.value.rank, 1), numpy_dtype(value.type.dtype))
    return value if isinstance(value, (bool, int, float, complex, str)) else np.asarray(value).ravel()[:0]


def _dtype_of(value: Any) -> str | None:
    return value.type.dtype if isinstance(value, Lazy) and isinstance(value.type, ArrayType) else None


def _in_place_refused(name: str) -> NoReturn:
    raise TraceError(
        f"in-place write (out=) by numpy.{name} at {user_location() or 'an unknown line'}: values of a program are written "
        "once; use its result instead, or give a fresh out=np.zeros_like(x) in a traced function"
    )


def astype(x: Any, dtype: Any) -> Any:
    """The cells converted to `dtype`."""
    name = dtype_name(dtype)
    if isinstance(x.type, ArrayType) and (x.type.dtype == name or (x.type.dtype, name) == ("str", "object")):
        return x  # the cells of text are objects to NumPy, and so its `x.dtype` says
    return emit(elementwise, [x], {"dtype": name}, "numpy.astype", name)


def _lazy(value: Any) -> Any:
    return value if isinstance(value, Lazy) else np.asarray(value)


def _rank(value: Any) -> int:
    return value.value.rank if isinstance(value, Lazy) else np.ndim(value)


def _dims(value: Any) -> tuple[Dim, ...]:
    return value.type.dims if isinstance(value, Lazy) else np.shape(value)


def _axes(axis: Any, rank: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(rank))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axes, rank)))


# -- families ---------------------------------------------------------------------------------------------------------


def _reduction(func: Handler, payload: str, a: Any, axis: Any = None, **options: Any) -> Any:
    options = {k: v for k, v in options.items() if v is not np._NoValue and not (k == "where" and v is True)}
    options.pop("out", None)
    rank = _rank(a)
    axes = _axes(axis, rank)
    where = options.pop("where", None)
    if where is not None:
        return numpy_stats.where_reduced(func, payload, a, axes, where, **options)
    if isinstance(options.get("initial"), Lazy):
        raise NoRule
    given = {k: v for k, v in options.items() if v is not None and v is not False}
    sample = np.ones((1,) * max(rank, 1), _sample(a).dtype)
    dtype = dtype_name(
        func(sample, axis=tuple(axes) if len(axes) > 1 and "arg" not in payload else None, **given).dtype
    )
    attrs = {"axes": axes, **{name: _attr(value) for name, value in given.items()}}
    return emit(reduce, [_lazy(a)], attrs, payload, dtype)


def _reduction_of(name: str) -> Handler:
    func = getattr(np, name)

    def handler(a: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(func).bind(a, *args, **kwargs)
        first, *_ = bound.arguments
        return _reduction(func, f"numpy.{name}", **{"a": bound.arguments.pop(first), **bound.arguments})

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
        return _reduction(func, f"numpy.{name}", a, axis, q=q, **options)

    return handler


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """(i) <- %x[i // repeats]"""
    if not isinstance(repeats, (int, np.integer)) or isinstance(a, np.ndarray):
        raise NoRule
    if axis is None:
        a, axis = _ravel(a), 0
    along = np.lib.array_utils.normalize_axis_index(axis, _rank(a))
    dims = a.type.dims
    shape = (*dims[: along + 1], int(repeats), *dims[along + 1 :])
    wide = emit(broadcast, [_expand_dims(a, along + 1)], {"shape": shape})
    return emit(reshape, [wide], {"shape": (*dims[:along], dims[along] * int(repeats), *dims[along + 1 :])})


def _tile(A: Any, reps: Any) -> Any:
    """(i) <- %x[i % n]"""
    counts = tuple(reps) if isinstance(reps, (tuple, list)) else (reps,)
    rank = max(_rank(A), len(counts))
    A = _at_least(rank)(A)
    counts = (1,) * (rank - len(counts)) + counts
    for k, count in enumerate(counts):
        if count != 1:
            A = _concatenate([A] * count, k) if count else A[(np.s_[:],) * k + (np.s_[:0],)]
    return A


def _scan(func: Handler, payload: str, a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    if axis is None:
        a, axis = _ravel(a), 0
    options = {} if dtype is None else {"dtype": dtype}
    result = dtype_name(func(np.ones(1, _sample(a).dtype), **options).dtype)
    (along,) = _axes(axis, _rank(a))
    return emit(scan, [_lazy(a)], {"axis": along, **{k: _attr(v) for k, v in options.items()}}, payload, result)


def _scan_of(name: str) -> Handler:
    func = getattr(np, name)
    return lambda a, axis=None, dtype=None, out=None: _scan(func, f"numpy.{name}", a, axis, dtype)


def _elementwise_of(name: str) -> Handler:
    func = getattr(np, name)

    def handler(*args: Any, **kwargs: Any) -> Any:
        kwargs = {k: v for k, v in kwargs.items() if v is not None and v is not np._NoValue}
        args = tuple(x for x in args if x is not None) if name != "clip" else args
        if name == "clip":
            return _clip(*args, **kwargs)
        return apply(func, f"numpy.{name}", args, kwargs)

    return handler


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None, **options: Any) -> Any:
    # NumPy's own rule tells 0.0 from -0.0 otherwise than its maximum and minimum do.
    low = a_min if a_min is not None and a_min is not np._NoValue else min
    high = a_max if a_max is not None and a_max is not np._NoValue else max
    if low is not None and high is not None:
        return apply(np.clip, "numpy.clip", (a, low, high), options)
    if low is not None:
        a = np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


def _where(condition: Any, *choices: Any) -> Any:
    if not choices:
        return np.nonzero(condition)
    return apply(np.where, "numpy.where", (condition, *choices), {}, control=(0,))


def _concatenate(arrays: Sequence[Any], axis: Any = 0, dtype: Any = None, casting: str = "same_kind") -> Any:
    arrays = [_lazy(array) for array in arrays]
    if axis is None:
        arrays, axis = [_ravel(array) for array in arrays], 0
    (along,) = _axes(axis, _rank(arrays[0]))
    result = dtype_name(np.concatenate([_sample(array).ravel() for array in arrays], dtype=dtype).dtype)
    if dtype is None and all(numpy_text.is_text(x) or getattr(x.dtype, "kind", "") == "U" for x in arrays):
        result = "str"
    return emit(concat, arrays, {"axis": along}, None, result)


def _stack(arrays: Sequence[Any], axis: int = 0, **options: Any) -> Any:
    arrays = list(arrays)
    along = np.lib.array_utils.normalize_axis_index(axis, _rank(arrays[0]) + 1)
    return _concatenate([_expand_dims(array, along) for array in arrays], along, **options)


def _hstack(arrays: Sequence[Any], **options: Any) -> Any:
    arrays = [_at_least(1)(array) for array in arrays]
    return _concatenate(arrays, 0 if _rank(arrays[0]) == 1 else 1, **options)


def _vstack(arrays: Sequence[Any], **options: Any) -> Any:
    return _concatenate([_at_least(2)(array) for array in arrays], 0, **options)


def _column_stack(arrays: Sequence[Any]) -> Any:
    return _concatenate([_expand_dims(array, 1) if _rank(array) == 1 else array for array in arrays], 1)


def _at_least(rank: int) -> Handler:
    def handler(array: Any) -> Any:
        array = _lazy(array)
        while _rank(array) < rank:
            array = _expand_dims(array, 0)
        return array

    return handler


def _expand_dims(a: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    rank = _rank(a) + len(axes)
    places = set(np.lib.array_utils.normalize_axis_tuple(axes, rank))
    return indexing.getitem(a, tuple(None if k in places else np.s_[:] for k in range(rank)))


def _squeeze(a: Any, axis: Any = None) -> Any:
    dims = _dims(a)
    places = {k for k, dim in enumerate(dims) if dim == 1} if axis is None else set(_axes(axis, len(dims)))
    if any(dims[k] != 1 for k in places):
        raise ValueError(f"cannot squeeze an axis that is not of size 1 (shape {dims}) at {user_location()}")
    return indexing.getitem(a, tuple(0 if k in places else np.s_[:] for k in range(len(dims))))


def _reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None) -> Any:
    shape = newshape if shape is None else shape
    if order != "C":
        if order != "F":
            raise NoRule
        return numpy_shapes.in_fortran_order(a, shape if isinstance(shape, (tuple, list)) else (shape,))
    sizes = [dim_of(size) for size in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    if -1 in sizes:
        at = sizes.index(-1)
        rest = product(size for k, size in enumerate(sizes) if k != at)
        sizes[at] = _divided(product(_dims(a)), rest)
    return emit(reshape, [a], {"shape": tuple(sizes)})


def _divided(total: Dim, part: Dim) -> Dim:
    """total / part where the algebra sees that it comes out whole; monomials are divided by a common symbol."""
    if isinstance(total, int) or isinstance(part, int):
        return floordiv(total, part) if part != 0 else 0
    if total == part:
        return 1
    for factor in range(1, 65537):
        if part * factor == total:
            return factor
    return floordiv(total, part)


def _ravel(a: Any, order: str = "C") -> Any:
    if not isinstance(a, Lazy):
        return np.ravel(a)
    if order not in ("C", "F"):
        raise NoRule
    a = _transpose(a) if order == "F" else a
    return emit(reshape, [a], {"shape": (product(a.type.dims),)})


def _transpose(a: Any, axes: Any = None) -> Any:
    rank = _rank(a)
    order = tuple(reversed(range(rank))) if axes is None else np.lib.array_utils.normalize_axis_tuple(axes, rank)
    return emit(transpose, [a], {"axes": tuple(order)})


def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(_rank(a)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return _transpose(a, order)


def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    rank = _rank(a)
    sources = np.lib.array_utils.normalize_axis_tuple(source, rank)
    order = [k for k in range(rank) if k not in sources]
    for to, frm in sorted(zip(np.lib.array_utils.normalize_axis_tuple(destination, rank), sources, strict=True)):
        order.insert(to, frm)
    return _transpose(a, order)


def _broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return emit(broadcast, [array], {"shape": tuple(map(dim_of, sizes))})


def _flip(m: Any, axis: Any = None) -> Any:
    axes = _axes(axis, _rank(m))
    return indexing.getitem(m, tuple(np.s_[::-1] if k in axes else np.s_[:] for k in range(_rank(m))))


def _full_like(a: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    fill = np.asarray(fill_value, dtype or a.dtype)
    return emit(broadcast, [constant_like(fill, a)], {"shape": a.type.dims})


def constant_like(array: np.ndarray, like: Any) -> Any:
    """A constant as a lazy value beside another one."""
    from traceprop.ir import Op
    from traceprop.ir.opset import constant
    from traceprop.tracing.trace import active_trace

    op = Op(constant, (), {"value": array}, location=user_location())
    trace = active_trace()
    if trace is not None:
        trace.ops.append(op)
    return Lazy.of(op.result, trace=trace, executor=like.executor)


def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    if mode != "raise":
        raise NoRule
    if axis is None:
        a, axis = _ravel(a), 0
    indices = indices if isinstance(indices, Lazy) else np.asarray(indices)
    (along,) = _axes(axis, _rank(a))
    return emit(gather, [_lazy(a), indices], {"axis": along})


def _argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    if axis is None:
        a, axis = _ravel(a), 0
    (along,) = _axes(axis, _rank(a))
    kind = "stable" if stable else kind or "quicksort"
    return emit(sort, [a], {"axis": along} if kind == "stable" else {"axis": along, "kind": kind})


def _sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    if axis is None:
        a, axis = _ravel(a), 0
    (along,) = _axes(axis, _rank(a))
    lies_along = {"along": True} if _rank(a) > 1 else {}
    return emit(gather, [a, _argsort(a, along, kind, stable=stable)], {"axis": along, **lies_along})


def _flatnonzero(a: Any) -> Any:
    mask = _ravel(a) if _rank(a) != 1 else a
    if mask.dtype == bool:
        return indexing.positions(mask)
    if numpy_text.is_text(mask):
        return indexing.positions(mask != "")
    return indexing.positions(mask != np.zeros((), mask.dtype))


def _nonzero(a: Any) -> Any:
    if _rank(a) != 1:
        raise NoRule
    return (_flatnonzero(a),)


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _matmul(a: Any, b: Any) -> Any:
    left, right = _rank(a), _rank(b)
    if not left or not right:
        raise ValueError(f"matmul of a scalar at {user_location()}; use *")
    batch = max(left, right) - 2
    if (
        left > 2
        and right > 2
        and _dims(a)[:-2] != _dims(b)[:-2]
        and (left != right or 1 in (*_dims(a)[:-2], *_dims(b)[:-2]))
    ):
        return numpy_products.gufunc(np.matmul, [a, b])  # leading axes that broadcast
    lead = _LETTERS[3 : 3 + max(batch, 0)]
    first = (lead if left > 2 else "") + ("a" if left > 1 else "") + "b"
    second = (lead if right > 2 else "") + "b" + ("c" if right > 1 else "")
    result = lead + ("a" if left > 1 else "") + ("c" if right > 1 else "")
    return _contract("numpy.matmul", f"{first},{second}->{result}", a, b)


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if not _rank(a) or not _rank(b):
        return np.multiply(a, b)
    if _rank(a) > 2 or _rank(b) > 2:
        return numpy_products.dot(a, b)
    first, second = "ab"[2 - _rank(a) :], "bc"[: _rank(b)]
    return _contract("numpy.dot", f"{first},{second}->{(first + second).replace('b', '')}", a, b)


def _outer(a: Any, b: Any, out: Any = None) -> Any:
    return _contract("numpy.outer", "a,b->ab", _ravel(a), _ravel(b))


def _einsum(subscripts: str, *operands: Any, **options: Any) -> Any:
    if not isinstance(subscripts, str):  # operands, each followed by numbers for its axes
        given = (subscripts, *operands)
        listed = given[: len(given) // 2 * 2]
        terms = ["".join(_LETTERS[k] for k in numbers) for numbers in listed[1::2]]
        result = "->" + "".join(_LETTERS[k] for k in given[-1]) if len(given) % 2 else ""
        return _einsum(",".join(terms) + result, *listed[::2], **options)
    subscripts = explicit(subscripts, [_rank(x) for x in operands])
    left, _, result = subscripts.partition("->")
    if any(term.count(c) > 1 and c not in result for term in left.split(",") for c in term):
        raise NoRule  # a sum along a diagonal, which no range of an axis says
    if options.get("optimize"):
        return _contract(
            "numpy.einsum", subscripts, *operands, native=lambda *given: np.einsum(subscripts, *given, **options)
        )
    return _contract("numpy.einsum", subscripts, *operands)


def _contract(payload: str, spec: str, *operands: Any, native: Handler | None = None) -> Any:
    dtype = dtype_name(np.result_type(*(_sample(x).dtype if not np.isscalar(x) else x for x in operands)))
    return emit(contract, [_lazy(x) for x in operands], {"spec": spec}, payload, dtype, native=native)


def _first_that_covers(handlers: Sequence[Handler]) -> Handler:
    """The first of some handlers whose rule covers the call."""
    if len(handlers) == 1:
        return handlers[0]

    def handler(*args: Any, **kwargs: Any) -> Any:
        for one in handlers[:-1]:
            try:
                return one(*args, **kwargs)
            except NoRule:
                pass
        return handlers[-1](*args, **kwargs)

    return handler


_OWN: dict[Any, Handler] = {
    **{getattr(np, name): _reduction_of(name) for name in REDUCTIONS},
    **{getattr(np, name): _scan_of(name) for name in SCANS},
    **{getattr(np, name): _elementwise_of(name) for name in ELEMENTWISE},
    **{getattr(np, name): _quantile_of(name) for name in QUANTILES},
    np.repeat: _repeat, np.tile: _tile,
    np.where: _where,
    np.concatenate: _concatenate, np.stack: _stack, np.hstack: _hstack, np.vstack: _vstack, np.column_stack: _column_stack,
    np.atleast_1d: _at_least(1), np.atleast_2d: _at_least(2), np.expand_dims: _expand_dims, np.squeeze: _squeeze,
    np.reshape: _reshape, np.ravel: _ravel, np.transpose: _transpose, np.swapaxes: _swapaxes, np.moveaxis: _moveaxis,
    np.broadcast_to: _broadcast_to, np.flip: _flip, np.full_like: _full_like,
    np.zeros_like: lambda a, dtype=None, **options: _full_like(a, 0, dtype),
    np.empty_like: lambda a, dtype=None, **options: _full_like(a, 0, dtype),
    np.ones_like: lambda a, dtype=None, **options: _full_like(a, 1, dtype),
    np.copy: lambda a, **options: a,
    np.shape: lambda a: a.shape, np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[axis],
    np.take: _take, np.argsort: _argsort, np.sort: _sort, np.flatnonzero: _flatnonzero, np.nonzero: _nonzero,
    np.dot: _dot, np.outer: _outer, np.einsum: _einsum,
}  # fmt: skip
_MODULES = (
    numpy_composed,
    numpy_shapes,
    numpy_stats,
    numpy_sets,
    numpy_linalg,
    numpy_products,
    numpy_transforms,
    numpy_text,
)
_FAMILIES = (_OWN, *(module.FUNCTIONS for module in _MODULES))
_FUNCTIONS: dict[Any, Handler] = {
    func: _first_that_covers([family[func] for family in _FAMILIES if func in family])
    for func in dict.fromkeys(func for family in _FAMILIES for func in family)
}

PAYLOADS = frozenset(
    [
        f"numpy.{name}"
        for name in (
            *REDUCTIONS,
            *QUANTILES,
            *SCANS,
            *ELEMENTWISE,
            "where",
            "matmul",
            "dot",
            "outer",
            "einsum",
            "astype",
            "linalg.norm",
        )
    ]
)
