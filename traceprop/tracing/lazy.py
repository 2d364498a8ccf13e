"""Values that a user holds before anything has run, and the one way in which ops come to be."""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from traceprop.errors import DimMismatchError, TraceError
from traceprop.ir import ArrayType, Dim, Expr, Op, OpDef, Param, Program, TableType, Type, Value, symbol
from traceprop.ir.executor import AbstractExecutor
from traceprop.ir.expr import symbols_of
from traceprop.ir.forks import renewed_in_child
from traceprop.ir.location import user_location
from traceprop.ir.ops import LineageRule
from traceprop.ir.opset import constant
from traceprop.sources import Source
from traceprop.tracing.call import Call
from traceprop.tracing.granularity import get_granularity
from traceprop.tracing.trace import Trace, active_trace

if TYPE_CHECKING:
    from typing import Self

_fresh_numbers: dict[str, int] = {}
_NOTHING: Mapping[Param, Any] = {}
_making_calls = threading.RLock()


@renewed_in_child
def _unlocked() -> None:
    global _making_calls
    _making_calls = threading.RLock()


def reset_symbols() -> None:
    """Starts the numbers of data-dependent sizes outside traces at 0 again."""
    _fresh_numbers.clear()


UNPACKED = 64
"""Values that `low, high = np.quantile(x, [0.1, 0.9])` may give at most: each is an op of its own."""


class Lazy:
    """A value of a program that has not run. It lives in one of three places:

    - in a trace (`trace`): a symbolic value inside a decorated function; it has no data;
    - in a call (`call`): what a traced function returned;
    - in an expression of its own (`inputs`): what operators outside a traced function build up.
    """

    kinds: ClassVar[dict[type, type[Lazy]]] = {}
    __slots__ = ("_boundary", "_call", "_mask_positions", "executor", "inputs", "trace", "value")

    def __init__(
        self,
        value: Value,
        *,
        trace: Trace | None = None,
        call: Call | None = None,
        inputs: Mapping[Param, Any] | None = None,
        executor: AbstractExecutor | None = None,
    ) -> None:
        self.value = value
        self.trace = trace
        self._call = call
        self.inputs: Mapping[Param, Any] = inputs or _NOTHING
        self.executor = executor if call is None else call.executor
        self._boundary: Param | None = None
        self._mask_positions: Any = None

    @staticmethod
    def of(value: Value, **origin: Any) -> Any:
        """The lazy value of the class that stands for the type of `value`."""
        return Lazy.kinds[type(value.type)](value, **origin)

    @classmethod
    def from_source(cls, source: Source, executor: AbstractExecutor) -> Self:
        """The lazy value that is a source."""
        param = Param(parameter_name(source.id), source.type(source.n_rows), source.id)
        return cls(param, inputs={param: source}, executor=executor)

    @property
    def type(self) -> Type:
        return self.value.type

    @property
    def world(self) -> str:
        """The library whose arrays `.compute()` gives: `"numpy"`, `"jax"` or `"torch"`."""
        source = self.source
        if source is not None:
            return source.world
        return "numpy" if self._call is None else str(self._call.options.get("world", "numpy"))

    @property
    def source(self) -> Source | None:
        """The source that this value is, if it is one."""
        return self.inputs.get(self.value) if isinstance(self.value, Param) and self._call is None else None  # type: ignore[call-overload]

    @property
    def source_id(self) -> str | None:
        return None if self.source is None else self.source.id

    def sources(self) -> list[Source]:
        """The sources behind this value, those of earlier calls and of saved results included."""
        inputs = self._call.inputs if self._call is not None else self.inputs.values()
        found: dict[Source, None] = {}
        for given in inputs:
            found.update(dict.fromkeys(given.chain() if isinstance(given, Source) else given.sources()))
        return list(found)

    def call(self) -> Call:
        """The call that computes this value. Raises `TraceError` inside a trace, where there is nothing to compute."""
        if self.trace is not None:
            raise _no_data(self, "its value")
        if self._call is not None:
            return self._call
        with _making_calls:  # a value asked for by two threads has one call, which runs once
            if self._call is None:
                assert self.executor is not None
                program = Program.of_values("expression", self.inputs, [self.value])
                self._call = Call(
                    program, list(self.inputs.values()), self.executor, {"granularity": get_granularity()}
                )
            return self._call

    def concrete(self) -> Any:
        """The data as the engines hold it; runs the program if it has not run."""
        if self._call is None and (source := self.source) is not None:
            return source.concrete()
        return self.call().result(self.value)

    def native(self, world: str) -> Any:
        """The data for a run of a program of some library."""
        source = None if self._call is not None else self.source
        return self.concrete() if source is None else source.native(world)

    def known_shape(self) -> tuple[int | None, ...]:
        """The shape as far as it is known without running."""
        if not any(isinstance(dim, Expr) for dim in self.type.dims):
            return self.type.dims  # type: ignore[return-value]
        return self.call().known_dims(self.value)

    def concrete_shape(self) -> tuple[int, ...]:
        """The shape; runs the program only where the data decides it."""
        known = self.known_shape()
        if None in known:
            call = self.call()
            call.outcome()
            known = call.known_dims(self.value)
        return known  # type: ignore[return-value]

    def boundary(self) -> Param:
        """This value as a parameter of a later program: always the same one, so that shared parts run once."""
        if self._boundary is None:
            dims = [
                fresh_symbol("K") if size is None else size
                for size in (self.known_shape() if self.trace is None else self.type.dims)
            ]
            if isinstance(self.value, Param) and self.source is not None:
                self._boundary = self.value
            else:
                self._boundary = Param(f"value_{_next_number('value')}", with_dims(self.type, dims), self.source_id)
        return self._boundary

    @property
    def settled(self) -> bool:
        """Whether a later expression should read this value rather than build on its graph."""
        return self._call is not None and (self._call.done or self._call.program.name != "expression")

    def settle(self) -> None:
        """Runs now, so that every size of this value is a number to what is made of it from here on."""
        self.concrete()
        self._boundary = None

    def persist(self) -> Self:
        """Runs now and keeps the result where it was made (on Dask: on the cluster); gives the value itself."""
        if self.source is None:
            self.call().outcome()
        else:
            self.concrete()
        return self

    def batches(self, rows: int | None = None) -> Iterator[Any]:
        """The value as plain pieces of some rows each, in order: arrays, or polars tables.

        Of a function traced with `batch_size=`, each is made when it is asked for and nothing else is held; every loop
        reads the sources anew (`.persist()` keeps the result). `rows`: so many rows each, rather than as they come.
        Raises `ExecutionError` for a result without rows of the sources (a mean), `ChangedSourceError` where a file is no
        longer what it was. Of several results at once: `tp.batches(x, y)`.
        """
        from traceprop.tracing.batched import batches

        return (piece for (piece,) in batches([self], rows))

    def to_dask(self) -> Any:
        """A result of a run on Dask as a `dask.array.Array` or `dask.dataframe.DataFrame`: its partitions, where they are.

        Lineage ends there. Raises `TraceError` for what was run on this machine.
        """
        call = self.call()
        results = call.outcome().results
        if not hasattr(results, "to_dask"):
            raise TraceError('to_dask() is of results of functions traced with executor="dask" or a client')
        k = call.program.returns.index(self.value)
        return results.to_dask(k, self.type, self.concrete_shape())

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Writes the value as a Parquet file, batch by batch: whole or, after an error or Ctrl-C, not at all.

        An array's columns are called 0, 1, … Lineage stays with the value. Raises `MissingExtraError` without pyarrow.
        """
        from traceprop.tracing.batched import batches

        assert self.executor is not None
        self.executor.write_parquet(path, (piece for (piece,) in batches([self], None, empties=True)))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise pickle.PicklingError(
            f"a lazy {self.type} cannot be pickled: it stands for a program and its sources, and a copy of its numbers would "
            "have no lineage; send the numbers, x.compute(), or save it in a store (tp.stores) and load it there"
        )

    def _refuse(self, what: str, instead: str) -> NoReturn:
        raise TraceError(f"{what} at {user_location() or 'an unknown line'}: {instead}")

    def __bool__(self) -> bool:
        if self.trace is not None:
            self._refuse(
                "Python's if/while/and/or on a traced value",
                "the value is not known while the function is traced; use np.where(condition, a, b) to choose cell by cell, "
                "tp.cond(pred, f, g) to choose between two computations, or decide outside the traced function",
            )
        return bool(np.asarray(self))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._refuse(
            "in-place write to a traced value",
            "values of a program are written once; build a new one: x = tp.at(x)[index].set(v), or x = np.where(mask, new, x)",
        )

    def __iter__(self) -> Any:
        if self.trace is None:
            return iter(np.asarray(self))
        dims = self.type.dims if isinstance(self.type, ArrayType) else ()
        if not dims or not isinstance(dims[0], int) or dims[0] > UNPACKED:
            self._refuse("iterating over a traced value", "write the loop as array operations on the whole value")
        return iter([self[k] for k in range(dims[0])])  # type: ignore[index]

    __hash__ = object.__hash__


def _no_data(lazy: Lazy, what: str) -> TraceError:
    return TraceError(
        f"asking for {what} of a traced {lazy.type} at {user_location() or 'an unknown line'}: there is no data while the "
        "function is traced; use NumPy functions on it directly, or do this after the call, on the result"
    )


def with_dims(type: Type, dims: Sequence[Dim]) -> Type:
    """The type with other dims; a table keeps its fields."""
    if isinstance(type, TableType):
        return TableType(type.fields, dims[0])
    return ArrayType(type.dtype, tuple(dims))


def is_lazy(value: Any) -> bool:
    """Whether a value is lazy: an array or a table of a program."""
    return isinstance(value, Lazy)


def fresh_symbol(letter: str) -> Expr:
    """A symbol for a data-dependent size: of the active trace, else one that no other expression has."""
    trace = active_trace()
    if trace is not None:
        return trace.fresh(letter)
    return symbol(f"{letter}_{_next_number(letter)}")


def _next_number(name: str) -> int:
    number = _fresh_numbers[name] = _fresh_numbers.get(name, 0) + 1
    return number


def parameter_name(source_id: str) -> str:
    """A source id as the name of a parameter: letters, digits and underscores."""
    name = re.sub(r"\W", "_", source_id)
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"


def emit(
    definition: OpDef,
    operands: Sequence[Any],
    attrs: Mapping[str, Any] | None = None,
    payload: str | None = None,
    dtype: str | None = None,
    native: Callable[..., Any] | None = None,
    rule: LineageRule | None = None,
) -> Any:
    """A new op over lazy values, arrays and scalars, in the trace at hand or in an expression of its own.

    Raises `TypeRuleError` (a `ValueError`) that names the op, the operand types and the user's line.
    """
    trace = active_trace()
    location = user_location()
    if trace is not None:
        values = [in_trace(operand, trace) for operand in operands]
        try:
            op = Op(definition, values, attrs, payload, dtype, location, rule, native)
        except DimMismatchError as error:
            trace.unify(error.left, error.right)
            raise
        trace.ops.append(op)
        return Lazy.of(op.result, trace=trace)
    inputs: dict[Param, Any] = {}
    executor = next(operand.executor for operand in operands if isinstance(operand, Lazy))
    values = [_in_expression(operand, inputs) for operand in operands]
    try:
        op = Op(definition, values, attrs, payload, dtype, location, rule, native)
    except DimMismatchError:
        if not any(symbols_of(dim) for value in values for dim in value.type.dims):
            raise
        for operand in operands:  # the data decides a size: find it, and try with numbers
            if isinstance(operand, Lazy):
                operand.settle()
        inputs = {}
        values = [_in_expression(operand, inputs) for operand in operands]
        op = Op(definition, values, attrs, payload, dtype, location, rule, native)
    return Lazy.of(op.result, inputs=inputs, executor=executor)


def in_trace(operand: Any, trace: Trace) -> Value:
    """The value of a trace that an operand is: a lazy one's own, a constant, or a parameter for one from outside."""
    if not isinstance(operand, Lazy):
        return _constant(operand, trace)
    if operand.trace is trace:
        if operand.value in trace.inside:
            raise TraceError(
                f"a value made inside a branch of tp.cond is used outside of it at {user_location() or 'an unknown line'}; "
                "return it from both branches"
            )
        return operand.value
    if operand.trace is not None:
        raise TraceError(
            f"a value of the traced function {operand.trace.name!r} is used in {trace.name!r} at {user_location()}; "
            "return it from the one and pass it to the other"
        )
    return trace.capture(operand)


def _in_expression(operand: Any, inputs: dict[Param, Any]) -> Value:
    if not isinstance(operand, Lazy):
        return _constant(operand, None)
    if operand.trace is not None:
        raise _no_data(operand, "its value outside the traced function")
    if operand.settled:
        param = operand.boundary()
        inputs[param] = operand
        return param
    inputs.update(operand.inputs)
    return operand.value


def _constant(operand: Any, trace: Trace | None) -> Value:
    if isinstance(operand, np.generic) or not isinstance(operand, (bool, int, float, complex, str, type(None))):
        operand = np.array(operand)
        operand.flags.writeable = False
    op = Op(constant, (), {"value": operand}, location=user_location())
    if trace is not None:
        trace.ops.append(op)
    return op.result
