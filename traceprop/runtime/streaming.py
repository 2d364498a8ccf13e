"""Programs over rows that are read a batch at a time: `@tp.trace(batch_size=…)`.

Statistics are found in passes of their own, results come batch by batch, and what is recorded for lineage is kept in encoded
stretches. So memory holds a batch, the statistics, and what an op needs of all rows at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError, TraceError
from traceprop.ir import Expr, Param, Program, Value
from traceprop.passes.encodings import AbstractPositions, Chained, Columns, Facts, encode
from traceprop.passes.optimize.compress import holds
from traceprop.passes.optimize.partition import Kept, Plan, Statistic, partition
from traceprop.runtime.captures import Captures
from traceprop.runtime.executor import LOCAL, WritesFiles
from traceprop.runtime.parts import Given, Stages, run_stage, taken_from
from traceprop.runtime.progress import progress
from traceprop.runtime.stream_inputs import Batches
from traceprop.runtime.streamed_results import Spool
from traceprop.sources import Source
from traceprop.sources.memory import available

AT_ONCE = 0.5
"""The share of available memory that rows needed all at once may take."""


class StreamingExecutor(WritesFiles):
    """Runs programs on this machine, so many rows at a time. `batch_rows`: `None` for batches of about 16 MiB."""

    takes_inputs = True

    def __init__(self, batch_rows: int | None = None) -> None:
        self.batch_rows = batch_rows

    def compile(self, program: Program, options: Mapping[str, Any]) -> Any:
        """The whole program made ready to run on plain values, which are in memory anyway."""
        return LOCAL.compile(program, options)

    def run(self, program: Program, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """An outcome that is found when it is asked for; of what has no rows in parts, by a run as always.

        Raises `TraceError` that names the op for a program that holds for one number of rows only.
        """
        names = partitioned(program, inputs)
        if not names or program.name == "expression":
            return LOCAL.run(program, [plain(given) for given in inputs], options)
        return StreamedOutcome(plan_of(program, names, options), inputs, options, self.batch_rows)

    def __repr__(self) -> str:
        return f"<StreamingExecutor, {self.batch_rows or 'about 16 MiB of'} rows at a time>"


def plain(given: Any) -> Any:
    """An input as the engines hold it."""
    if isinstance(given, Source):
        given.check_unchanged()
        return given.value()
    return given.concrete() if hasattr(given, "concrete") else given


def partitioned(program: Program, inputs: Sequence[Any]) -> tuple[str, ...]:
    """The parameters whose rows are read in batches: sources with more than one row, results of streamed calls, and what must
    be cut as they are.
    """
    pairs = list(zip(program.params, inputs, strict=True))
    chosen = {param: param.type.dims[0] for param, given in pairs if param.rank and _has_rows(param, given)}
    shared = {dim for dim in chosen.values() if isinstance(dim, Expr)}
    return tuple(param.name for param, _ in pairs if param in chosen or (param.rank and param.type.dims[0] in shared))


def _has_rows(param: Param, given: Any) -> bool:
    """Whether an input is rows: a source's, or those that an earlier streamed call left."""
    if isinstance(given, Source):
        return given.n_rows != 1 and not given.placeholder
    return isinstance(getattr(given, "executor", None), StreamingExecutor) and isinstance(param.type.dims[0], Expr)


def plan_of(program: Program, names: tuple[str, ...], options: Mapping[str, Any]) -> Plan:
    """The plan of a program; kept with it."""
    known: dict[Any, Plan] = program.memo.setdefault("plans", {})
    key = (names, options.get("granularity"))
    if key not in known:
        try:
            known[key] = partition(program, names, options.get("granularity"), on_disk=True)
        except TraceError as error:
            raise TraceError(
                f"{program.name} cannot be run in batches: {error}. Without batch_size= it runs on all rows at once"
            ) from None
    return known[key]


class StreamedOutcome:
    """What a streamed call leaves behind, found when it is first asked for.

    `batches`: results, a batch of rows at a time. `results`, `captures`, `sizes`: as those of any run. The passes that find
    statistics run once; that over the results runs again for every loop over batches, unless results were kept.
    """

    executed = 0

    def __init__(self, plan: Plan, inputs: Sequence[Any], options: Mapping[str, Any], batch_rows: int | None) -> None:
        self.plan = plan
        params = plan.program.params
        self._inputs = dict(zip(params, inputs, strict=True))
        self._options = options
        self._read: Batches | None = None
        self._batch_rows = batch_rows
        self._recorder = Recorder(plan)
        self._stages: Stages | None = None
        self._results: tuple[Any, ...] | None = None
        self._whole: Captures | None = None
        self._lock = threading.RLock()
        self._known_sizes = {
            str(param.type.dims[0]): given.n_rows
            for param, given in self._inputs.items()
            if isinstance(given, Source) and param.rank and isinstance(param.type.dims[0], Expr)
        }

    # -- passes ---------------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int | None:
        """The number of the stage that gives results batch by batch; `None` where all results are known before."""
        stages = self.plan.stages
        return next((k for k, stage in enumerate(stages) if stage.over_parts and not stage.statistics), None)

    def _prepared(self) -> Stages:
        """All passes before the one over results, run once."""
        with self._lock:
            if self._stages is None:
                whole = {p: plain(given) for p, given in self._inputs.items() if p not in self.plan.partitioned}
                stages = Stages(self.plan, whole, self._options.get("passes"), self._options.get("world", "numpy"))
                self._read = Batches(self.plan, self._inputs, self._batch_rows, stages.sorted)
                check_at_once(self.plan, self._read)
                recorder = Recorder(self.plan)
                for number in range(len(self.plan.stages) if self.last is None else self.last):
                    for given in self._stage(stages, number):
                        recorder.add(given)
                self._recorder = recorder
                self._stages = stages
            return self._stages

    def _stage(self, stages: Stages, number: int) -> Iterator[Given]:
        stage = self.plan.stages[number]
        assert self._read is not None
        wanted = taken_from(self.plan)[number]
        with progress(f"{stage.program.name}, rows", self._read.count(stage.domains)) as done:
            for given in run_stage(stages, stage, self._read, wanted):
                yield given
                done(given.rows)

    def _last_pass(self) -> Iterator[Given]:
        """Batch after batch of results. The first such pass that comes to its end tells sizes and recorded positions."""
        stages = self._prepared()
        if self.last is None:
            return
        recorder = None if self._whole is not None else self._recorder.copy()
        for given in self._stage(stages, self.last):
            if recorder is not None:
                recorder.add(given)
            yield given
        if recorder is not None:
            self._finish(recorder)

    def _finish(self, recorder: Recorder) -> None:
        stages = self._prepared()
        with self._lock:
            if self._whole is None:
                self._whole = recorder.captures(stages)

    # -- what is asked for ----------------------------------------------------------------------------------------------

    def batches(self, values: Sequence[Value], empties: bool = False) -> Iterator[tuple[Any, ...]]:
        """Some results, a batch of rows at a time; those of no rows are left out, unless `empties`.

        Raises `ExecutionError` for a result without rows of its own (a mean), which is no batch of anything.
        """
        kept = [next(each for each in self.plan.returns if each.value is value) for value in values]
        spaces = {each.part.space if each.part is not None else None for each in kept}
        if None in spaces or len(spaces) > 1:
            raise ExecutionError(
                f"{self.plan.program.name} gives {', '.join(str(each.value.type) for each in kept)}: batches are of results that "
                "have rows of the sources in the order of the sources, and the same rows; ask for others as a whole"
            )
        if self._results is not None:
            return self._cut(kept, empties)
        return self._batches(kept, empties)

    def _batches(self, kept: Sequence[Kept], empties: bool) -> Iterator[tuple[Any, ...]]:
        for given in self._last_pass():
            pieces = tuple(given.values[each] for each in kept)
            if empties or np.shape(pieces[0])[kept[0].part.axis]:  # type: ignore[union-attr]
                yield pieces

    def _cut(self, kept: Sequence[Kept], empties: bool) -> Iterator[tuple[Any, ...]]:
        """Of results that are at hand."""
        whole = [self._results[self.plan.returns.index(each)] for each in kept]  # type: ignore[index]
        assert self._read is not None
        rows = np.shape(whole[0])[kept[0].part.axis]  # type: ignore[union-attr]
        size = self._read.size(kept[0].part.space.domains[0])  # type: ignore[union-attr]
        for start in range(0, max(rows, int(empties)), size):
            axes = (each.part.axis for each in kept if each.part is not None)
            stretch = slice(start, start + size)
            yield tuple(
                value[(slice(None),) * axis + (stretch,)] if axis else value[stretch]
                for value, axis in zip(whole, axes, strict=True)
            )

    @property
    def results(self) -> tuple[Any, ...]:
        """All results as a whole; arrays that memory does not hold well are mapped from a temporary file."""
        with self._lock:
            if self._results is None:
                stages = self._prepared()
                spools = {each: Spool(each.part.axis) for each in self.plan.returns if each.part is not None}
                try:
                    for given in self._last_pass() if spools else ():
                        for each, spool in spools.items():
                            spool.add(given.values[each])
                except BaseException:
                    for spool in spools.values():
                        spool.abandon()
                    raise
                self._results = tuple(
                    stages.known[each.held] if each.part is None else spools[each].whole() for each in self.plan.returns
                )
            return self._results

    def _drained(self) -> Captures:
        if self._whole is None:
            stages = self._prepared()
            if self.last is None or self.plan.returns and not self._needs_last(stages):
                self._finish(self._recorder)
            else:
                for _ in self._last_pass():
                    pass
        assert self._whole is not None
        return self._whole

    def _needs_last(self, stages: Stages) -> bool:
        """Whether only the pass over results tells a size or records something."""
        assert self.last is not None
        recorded = any(each in self.plan.captures for each in taken_from(self.plan)[self.last])
        known = self._known_sizes.keys() | stages.sizes.keys()
        return recorded or any(str(space.dim) not in known for space in self.plan.spaces)

    @property
    def captures(self) -> Captures:
        """Recorded positions, by value; a pass over the rows finds them where none has come to its end."""
        return self._drained()

    @property
    def sizes(self) -> dict[str, int]:
        """What every size symbol stands for."""
        self._drained()
        return self._known_sizes | self._prepared().sizes


class Recorder:
    """Recorded positions of the parts that are done, each stretch encoded."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stretches: dict[Kept, list[tuple[AbstractPositions, list[int]]]] = {}

    def copy(self) -> Recorder:
        """The same, to be added to."""
        made = Recorder(self._plan)
        made._stretches = {kept: list(stretches) for kept, stretches in self._stretches.items()}
        return made

    def add(self, given: Given) -> None:
        """What a part recorded."""
        for kept in self._plan.captures:
            if kept in given.values:
                numbers = encode(np.asarray(given.values[kept]), _hint(kept.value))
                self._stretches.setdefault(kept, []).append((numbers, given.offsets.get(kept, [])))

    def captures(self, stages: Stages) -> Captures:
        """Of the whole run, by value."""
        found: dict[Value, Any] = {}
        for kept in self._plan.captures:
            if kept.part is None:
                found[kept.value] = stages.known[kept.held]
            else:
                found[kept.value] = _chained(self._stretches[kept], kept.part.axis)
        return Captures(found)


def _hint(value: Value) -> str | None:
    said = holds(value)
    return None if said in ("column", "permutation") else said


def _chained(stretches: list[tuple[AbstractPositions, list[int]]], axis: int) -> AbstractPositions:
    parts = [part for part, _ in stretches]
    if axis:
        return encode(np.concatenate([np.asarray(part) for part in parts], axis=axis))
    across, dtype = parts[0].shape[1:], parts[0].dtype
    if any(len(offsets) > 1 for _, offsets in stretches):  # pairs: each column moves by rows of its own
        columns = [
            Chained.of([_column(part, k) for part in parts], [offsets[k] for _, offsets in stretches], (), dtype)
            for k in range(across[0])
        ]
        low, high = min(column.facts.low for column in columns), max(column.facts.high for column in columns)
        return Columns(Facts((columns[0].length, *across), dtype, low, high), columns)
    if len(parts) == 1 and not any(stretches[0][1]):
        return parts[0]
    return Chained.of(parts, [offsets[0] if offsets else 0 for _, offsets in stretches], across, dtype)


def _column(part: AbstractPositions, k: int) -> AbstractPositions:
    return part.column(k) if isinstance(part, Columns) else encode(np.asarray(part)[:, k])


def check_at_once(plan: Plan, read: Batches) -> None:
    """Raises `TraceError` that names the op and the way out where it needs more rows at once than memory holds well."""
    room = int(available() * AT_ONCE)
    for statistic in plan.gathered:
        size = _bytes_at_once(statistic, plan, read)
        if size > room:
            op = statistic.op
            what = "an op" if op is None else f"{op.label} at {op.location or 'an unknown line'}"
            raise TraceError(
                f"{what} needs all rows of {statistic.found.type} at once, about {size / 1e9:.1f} GB, and {room / 1e9:.1f} GB "
                "may be taken; choose rows or columns before it, or do it with a database and read the file that it writes"
            )


def _bytes_at_once(statistic: Statistic, plan: Plan, read: Batches) -> int:
    rows = read.count(range(len(set(plan.domains))))
    kind = statistic.found.type
    cells = [field.dtype for field in kind.fields] if hasattr(kind, "fields") else [kind.dtype] * _across(kind.dims[1:])
    return rows * sum(24 if dtype == "str" else 8 for dtype in cells)


def _across(dims: Sequence[Any]) -> int:
    return int(np.prod([dim if isinstance(dim, int) else 16 for dim in dims], dtype=object))
