"""Functions without a lineage rule: traced all the same, with every result cell taken to depend on every operand cell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import ArrayType, Dim, GivenMap
from traceprop.ir.given_map import every_cell
from traceprop.ir.location import user_location, warn_at
from traceprop.ir.opset import opaque
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing.lazy import Lazy, emit, fresh_symbol
from traceprop.tracing.structure import flatten, rebuild
from traceprop.tracing.trace import active_trace


def opaque_call(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], whole: bool = False
) -> Any:
    """An `opaque` op per result, with a warning that names the function and the user's line.

    `whole`: every cell of arrays of up to two axes is known to matter to every result cell, so there is nothing to warn of.

    Shapes and dtypes are those that the function gives on made-up numbers of the operands' sizes; a dim that differs
    between two such tries is left to the run. The trace becomes one for these sizes.
    Raises `TraceError` where the function fails on made-up numbers, or gives no arrays.
    """
    given = (args, kwargs)
    operands = [leaf for _, leaf in flatten(given, "", _is_leaf) if isinstance(leaf, Lazy)]
    shapes = [sizes_of(operand, name) for operand in operands]
    try:
        tries = [_tried(function, given, operands, shapes, numbers) for numbers in (_normal, _other_normal)]
    except Exception as error:
        raise TraceError(
            f"{name} at {user_location() or 'an unknown line'} has no rule and cannot be tried on made-up numbers ({error}); "
            "call it outside the traced function, on x.compute() (lineage ends there)"
        ) from error
    with contextlib.suppress(
        Exception
    ):  # equal numbers show sizes that hang on distinct ones; not every function takes them
        tries.append(_tried(function, given, operands, shapes, _equal))
    whole = whole and all(operand.value.rank <= 2 for operand in operands)
    rule = GivenMap(every_cell([operand.value for operand in operands])) if whole else None
    if rule is None:
        _warn(name)

    def result(position: int | None, found: list[np.ndarray]) -> Any:
        dims = _dims(name, found)

        def native(*values: Any) -> Any:
            replaced = iter(values)
            args, kwargs = rebuild(given, lambda x: next(replaced) if isinstance(x, Lazy) else x, _is_leaf)
            answer = function(*args, **kwargs)
            array = np.asarray(answer if position is None else answer[position])
            if array.ndim != len(dims) or any(
                isinstance(d, int) and d != n for d, n in zip(dims, array.shape, strict=True)
            ):
                raise ValueError(
                    f"its result has shape {array.shape}, where made-up numbers gave ({', '.join(map(str, dims))})"
                )
            return array

        attrs: dict[str, Any] = {"shape": dims} if position is None else {"shape": dims, "result": position}
        return emit(opaque, operands, attrs, name, dtype_name(found[0].dtype), native=native, rule=rule)

    if len(tries[0]) == 1 and not tries[0].several:
        return result(None, [found[0] for found in tries])
    return tuple(result(k, list(found)) for k, found in enumerate(zip(*tries, strict=True)))


class _Found(tuple[np.ndarray, ...]):
    """What one try gave; `several`: as a tuple, and not as one array."""

    several: bool = False


def _warn(name: str) -> None:
    warn_at(
        user_location(),
        f"{name} has no lineage rule: every cell of its result is taken to depend on every cell of its operands, and "
        "view.exact is False",
    )


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def sizes_of(operand: Lazy, name: str) -> tuple[int, ...]:
    """The operand's shape in numbers, which makes the trace one for them."""
    trace = active_trace()
    if trace is None:
        return operand.concrete_shape()
    return tuple(trace.number(dim, f"{name}, which has no rule,") for dim in operand.type.dims)


Numbers = Callable[[tuple[int, ...]], np.ndarray]


def _normal(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(1)).normal(size=shape)


def _other_normal(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(2)).normal(size=shape)


def _equal(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape)


def _tried(
    function: Callable[..., Any], given: Any, operands: list[Lazy], shapes: list[tuple[int, ...]], numbers: Numbers
) -> _Found:
    samples = iter([_sample(operand, numbers(shape)) for operand, shape in zip(operands, shapes, strict=True)])
    args, kwargs = rebuild(given, lambda x: next(samples) if isinstance(x, Lazy) else x, _is_leaf)
    found = function(*args, **kwargs)
    several = isinstance(found, (tuple, list))
    result = _Found(map(_array, found if several else [found]))
    result.several = several
    return result


def made_up(operand: Lazy, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of the operand's dtype."""
    return _sample(operand, _normal(shape))


def _array(found: Any) -> np.ndarray:
    array = np.asarray(found)
    dtype_name(array.dtype)
    return array


def _sample(operand: Lazy, numbers: np.ndarray) -> np.ndarray:
    dtype = numpy_dtype(operand.type.dtype if isinstance(operand.type, ArrayType) else "f64")
    return (numbers if dtype.kind in "fc" else numbers > 0).astype(dtype)


def _dims(name: str, found: list[np.ndarray]) -> tuple[Dim, ...]:
    """Sizes that all tries share; a fresh symbol for one that differs."""
    if len({array.ndim for array in found}) > 1:
        raise TraceError(
            f"{name} at {user_location() or 'an unknown line'} gives now more axes, now fewer; it has no type"
        )
    sizes = zip(*(array.shape for array in found), strict=True)
    return tuple(size[0] if len(set(size)) == 1 else fresh_symbol("K") for size in sizes)
