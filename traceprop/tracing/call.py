"""A program together with its inputs: what a lazy value waits for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from traceprop.errors import SourceError
from traceprop.ir import Expr, Program, Value
from traceprop.ir.executor import AbstractExecutor, Outcome
from traceprop.ir.expr import evaluate
from traceprop.ir.forks import renewed_in_child
from traceprop.passes.optimize.dce import DCE
from traceprop.sources import Source
from traceprop.tracing.lending import ALONE, Loan, is_large_and_own, is_large_and_own_tensor

_running: set[Call] = set()


class Call:
    """One call of a program: runs at most once, when a value or a capture of it is first wanted.

    `inputs`: one per parameter, each a `Source` or a lazy value of an earlier call. `memo` holds what was derived from the
    call and goes with it. `options` are held as they are given, and not written to. `told_apart`: the ids of the sources are
    known to differ.
    """

    __slots__ = ("__weakref__", "_lent", "_lock", "_outcome", "executor", "inputs", "memo", "options", "program")

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Any],
        executor: AbstractExecutor,
        options: Mapping[str, Any],
        told_apart: bool = False,
    ) -> None:
        if len(program.params) != len(inputs):
            raise ValueError(f"{program.name} has {len(program.params)} parameters, {len(inputs)} inputs were given")
        self.program = program
        self.inputs = tuple(inputs)
        self.executor = executor
        self.options = options
        self.memo: dict[str, Any] = {}
        self._outcome: Outcome | None = None
        self._lent: dict[int, Loan] | None = None
        self._lock = threading.RLock()
        if not told_apart:
            _check_ids(self.inputs)

    @property
    def done(self) -> bool:
        """Whether the program has run."""
        return self._outcome is not None

    def outcome(self) -> Outcome:
        """Runs the program if it has not run yet. Raises `ChangedSourceError` where a source is no longer what it was."""
        if self._outcome is not None:
            return self._outcome
        with self._lock:
            if self._outcome is None:
                inputs = self.inputs if self.executor.takes_inputs else self.native_inputs()
                _running.add(self)
                try:
                    self._outcome = self.executor.run(self.program, inputs, self.options)
                finally:
                    _running.discard(self)
            return self._outcome

    def result(self, value: Value) -> Any:
        """A returned value as the engine gives it, not to be written to. Runs the program if it has not run yet."""
        results, k = self.outcome().results, self._place(value)
        if self._lent is None or k not in self._lent or self._lent[k].same():
            return results[k]
        with self._lock:  # the caller who was lent it has written to it
            again = self.executor.run(self.program, self.native_inputs(), self.options)
            self._outcome, self._lent = replace(self.outcome(), results=again.results), None
            return again.results[k]

    def lend(self, value: Value) -> Any:
        """A returned value for the caller to keep and to write to, without a copy; `None` where it must be copied."""
        results, k = self.outcome().results, self._place(value)
        if type(results) is not tuple or self.executor.takes_inputs:
            return None
        with self._lock:
            array = results[k]
            own = is_large_and_own(array) if type(array) is np.ndarray else is_large_and_own_tensor(array)
            if not own or sys.getrefcount(array) > ALONE or (self._lent and k in self._lent):
                return None
            self._lent = {**(self._lent or {}), k: Loan(array)}
            return array

    def _place(self, value: Value) -> int:
        returns = self.program.returns
        return 0 if returns[0] is value else returns.index(value)

    def native_inputs(self) -> list[Any]:
        """The inputs in the world that the program computes in."""
        world = self.options.get("world", "numpy")
        return self.concrete_inputs() if world == "numpy" else [given.native(world) for given in self.inputs]

    def concrete_inputs(self) -> list[Any]:
        """The inputs as the engines hold them. Raises `ChangedSourceError` for a source that is no longer what it was."""
        return [given.concrete() for given in self.inputs]

    def sizes(self) -> dict[str, int]:
        """What the size symbols stand for, as far as the inputs tell; everything once the program has run."""
        if self._outcome is not None:
            return self._outcome.sizes
        known: dict[str, int] = {}
        for param, given in zip(self.program.params, self.inputs, strict=True):
            shape = (given.n_rows,) if isinstance(given, Source) else given.known_shape()
            for dim, size in zip(param.type.dims, shape, strict=False):
                if size is not None and isinstance(dim, Expr):
                    known.setdefault(str(dim), size)
        return known

    def known_dims(self, value: Value) -> tuple[int | None, ...]:
        """The shape of a value as far as it is known without running."""
        return tuple(_known(dim, self.sizes()) for dim in value.type.dims)

    def rewritten(self, step: Callable[[Program], Program]) -> Call:
        """A call of the program behind a pass; this one where the pass changes nothing."""
        program = step(self.program)
        return self if program is self.program else Call(program, self.inputs, self.executor, self.options)

    def restricted(self, values: Sequence[Value]) -> Call:
        """A call that computes other values of the same program from the same inputs."""
        program = DCE()(self.program.with_ops(self.program.ops, values))
        return Call(program, self.inputs, self.executor, self.options)


@renewed_in_child
def _unlocked() -> None:
    """What another thread was running when the process was forked has not run in the child."""
    for call in _running:
        call._lock = threading.RLock()
    _running.clear()


def _known(dim: Any, sizes: dict[str, int]) -> int | None:
    try:
        return int(evaluate(dim, sizes))
    except KeyError:
        return None


def _check_ids(inputs: Sequence[Any]) -> None:
    """Two sources of one program must not share an id: answers speak in ids.

    One that stands behind a saved result may be there again, as long as it holds the same.
    """
    seen: dict[str, Source] = {}
    for source in (source for given in inputs for source in _sources(given)):
        known = seen.setdefault(source.id, source)
        if known is not source and not (_chained(inputs) and known.same_as(source)):
            raise SourceError(
                f"two sources of one program have the id {source.id!r}; give one of them another with source_id="
            )


def _chained(inputs: Sequence[Any]) -> bool:
    return any(source.lineage is not None for given in inputs for source in _sources(given))


def _sources(given: Any) -> Sequence[Source]:
    if isinstance(given, Source):
        return [given] if given.lineage is None else given.chain()
    found: Sequence[Source] = given.sources()
    return found
