"""NumPy's text functions (`np.strings`, `np.char`): element-wise, computed by NumPy itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import ArrayType
from traceprop.ir.location import user_location
from traceprop.ir.opset import elementwise
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy.calls import operand

COMPARISONS = "equal not_equal less less_equal greater greater_equal".split()


def is_text(value: Any) -> bool:
    """Whether an operand is a lazy array of text."""
    return isinstance(value, Lazy) and isinstance(value.type, ArrayType) and value.type.dtype == "str"


def apply_text(func: np.ufunc, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """A ufunc over text: a comparison, in which a null equals nothing, or one of NumPy's string functions."""
    if func.__name__ in COMPARISONS:
        return emit(elementwise, [operand(x) for x in inputs], {}, f"table.{func.__name__}", "bool")
    return _cell_by_cell(func, func.__name__.strip("_"), inputs, options)


def _sample(value: Any) -> Any:
    if isinstance(value, Lazy):
        assert isinstance(value.type, ArrayType)
        return np.full(1, "") if value.type.dtype == "str" else np.zeros(1, numpy_dtype(value.type.dtype))
    return value


def _cells(value: Any) -> Any:
    """Text as NumPy's string functions take it."""
    array = np.asarray(value)
    return array.astype(str) if array.dtype == object else array


def _cell_by_cell(func: Callable[..., Any], name: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    if any(isinstance(x, Lazy) for x in options.values()):
        raise TraceError(f"numpy.strings.{name} at {user_location() or 'an unknown line'} takes plain keywords")
    gives = {"index": np.strings.find, "rindex": np.strings.rfind}.get(name, func)  # which raise where nothing is found
    try:
        tried = np.asarray(gives(*map(_sample, inputs), **options))
    except TypeError as error:
        raise TraceError(
            f"numpy.{name} of text at {user_location() or 'an unknown line'}: NumPy has no such function of text; compare it "
            "(==, <, …), use np.strings, or turn it into numbers first"
        ) from error
    lazies = [x for x in inputs if isinstance(x, Lazy) or np.ndim(x)]

    def native(*given: Any) -> np.ndarray:
        arrays = iter(given)
        missing = [np.equal(np.asarray(x), None) for x in given if np.asarray(x).dtype == object]
        found = np.asarray(
            func(*(_cells(next(arrays)) if isinstance(x, Lazy) or np.ndim(x) else x for x in inputs), **options)
        )
        if any(mask.any() for mask in missing) and found.dtype.kind == "U":
            return np.where(np.logical_or.reduce(np.broadcast_arrays(*missing)), None, found.astype(object))
        return found

    attrs = {str(k): x for k, x in enumerate(inputs) if isinstance(x, (str, int, float, bool))}
    kept = {k: v for k, v in options.items() if isinstance(v, (str, int, float, bool, type(None)))}
    said = {"with": (*attrs.values(), *kept.values())} if attrs or kept else {}
    return emit(elementwise, lazies, said, f"numpy.strings.{name}", dtype_name(tried.dtype), native=native)


def _text_function(func: Callable[..., Any]) -> Callable[..., Any]:
    def handler(*args: Any, **kwargs: Any) -> Any:
        return _cell_by_cell(func, func.__name__, args, kwargs)

    return handler


def _parted(func: Callable[..., Any]) -> Callable[..., Any]:
    """`partition`: three texts of each."""

    def handler(a: Any, sep: Any) -> tuple[Any, ...]:
        return tuple(
            _cell_by_cell(lambda cells, by, k=k: func(cells, by)[k], f"{func.__name__}.{k}", (a, sep), {})
            for k in range(3)
        )

    return handler


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    function: _text_function(function)
    for module in (np.strings, np.char)
    for name in (
        "upper lower capitalize title swapcase strip lstrip rstrip replace center ljust rjust zfill expandtabs multiply "
        "find rfind index rindex count str_len startswith endswith isalpha isdigit isspace isnumeric isdecimal isalnum isupper "
        "islower istitle add translate slice mod"
    ).split()
    if not isinstance(function := getattr(module, name, None), (np.ufunc, type(None)))
}
FUNCTIONS |= {function: _parted(function) for function in (np.strings.partition, np.strings.rpartition)}
