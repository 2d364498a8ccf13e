"""The NumPy front end: which op each function is. A function is listed once, with the family that says how it reads."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import DimMismatchError, TraceError
from traceprop.ir.expr import symbols_of
from traceprop.ir.location import user_location
from traceprop.tracing.lazy import Lazy
from traceprop.tracing.numpy import (
    basic,
    bits_and_days,
    composed,
    creation,
    linalg,
    polynomials,
    products,
    reductions,
    sets,
    shapes,
    stats,
    text,
    transforms,
)
from traceprop.tracing.numpy.calls import Handler, NoRule, apply, astype, in_place_refused, lazy, rank_of
from traceprop.tracing.numpy.composed import WHOLE
from traceprop.tracing.numpy.reductions import reduced_at, reduction, scanned
from traceprop.tracing.opaque import opaque_call
from traceprop.tracing.registered import call as call_registered
from traceprop.tracing.registered import rule_of
from traceprop.tracing.trace import active_trace


def function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`__array_function__`: the op that a NumPy function is; `opaque`, with a warning, for one without a rule."""
    name = getattr(func, "__name__", str(func))
    if kwargs.get("out") is not None:
        in_place_refused(name)
    kwargs = {key: value for key, value in kwargs.items() if key != "out"}
    try:
        return _function(func, name, args, kwargs)
    except DimMismatchError:
        if active_trace() is not None or not _settled((args, tuple(kwargs.values()))):
            raise
        return _function(func, name, args, kwargs)


def _settled(values: Any) -> bool:
    """Runs lazy values whose sizes the data decides, so that their sizes are numbers; whether there were any."""
    if isinstance(values, (tuple, list)):
        return sum(map(_settled, values)) > 0
    if not isinstance(values, Lazy) or not any(symbols_of(dim) for dim in values.type.dims):
        return False
    values.settle()
    return True


def _function(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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
        in_place_refused(func.__name__)
    if func.types == ["O->O"] or "(vectorized)" in func.__name__:
        raise TraceError(
            f"a ufunc of Python's objects (np.frompyfunc) at {user_location() or 'an unknown line'} has no dtype that a program "
            "knows; write it with NumPy's functions, or teach it: tp.register_rule(function, '(i) <- %x[i]')"
        )
    if method == "at":
        in_place_refused(f"{func.__name__}.at")
    try:
        return _ufunc(func, method, name, inputs, dict(options))
    except NoRule:
        return opaque_call(getattr(func, method), name, tuple(inputs), options)


def _ufunc(func: np.ufunc, method: str, name: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    if method == "reduce":
        return reduction(func.reduce, name, inputs[0], **{"axis": 0, **options})
    if method == "accumulate":
        return scanned(func.accumulate, name, inputs[0], **{"axis": 0, **options})
    if method == "reduceat":
        return reduced_at(func, name, *inputs, **options)
    if method == "outer" and not options and func.nin == 2 and func.nout == 1:
        left, right = map(lazy, inputs)
        return func(np.expand_dims(left, tuple(range(rank_of(left), rank_of(left) + rank_of(right)))), right)
    if method != "__call__":
        raise NoRule
    if options.pop("where", True) is not True:
        raise TraceError(
            f"numpy.{func.__name__} with where= and without out= at {user_location() or 'an unknown line'} leaves cells that "
            "nothing was written to; write np.where(mask, …, else), or give out=np.zeros_like(x)"
        )
    if func is np.matmul:
        return basic.matmul(*inputs)
    if func.signature:
        if options:
            raise NoRule
        return products.gufunc(func, inputs)
    if any(text.is_text(value) for value in inputs):
        return text.apply_text(func, inputs, options)
    if func.nout != 1:
        return stats.several_results(func, inputs, options)
    return apply(func, name, inputs, options)


def _written(func: np.ufunc, inputs: Sequence[Any], options: dict[str, Any], out: Lazy) -> Any:
    """`out=` a fresh value, as in `np.divide(a, b, out=np.zeros_like(a), where=b != 0)`: what it holds from here on.

    The name `out` then stands for the result, as in NumPy. A value that something has read already is refused, since
    NumPy would change what was read as well.
    """
    if out.trace is None or out.value.op is None or any(out.value in op.operands for op in out.trace.ops):
        in_place_refused(func.__name__)
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


_FAMILIES = [
    module.FUNCTIONS
    for module in (
        creation,
        bits_and_days,
        polynomials,
        basic,
        reductions,
        composed,
        shapes,
        stats,
        sets,
        linalg,
        products,
        transforms,
        text,
    )
]
_FUNCTIONS: dict[Any, Handler] = {
    func: _first_that_covers([family[func] for family in _FAMILIES if func in family])
    for func in dict.fromkeys(func for family in _FAMILIES for func in family)
}

PAYLOADS = frozenset(
    [
        f"numpy.{name}"
        for name in (
            *reductions.REDUCTIONS,
            *reductions.QUANTILES,
            *reductions.SCANS,
            *basic.ELEMENTWISE,
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
