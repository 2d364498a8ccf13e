"""Bits packed into bytes, working days, and functions that choose by condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.ir.expr import floordiv, minimum
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import Span, axis
from traceprop.ir.opset import elementwise
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy.calls import NoRule, apply, axis_of
from traceprop.tracing.numpy.mapped import dims_of, mapped, number, refused


def packbits(a: Any, /, axis: int | None = None, bitorder: str = "big") -> Any:
    """Byte i is made of bits 8i to 8i+7."""
    if axis is None:
        a, axis = np.ravel(a), 0
    place, dims = axis_of(axis, np.ndim(a)), list(dims_of(a))
    size = number(a, place, "numpy.packbits")
    reads: list[Any] = [_own(k) for k in range(len(dims))]
    reads[place] = Span(_own(place) * 8, minimum(_own(place) * 8 + 8, size))
    dims[place] = -(-size // 8)
    native = lambda x: np.packbits(x, place, bitorder)  # noqa: E731
    return mapped("packbits", [a], [GivenRead(0, tuple(reads))], dims, np.uint8, native)


def unpackbits(a: Any, /, axis: int | None = None, count: int | None = None, bitorder: str = "big") -> Any:
    if count is not None:
        raise NoRule
    if axis is None:
        a, axis = np.ravel(a), 0
    place, dims = axis_of(axis, np.ndim(a)), list(dims_of(a))
    reads: list[Any] = [_own(k) for k in range(len(dims))]
    reads[place] = floordiv(_own(place), 8)
    dims[place] = number(a, place, "numpy.unpackbits") * 8
    native = lambda x: np.unpackbits(x, place, None, bitorder)  # noqa: E731
    return mapped("unpackbits", [a], [GivenRead(0, tuple(reads))], dims, np.uint8, native)


_own = axis


def _day_by_day(name: str, dates: int) -> Callable[..., Any]:
    """Functions of working days, cell by cell; which days are worked is plain."""
    function = getattr(np, name)

    def handler(*args: Any, out: Any = None, **options: Any) -> Any:
        if any(isinstance(x, Lazy) for x in (*args[dates:], *options.values())):
            raise NoRule
        more = args[dates:]
        native = lambda *given: function(*given, *more, **options)  # noqa: E731
        return apply(native, f"numpy.{name}", list(args[:dates]), {}, native=native)

    return handler


def datetime_as_string(arr: Any, unit: Any = None, timezone: str = "naive", casting: str = "same_kind") -> Any:
    """A date or a time as text, cell by cell."""
    native = lambda x: np.datetime_as_string(x, unit, timezone, casting)  # noqa: E731
    return emit(
        elementwise, [arr], {} if unit is None else {"unit": unit}, "numpy.datetime_as_string", "str", native=native
    )


def piecewise(x: Any, condlist: Sequence[Any], funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Numbers and functions of cells, chosen by conditions; the later condition wins."""
    if isinstance(condlist, (Lazy, np.ndarray)) or not isinstance(x, Lazy):
        raise NoRule
    conditions = list(condlist)
    if len(funclist) == len(conditions) + 1:
        elsewhere = np.logical_not(conditions[0])
        for condition in conditions[1:]:
            elsewhere = np.logical_and(elsewhere, np.logical_not(condition))
        conditions.append(elsewhere)
    if len(funclist) != len(conditions):
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or {len(conditions) + 1} functions are expected"
        )
    found: Any = np.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        value = function(x, *args, **kw) if callable(function) else function
        if callable(function) and not _cell_by_cell(value, x):
            raise NoRule
        kept = value.astype(x.dtype) if isinstance(value, Lazy) else np.asarray(value, x.dtype)  # type: ignore[attr-defined]
        found = np.where(condition, kept, found)
    return found


def _cell_by_cell(value: Any, x: Lazy) -> bool:
    """Whether a value is made of `x` (and constants) by element-wise ops alone."""
    if not isinstance(value, Lazy):
        return np.ndim(value) == 0
    pending, seen = [value.value], set()
    while pending:
        node = pending.pop()
        if node is x.value or node in seen:
            continue
        seen.add(node)
        if node.op is None or node.op.definition is not elementwise and (node.op.operands or node.rank):
            return False
        pending.extend(node.op.operands)
    return True


def real_if_close(a: Any, tol: float = 100) -> Any:
    if a.dtype.kind != "c":
        return a
    raise refused("real_if_close", "whether its result is real or complex is up to the data; use np.real(x)")


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.packbits: packbits,
    np.unpackbits: unpackbits,
    np.is_busday: _day_by_day("is_busday", 1),
    np.busday_count: _day_by_day("busday_count", 2),
    np.busday_offset: _day_by_day("busday_offset", 2),
    np.datetime_as_string: datetime_as_string,
    np.piecewise: piecewise,
    np.real_if_close: real_if_close,
}
