"""A decorated function: traced once per kind of argument, then called without being run."""

from __future__ import annotations

import functools
import importlib
import inspect
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from traceprop.errors import TraceError
from traceprop.ir import Dim, Param, Program, Value, symbol
from traceprop.ir.executor import AbstractExecutor
from traceprop.ir.expr import substitute
from traceprop.ir.forks import renewed_in_child
from traceprop.ir.location import user_location
from traceprop.ir.uncollected import uncollected
from traceprop.passes.optimize.freeze import Freeze, fitted_values
from traceprop.passes.optimize.write_out import WriteOut
from traceprop.passes.pipeline import Stage, default_pipeline
from traceprop.passes.rewrite import AbstractPass
from traceprop.sources import Source
from traceprop.tracing.by_reference import name_of
from traceprop.tracing.call import Call
from traceprop.tracing.fitted import Fitted
from traceprop.tracing.granularity import Granularity, checked, get_granularity
from traceprop.tracing.guard import Guard, Surroundings, sources_of
from traceprop.tracing.inputs import abstract, as_input, is_argument, rows_of, source_id_of, type_of
from traceprop.tracing.lazy import Lazy, in_trace, parameter_name
from traceprop.tracing.numpy.iterated import iteration_refused
from traceprop.tracing.own_code import OwnCode
from traceprop.tracing.purity import closure_key, random_guarded
from traceprop.tracing.structure import flatten, rebuild
from traceprop.tracing.trace import ROW_SYMBOLS, Retrace, Trace, active_trace, tracing
from traceprop.tracing.worlds import mode_of, world_of, wrapped_keys

_UNSET: Any = object()
# Whether another library's front end is running a traced function, in this thread or task.
_elsewhere: ContextVar[bool] = ContextVar("traceprop_elsewhere", default=False)
_MANY_GUARDS = 4
_functions: weakref.WeakSet[TracedFunction] = weakref.WeakSet()


@dataclass(eq=False)
class Traced:
    """One trace of a function: the program, what came back, and the lazy values that it closed over."""

    program: Program
    result: Any
    captured: tuple[Lazy, ...]
    smallest: int = 0
    """How many rows a symbol stands for at least."""

    def results(self, call: Call, values: Mapping[Value, Value] | None = None) -> Any:
        """What the function returns, its values those of a call; of another program by way of `values`."""
        result = self.result
        if values is None and isinstance(result, Lazy) and result.trace is not None:  # most functions return one value
            return type(result)(result.value, call=call)
        return _wrapped(self.result, lambda leaf: Lazy.of(values[leaf.value] if values else leaf.value, call=call))


class TracedFunction:
    """What `@tp.trace` makes of a function. Calling it gives lazy values in the structure that it returns."""

    def __init__(
        self,
        function: Callable[..., Any],
        executor: AbstractExecutor,
        granularity: Any = _UNSET,
        passes: Sequence[AbstractPass] | None = None,
        backend: str = "auto",
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.executor = executor
        self.passes = None if passes is None else tuple(passes)
        self.backend = backend
        self._granularity = None if granularity is _UNSET else checked(granularity)
        self._traces: dict[Hashable, list[Traced]] = {}
        self._lock = threading.RLock()
        self._signature = inspect.signature(getattr(function, "forward", function))
        self._positional = _positional(self._signature)
        self._known_options: dict[tuple[str | None, str], Mapping[str, Any]] = {}
        self._guards: tuple[tuple[Guard, Traced], ...] = ()
        self._active = threading.local()
        _functions.add(self)

    def __repr__(self) -> str:
        return f"<traced function {self.__name__}>"  # type: ignore[attr-defined]

    def __reduce__(self) -> str:
        """By reference: another process imports the function by its name, and traces it itself."""
        return name_of(self, self.function)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    @property
    def granularity(self) -> str | None:
        """What a call made now would record."""
        if self._granularity == "default":
            return Granularity.OP.value
        return self._granularity or get_granularity()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if active_trace() is not None or _elsewhere.get():
            return self._inline(args, kwargs)
        traced, call = self.prepare(args, kwargs)
        return traced.results(call)

    def _inline(self, args: Any, kwargs: Any) -> Any:
        """Inside another trace the function is part of that program."""
        if getattr(self._active, "depth", 0):
            raise TraceError(
                f"the traced function {self.__name__!r} calls itself at {user_location() or 'an unknown line'}; "  # type: ignore[attr-defined]
                "recursion cannot be traced: write it as a loop, whose turns become ops, or let a helper that is not decorated "
                "call itself"
            )
        self._active.depth = 1
        try:
            return self.function(*args, **kwargs)
        finally:
            self._active.depth = 0

    def ir(self, *args: Any, stage: str = "traced", **kwargs: Any) -> Program:
        """The program for these arguments: `"traced"`, as the function says it, `"optimized"`, as it runs, or behind a pass.

        A pass goes by its name: `stage="cse"`. Raises `ValueError` for a stage that there is not.
        """
        stages = self.history(*args, **kwargs)
        names = [each.name for each in stages]
        if stage != "optimized" and stage not in names:
            raise ValueError(f"stage is {', '.join(map(repr, names))} or 'optimized', not {stage!r}")
        return stages[-1 if stage == "optimized" else names.index(stage)].program

    def history(self, *args: Any, **kwargs: Any) -> list[Stage]:
        """The program for these arguments as traced and behind each pass: `.name`, `.program`, `.ops`, `.seconds`."""
        _, call = self.prepare(args, kwargs)
        with uncollected():
            level = call.options["granularity"]
            pipeline = default_pipeline(level is not None, self.passes, level or "op")
            stages = pipeline.history(call.program)
        for k, stage in enumerate(stages[1:], 1):
            if stage.program is not call.program:  # what its page tells of the passes before
                stage.program.memo["history"] = tuple((each.name, each.program) for each in stages[: k + 1])
        return stages

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """The `Executable` for these arguments: its program, its generated code; callable on plain values."""
        _, call = self.prepare(args, kwargs)
        return self.executor.compile(call.program, call.options)

    def profile(self, *args: Any, **kwargs: Any) -> Any:
        """Where the time of a call goes: time, bytes and captures of each op, with the line of this function that it is from.

        It runs the program a few times, with a clock behind each line of its code and without. Prints as a table; `.rows`,
        `.seconds`, `.to_html(path)`, a picture as wide as what takes long. Ops that run together, as a segment, have one time.

        Functions that run in batches are profiled as one, on all of their data. Raises `TraceError` for those on a cluster.
        """
        _, call = self.prepare(args, kwargs)
        compiled = self.executor.compile(call.program, call.options)
        if not hasattr(compiled, "profile"):
            raise TraceError(
                f"{self.__name__} runs on a cluster, and profiles are of runs on this machine: "  # type: ignore[attr-defined]
                "trace it without executor="
            )

        def inputs() -> list[tuple[str, Any]]:
            return list(zip((param.name for param in call.program.params), call.native_inputs(), strict=True))

        return compiled.profile(inputs, call.options["granularity"])

    def fit(self, *args: Any, **kwargs: Any) -> Fitted:
        """The fitted pipeline: every reduction over rows replaced by its value on these arguments (pass `freeze`)."""
        traced, call = self.prepare(args, kwargs)
        call = call.rewritten(WriteOut())  # what a branch fits on the way is fitted too
        statistics = fitted_values(call.program)
        frozen = Freeze()(call.program)
        fitting = call.restricted(statistics)
        inputs = {f"fitted_{n}": Lazy.of(value, call=fitting) for n, value in enumerate(statistics)}

        def wrap(program: Program, applied: Call) -> Any:
            return traced.results(applied, dict(zip(traced.program.returns, program.returns, strict=True)))

        return Fitted(self.__name__, frozen, call, inputs, wrap)  # type: ignore[attr-defined]

    # -- tracing --------------------------------------------------------------------------------------------------------

    def returned(self, call: Call) -> Any:
        """What the function returned in a call of it; `None` for a call of anything else."""
        for traced in (traced for traces in self._traces.values() for traced in traces):
            if traced.program is call.program:
                return traced.results(call)
        return None

    def prepare(self, args: Any, kwargs: Any) -> tuple[Traced, Call]:
        """The trace for these arguments, and the call of its program with them."""
        sources = None if kwargs else sources_of(self._positional, args)
        if sources is not None:
            for guard, traced in self._guards:
                if guard.accepts(sources) and guard.surroundings.same_contents():
                    told_apart = not traced.captured and guard.tells_apart(sources)
                    return traced, self._call(traced, sources, guard.world, told_apart)
        return self._looked_up(args, kwargs, sources)

    def _call(self, traced: Traced, given: list[Any], world: str, told_apart: bool = False) -> Call:
        return Call(traced.program, (*given, *traced.captured), self.executor, self._options(world), told_apart)

    def _options(self, world: str) -> Mapping[str, Any]:
        """What a call made now is run with: one object for equal options, by which the executor knows them again."""
        granularity = self.granularity
        known = self._known_options.get((granularity, world))
        if known is None:
            made = {"granularity": granularity, "passes": self.passes, "world": world, "backend": self.backend}
            known = self._known_options.setdefault((granularity, world), made)
        return known

    def _looked_up(self, args: Any, kwargs: Any, sources: list[Source] | None) -> tuple[Traced, Call]:
        """By everything that a trace depends on; traced anew where there is none. The next call like it has a guard."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        leaves = _leaves(bound)
        inputs = [as_input(name, value) for name, value in leaves]
        world = world_of(self.function, (value for _, value in leaves))
        key = (world, mode_of(world), closure_key(self.function), _structure(bound.arguments), *map(abstract, inputs))
        with self._lock:
            for traced in self._traces.get(key, ()):
                if _fits(traced, inputs):
                    break
            else:
                with uncollected():
                    traced = self._trace(bound, inputs, world)
                self._traces.setdefault(key, []).append(traced)
        if sources is not None:
            guard = Guard(sources, traced.program.params, traced.smallest, Surroundings(self.function), world)
            self._guards = ((guard, traced), *self._guards[: _MANY_GUARDS - 1])
        return traced, self._call(traced, [value for value in inputs if isinstance(value, (Source, Lazy))], world)

    def _trace(self, bound: inspect.BoundArguments, inputs: list[Any], world: str) -> Traced:
        replaced: dict[str, Dim] = {}
        for _ in range(64):
            try:
                if world != "numpy":
                    return self._trace_world(bound, inputs, world, replaced)
                return self._trace_once(bound, inputs, replaced)
            except Retrace as again:
                replaced = {name: substitute(dim, again.replaced) for name, dim in replaced.items()} | again.replaced
        raise TraceError(f"tracing {self.function.__name__!r} does not settle: its sizes need one another")

    def _trace_once(self, bound: inspect.BoundArguments, inputs: list[Any], replaced: Mapping[str, Dim]) -> Traced:
        params, hints = _parameters(bound, inputs, replaced)
        trace = Trace(self.function.__name__, hints)
        trace.params.extend(param for param in params if param is not None)
        symbolic = iter(
            given if param is None else Lazy.of(param, trace=trace, executor=self.executor)
            for given, param in zip(inputs, params, strict=True)
        )
        arguments = {
            name: rebuild(value, lambda _: next(symbolic), is_argument) for name, value in bound.arguments.items()
        }
        call = inspect.BoundArguments(self._signature, arguments)  # type: ignore[arg-type]
        with tracing(trace), random_guarded(self.function.__name__), iteration_refused():
            self._active.depth = 1
            try:
                result = self.function(*call.args, **call.kwargs)
            finally:
                self._active.depth = 0
        outputs = [leaf for _, leaf in flatten(result, "", _is_leaf_of_result) if isinstance(leaf, Lazy)]
        for leaf in outputs:
            if leaf.trace is trace:
                in_trace(leaf, trace)
        foreign = [leaf for leaf in outputs if leaf.trace is not trace]
        if foreign and any(leaf.trace is not None for leaf in foreign):
            raise TraceError(f"{self.function.__name__!r} returns a value of another traced function")
        returns = tuple(dict.fromkeys(leaf.value for leaf in outputs if leaf.trace is trace))
        program = Program(self.function.__name__, tuple(trace.params), tuple(trace.ops), returns)
        return Traced(program, result, tuple(trace.inputs))

    def _trace_world(
        self, bound: inspect.BoundArguments, inputs: list[Any], world: str, replaced: Mapping[str, Dim]
    ) -> Traced:
        """Through the front end of another library, which runs the function on its own abstract arrays."""
        front = importlib.import_module(f"traceprop.tracing.{world}")
        for given in inputs:
            if isinstance(given, Lazy):
                given.concrete_shape()  # from here on the number of rows is known
            elif isinstance(given, Source) and given.n_rows is None:
                raise TraceError(
                    f"{given.id!r} is declared without a number of rows, and {world} traces with one: f64[100,4], not f64[N,4]"
                )
        symbolic = hasattr(front, "SMALLEST")
        smallest = front.SMALLEST if symbolic else 0
        params, hints = _parameters(bound, inputs, replaced, smallest if symbolic else None)

        def call(arrays: list[Any]) -> Any:
            kinds = [
                getattr(v, "generator", None) for v, param in zip(inputs, params, strict=True) if param is not None
            ]
            given = iter(wrapped_keys(a, kind) if kind else a for a, kind in zip(arrays, kinds, strict=True))
            leaves = iter(value if param is None else next(given) for value, param in zip(inputs, params, strict=True))
            arguments = {key: rebuild(v, lambda _: next(leaves), is_argument) for key, v in bound.arguments.items()}
            again = inspect.BoundArguments(self._signature, arguments)  # type: ignore[arg-type]
            return self.function(*again.args, **again.kwargs)

        present = [param for param in params if param is not None]
        name = getattr(self.function, "__name__", type(self.function).__name__)
        with _inside_another_library():
            ops, result, *pure = (
                front.trace(name, call, present, hints) if symbolic else front.trace(name, call, present)
            )
        marker = Trace(name, {})
        result = rebuild(
            result, lambda leaf: Lazy.of(leaf, trace=marker) if isinstance(leaf, Value) else leaf, _is_leaf_of_result
        )
        outputs = [leaf.value for _, leaf in flatten(result, "", _is_leaf_of_result) if isinstance(leaf, Lazy)]
        program = Program(name, tuple(present), tuple(ops), tuple(dict.fromkeys(outputs)))
        if pure == [True] and OwnCode.serves(program):
            given = [param is not None for param in params]
            program.memo["own"] = OwnCode(
                self.function, self._signature, bound.arguments, given, outputs, program, _elsewhere
            )
        return Traced(program, result, (), smallest)


@contextmanager
def _inside_another_library() -> Iterator[None]:
    """A traced function that is called here is part of the function that calls it."""
    token = _elsewhere.set(True)
    try:
        yield
    finally:
        _elsewhere.reset(token)


@renewed_in_child
def _unlocked() -> None:
    """A thread that was tracing when the process was forked is not in the child."""
    for function in _functions:
        function._lock = threading.RLock()


def _positional(signature: inspect.Signature) -> tuple[str, ...]:
    """The names that arguments by position go to; none where there may be any number of them."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = signature.parameters.values()
    return () if any(p.kind in several for p in parameters) else tuple(p.name for p in parameters)


def _leaves(bound: inspect.BoundArguments) -> list[tuple[str, Any]]:
    return [leaf for key, value in bound.arguments.items() for leaf in flatten(value, key, is_argument)]


def _is_leaf_of_result(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def _wrapped(result: Any, wrap: Callable[[Lazy], Any]) -> Any:
    def leaf(value: Any) -> Any:
        return wrap(value) if isinstance(value, Lazy) and value.trace is not None else value

    return rebuild(result, leaf, _is_leaf_of_result)


def _structure(arguments: Mapping[str, Any]) -> Hashable:
    return repr({name: rebuild(value, lambda _: None, is_argument) for name, value in arguments.items()})


def _parameters(
    bound: inspect.BoundArguments, inputs: list[Any], replaced: Mapping[str, Dim], smallest: int | None = 0
) -> tuple[list[Param | None], dict[str, int]]:
    """A parameter per source or lazy argument, its rows a symbol (or what a retrace put in its place); and the hints.

    Fewer rows than `smallest` are a number; with `None`, all are.
    """
    names = [name for name, _ in _leaves(bound)]
    params: list[Param | None] = []
    hints: dict[str, int] = {}
    for name, given in zip(names, inputs, strict=True):
        if not isinstance(given, (Source, Lazy)):
            params.append(None)
            continue
        number = sum(param is not None for param in params)
        letter = ROW_SYMBOLS[number] if number < len(ROW_SYMBOLS) else f"N{number}"
        rows = rows_of(given)
        # NumPy broadcasts an axis of one row, so one row is a size of its own and not a case of N.
        dim: Dim = 1 if rows == 1 else substitute(symbol(letter), replaced)
        if smallest is None or (rows is not None and rows < smallest):
            dim = rows or 0
        if rows is not None:
            hints[letter] = rows
        params.append(Param(parameter_name(name), type_of(given, dim), source_id_of(given)))
    return params, hints


def _fits(traced: Traced, inputs: Sequence[Any]) -> bool:
    """Whether the numbers of rows at hand are those that the trace is for."""
    sizes: dict[Dim, int | None] = {}
    given = [value for value in inputs if isinstance(value, (Source, Lazy))]
    for param, value in zip(traced.program.params, given, strict=False):
        if param.rank:
            dim, rows = param.type.dims[0], rows_of(value)
            if not isinstance(dim, int) and rows is not None and rows < traced.smallest:
                return False
            if sizes.setdefault(dim, dim if isinstance(dim, int) else rows) != rows:
                return False
    return True
