"""A compiled program: its generated code, callable on plain values."""

from __future__ import annotations

import itertools
import linecache
import textwrap
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from traceprop.errors import TracepropError
from traceprop.ir import Op, Program, TableType, Value
from traceprop.ir.executor import Outcome
from traceprop.ir.forks import check
from traceprop.ir.opset import record as record_op
from traceprop.passes.optimize.asked import asked
from traceprop.passes.pipeline import FOR_ARRAYS, Pipeline, default_pipeline
from traceprop.runtime.backends import Choice
from traceprop.runtime.captures import NOTHING, WAITING, Captures
from traceprop.runtime.codegen import generate
from traceprop.runtime.cost import ROWS, Cost, predicted
from traceprop.runtime.failures import failure
from traceprop.runtime.own_code import ByOwnCode
from traceprop.runtime.owned import owned
from traceprop.runtime.profiling import Profile, profile
from traceprop.runtime.worlds import eagerly, engine, entered

_numbers = itertools.count()


class Executable:
    """A program made ready to run.

    `.program`: as it runs, behind the passes; `.code`: the generated source; called with one plain value per parameter
    it gives plain values.
    """

    def __init__(
        self,
        program: Program,
        record: bool,
        passes: Sequence[Any] | None = None,
        world: str = "numpy",
        level: str = "op",
        chosen: Choice | None = None,
    ) -> None:
        self.traced = program
        self.records = record
        self.level = level if record else None
        self._world, self._backend = world, chosen.backend if chosen else "auto"
        self.pipeline: Pipeline = default_pipeline(record, passes, level)
        passed = self.pipeline(program)
        self._executed = sum(not op.definition.effect for op in passed.ops)
        if passes is None and world == "numpy":
            self.pipeline = Pipeline((*self.pipeline.passes, *FOR_ARRAYS))
            passed = Pipeline(FOR_ARRAYS)(passed)
        self.program = passed
        self._kept: tuple[Value, ...] = asked(program, level if record else None).recorded
        code = generate(self.program, chosen)
        self._notes = code.notes
        self.code = code.source
        self.op_of_line = code.op_of_line
        self._file = f"<traceprop {program.name} {next(_numbers)}>"
        records = [op for op in self.program.ops if op.definition is record_op]
        self._records = len(records)
        self._hints = {self._kept[op.attrs["slot"]]: op.attrs["holds"] for op in records if "holds" in op.attrs}
        linecache.cache[self._file] = (len(self.code), None, self.code.splitlines(True), self._file)
        weakref.finalize(self, linecache.cache.pop, self._file, None)
        scope = {**code.scope, "__name__": "traceprop.generated"}  # no frame of the user's: warnings look past it
        exec(compile(code.source, self._file, "exec"), scope)  # our own text: names come from tables, values by repr
        function = scope[code.source.split("(", 1)[0].removeprefix("def ")]
        self.scope = code.scope
        self._threads = _threads(self.program, world)
        self._function = entered(function, len(self._kept), world, self._backend)
        own = program.memo.get("own") if passes is None and not self._kept and self._backend != "torch" else None
        self._own = None if own is None else ByOwnCode(own)

    @property
    def kept(self) -> tuple[Value, ...]:
        """The traced values that a run keeps for lineage, by slot."""
        return self._kept

    def cost(self, rows: int = ROWS, sizes: Mapping[str, int] | None = None) -> Cost:
        """What keeping this program's lineage costs per row, before it runs, for so many rows of input.

        `sizes`: what size symbols stand for that only the data can tell, `{"K": 500}`; guessed where they are not given.
        """
        if rows < 1:
            raise ValueError(f"rows is at least 1, not {rows}")
        return predicted(self.program, self.level, rows, sizes)

    def profile(self, inputs: Callable[[], Sequence[tuple[str, Any]]], granularity: str | None = None) -> Profile:
        """Where the time of a run goes, line by line; `inputs` gives name and value of each parameter. See `f.profile`."""
        return profile(self, inputs, granularity)

    def line_by_line(self, function: Any) -> Any:
        """A function like the generated one, entered so that its lines run one after another."""
        return eagerly(function, self._world)

    def __call__(self, *values: Any) -> Any:
        results = self.run(values).results
        return results[0] if len(results) == 1 else results

    def run(self, values: Sequence[Any]) -> Outcome:
        """Runs the code once. Raises `ExecutionError` that names the op and the user's line where an op fails."""
        if self._threads is not None:
            check(self._threads, f"running {self.traced.name!r}")
        if self._own is not None:
            found_by_it = self._own.run(values, self._function)
            if found_by_it is not None:
                return Outcome(owned(found_by_it[0], values), NOTHING, found_by_it[1], self._executed)
        captures: list[Any] = [None] * len(self._kept)
        try:
            results, sizes = self._function(captures, *values)
        except TracepropError:
            raise
        except Exception as error:
            raise failure(error, self._failed(error), self.traced.name) from error
        results = owned(results, values)
        if not captures:
            return Outcome(results, NOTHING, sizes, self._executed)
        found = {value: held for value, held in zip(self._kept, captures, strict=True) if held is not None}
        kept = Captures(found, self._hints)
        WAITING.add(kept)
        return Outcome(results, kept, sizes, self._executed)

    def _failed(self, error: Exception) -> Op | None:
        lines = [
            line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == self._file
        ]
        return self.op_of_line.get(lines[-1]) if lines else None

    def explain(self) -> str:
        """What runs this program, and what it keeps, in words."""
        kept = "no lineage is recorded" if not self.records else f"{self._records} index arrays are recorded per run"
        by_own_code = self._own is not None and self._own.in_use
        runs = "the function's own PyTorch code" if by_own_code else engine(self._world, self._backend)
        said = (
            f"{self.traced.name}: {len(self.traced.ops)} ops as traced, {self._executed} as run, by "
            f"{runs} on this machine; {kept}; "
            f"passes: {', '.join(step.name for step in self.pipeline.passes)}"
        )
        return "\n".join([said, *(f"segment of {note}" for note in self._notes)])

    def __repr__(self) -> str:
        return f"<executable {self.traced.name}>\n{textwrap.indent(self.code, '  ')}"


def _threads(program: Program, world: str) -> str | None:
    """The library that a program's run needs the threads of."""
    if world == "jax":
        return "jax"
    values = (*program.params, *(op.result for op in program.ops))
    return "polars" if any(isinstance(value.type, TableType) for value in values) else None
