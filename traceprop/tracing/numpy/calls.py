"""What the families of NumPy functions share: operands, samples by which NumPy tells dtypes, and element-wise ops."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import ArrayType, Op
from traceprop.ir.location import user_location
from traceprop.ir.opset import constant, elementwise
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.trace import Size, active_trace

Handler = Callable[..., Any]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class NoRule(Exception):
    """Raised for a case that a function's rule doesn't cover; the function is then traced as `opaque`."""


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
        int(x) if isinstance(x, Size) else time_of(x) for x in inputs
    ]  # a size as a number: the trace is then for it
    dtype = dtype_name(func(*map(empty_sample, inputs), **options).dtype)
    kept = {name: attr_of(value) for name, value in options.items()}
    return emit(elementwise, [operand(x) for x in inputs], {**kept, **attrs}, payload, dtype, native=native)


def attr_of(value: Any) -> Any:
    """An option as an attribute: dtypes by their IR names."""
    return dtype_name(value) if isinstance(value, (np.dtype, type)) else value


def operand(value: Any) -> Any:
    """An operand as `emit` takes it: array-likes as arrays, Python scalars as they are (their dtype is weak)."""
    return value if isinstance(value, (Lazy, bool, int, float, complex, str)) else in_known_units(np.asarray(value))


def time_of(value: Any) -> Any:
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


def empty_sample(value: Any) -> Any:
    """An empty stand-in of the same dtype, by which NumPy itself says what dtype a result has."""
    if isinstance(value, Lazy):
        assert isinstance(value.type, ArrayType)
        return np.empty((0,) * max(value.value.rank, 1), numpy_dtype(value.type.dtype))
    return value if isinstance(value, (bool, int, float, complex, str)) else np.asarray(value).ravel()[:0]


def _dtype_of(value: Any) -> str | None:
    return value.type.dtype if isinstance(value, Lazy) and isinstance(value.type, ArrayType) else None


def in_place_refused(name: str) -> NoReturn:
    """Raise for `out=`, with the way out."""
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


def lazy(value: Any) -> Any:
    """A lazy value as it is, anything else as an array."""
    return value if isinstance(value, Lazy) else np.asarray(value)


def rank_of(value: Any) -> int:
    """The number of axes of a lazy value, or of what NumPy takes for an array."""
    return value.value.rank if isinstance(value, Lazy) else np.ndim(value)


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Axes as NumPy's `axis=` names them (`None`: all), as ascending numbers from 0."""
    if axis is None:
        return tuple(range(rank))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axes, rank)))


def axis_of(axis: int, rank: int) -> int:
    """An axis as a number from 0."""
    return int(np.lib.array_utils.normalize_axis_index(axis, rank))


def item_along(x: Any, axis: int, item: Any) -> Any:
    """What an index takes along one axis."""
    return x[(slice(None),) * axis + (item,)]


def constant_like(array: np.ndarray, like: Any) -> Any:
    """A constant as a lazy value beside another one."""
    op = Op(constant, (), {"value": array}, location=user_location())
    trace = active_trace()
    if trace is not None:
        trace.ops.append(op)
    return Lazy.of(op.result, trace=trace, executor=like.executor)
