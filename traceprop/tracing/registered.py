"""Functions that a user knows the index map of."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from traceprop.errors import ParseError, TraceError
from traceprop.ir import ArrayType, Dim, GivenMap, Op, Value
from traceprop.ir.dump import attr_text
from traceprop.ir.expr import Expr, evaluate
from traceprop.ir.index_map import AXIS_NAMES, AxisRead, Span
from traceprop.ir.location import user_location
from traceprop.ir.opset import opaque
from traceprop.ir.types import dtype_name
from traceprop.ir.words import quote
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.opaque import made_up, sizes_of

_RULES: dict[Any, str] = {}


def register_rule(fn: Callable[..., Any], rule: str, check: bool = False) -> Callable[..., Any]:
    """Say which cells a result cell of `fn` depends on; gives a function to call in `fn`'s place in traced functions.

    `fn`: a function of arrays (positional) and options (by keyword) that gives one array, and gives the same for the same.
    `rule`: its index map as programs print it, with `%` and the parameter's name for each array: a function that sums
    neighbours is `"(i) <- %x[i..i+2]"`, one that ranks within rows `"(i, j) <- %x[i, *]"`. Other places: an expression
    of the result's axes (`i//2`), a number, and `control` or `order` before a read that decides and does not flow; pieces
    for parts of the result stand between bars, `"(i<3) <- %x[i] | (i>=3) <- %y[i-3]"`.
    `check`: hold the rule against changed cells of made-up numbers whenever the function is traced; a cell that
    matters and is not in the rule is a `TraceError`. Without it you are taken at your word, and `view.exact` stays true.

        smoothed = tp.register_rule(scipy.signal.medfilt, "(i) <- %volume[i..i+1]")

    NumPy's and SciPy's own functions are also found when they are called under their own name.
    Raises `TraceError` where the rule names no parameter or cannot be read; on tracing, where it does not fit the arrays.
    """
    try:
        names = list(inspect.signature(fn).parameters)
    except ValueError:
        names = []
    if not isinstance(rule, str) or "<-" not in rule:
        raise TraceError(f"a rule reads such as '(i, j) <- %x[i, *]', not {rule!r}")
    if names and not any(f"%{name}[" in rule for name in names):
        raise TraceError(f"the rule {rule!r} names none of the parameters: {', '.join(f'%{name}' for name in names)}")
    _RULES[fn] = rule

    @functools.wraps(fn)
    def registered(*args: Any, **kwargs: Any) -> Any:
        if not any(isinstance(value, Lazy) for value in args):
            return fn(*args, **kwargs)
        return call(fn, rule, names, args, kwargs, check)

    return registered


def rule_of(fn: Any) -> str | None:
    """The rule that was registered for a function."""
    try:
        return _RULES.get(fn)
    except TypeError:  # not hashable
        return None


def call(
    fn: Callable[..., Any],
    rule: str,
    names: list[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    check: bool = False,
) -> Any:
    """An `opaque` op with the map of the rule."""
    name = f"{getattr(fn, '__module__', None) or 'user'}.{getattr(fn, '__name__', 'function')}"
    if any(isinstance(value, Lazy) for value in kwargs.values()):
        raise TraceError(
            f"{name} at {_where()} has a rule for arrays by position; give its arrays so, and options by name"
        )
    arrays = [k for k, value in enumerate(args) if isinstance(value, (Lazy, np.ndarray))]
    operands = [args[k] for k in arrays]

    def native(*values: Any) -> Any:
        given = list(args)
        for k, value in zip(arrays, values, strict=True):
            given[k] = value
        return np.asarray(fn(*given, **kwargs))

    shapes = [sizes_of(value, name) if isinstance(value, Lazy) else value.shape for value in operands]
    samples = [
        made_up(value, shape) if isinstance(value, Lazy) else value
        for value, shape in zip(operands, shapes, strict=True)
    ]
    try:
        found = native(*samples)
    except Exception as error:
        raise TraceError(f"{name} at {_where()} fails on made-up numbers of shapes {shapes}: {error}") from error
    called = [names[k] if k < len(names) else f"x{k}" for k in arrays]
    given = _map_of(rule, called, samples, found, name)
    result = emit(opaque, operands, {"shape": found.shape}, name, dtype_name(found.dtype), native=native, rule=given)
    if check:
        _check(native, samples, found, given, name, rule)
    return result


def _where() -> str:
    return str(user_location() or "an unknown line")


def _map_of(rule: str, called: list[str], samples: list[np.ndarray], found: np.ndarray, name: str) -> GivenMap:
    """The rule, read for arrays of these shapes."""
    from traceprop.ir import parse

    params = ", ".join(f"%{n}: {_type(a)}" for n, a in zip(called, samples, strict=True))
    operands = ", ".join(f"%{n}" for n in called)
    kind = _type(found)
    shape = attr_text(found.shape)
    text = (
        f"func @rule({params}) -> {kind} {{\n"
        f"  %0: {kind} = opaque[{quote(name)}]({operands}) {{shape={shape}}}  # {rule}\n  return %0\n}}"
    )
    try:
        (op,) = parse(text).ops
    except ParseError as error:
        raise TraceError(
            f"the rule {rule!r} of {name} does not fit at {_where()}, for {params} and a result {kind}: "
            f"{str(error).splitlines()[0].split(': ', 1)[-1]}"
        ) from None
    assert isinstance(op.rule, GivenMap)
    return op.rule


def _type(array: np.ndarray) -> ArrayType:
    return ArrayType(dtype_name(array.dtype), array.shape)


# -- checking ---------------------------------------------------------------------------------------------------------------

_TRIED_CELLS = 512


def _check(
    native: Callable[..., np.ndarray],
    samples: list[np.ndarray],
    before: np.ndarray,
    given: GivenMap,
    name: str,
    rule: str,
) -> None:
    """Raises `TraceError` for a cell that changes a result cell whose reads leave it out."""
    op = Op(
        opaque, [Value(_type(a)) for a in samples], {"shape": before.shape}, name, dtype_name(before.dtype), rule=given
    )
    allowed = _reads_of(op)
    for k, sample in enumerate(samples):
        cells = list(itertools.islice(np.ndindex(sample.shape), _TRIED_CELLS))
        for cell in cells:
            for value in _others(sample[cell]):
                changed = [array.copy() for array in samples]
                changed[k][cell] = value
                after = native(*changed)
                differs = ~((after == before) | ((after != after) & (before != before)))
                for place in map(tuple, np.argwhere(differs)):
                    if not any(operand == k and _holds(read, cell) for operand, read in allowed(place)):
                        raise TraceError(
                            f"the rule {rule!r} of {name} is wrong at {_where()}: result cell {tuple(map(int, place))} changed "
                            f"with cell {cell} of operand {k}, which is not among the cells that the rule names for it"
                        )


def _others(value: Any) -> list[Any]:
    if isinstance(value, (bool, np.bool_)):
        return [not value]
    return [value + 1, -value - 2, value * 0 + 50]


def _reads_of(op: Op) -> Callable[[tuple[int, ...]], Iterator[tuple[int, Any]]]:
    """For a result cell, the operand numbers and the positions read of them: a set per axis, None for all."""
    reads = [(op.operands.index(read.operand), read) for read in op.reads]

    def at(place: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
        values = {AXIS_NAMES[axis]: position for axis, position in enumerate(place)}
        for number, read in reads:
            if all(
                (bound.lo is None or place[bound.axis] >= _number(bound.lo, values))
                and (bound.hi is None or place[bound.axis] < _number(bound.hi, values))
                for bound in read.where
            ):
                yield number, [_positions(axis, values) for axis in read.axes]

    return at


def _positions(axis: AxisRead, values: Mapping[str, int]) -> Any:
    if isinstance(axis, Span):
        return range(_number(axis.lo, values), _number(axis.hi, values), axis.step)
    if isinstance(axis, (int, Expr)):
        return (_number(axis, values),)
    return None


def _number(dim: Dim, values: Mapping[str, int]) -> int:
    return int(evaluate(dim, values))


def _holds(places: Any, cell: tuple[int, ...]) -> bool:
    return all(positions is None or position in positions for positions, position in zip(places, cell, strict=True))
