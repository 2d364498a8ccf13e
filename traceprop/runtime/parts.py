"""A plan run over rows that come in parts, pass after pass; positions are moved to where they stand in the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traceprop.ir import Dim, Expr, Param, Value, symbol
from traceprop.ir.executor import Outcome
from traceprop.ir.expr import evaluate
from traceprop.passes.optimize.partition import Kept, Plan, Space, Stage, Statistic
from traceprop.runtime.executable import Executable
from traceprop.runtime.partials import Fold, stacked

Parts = Callable[[Stage], Iterable[Sequence[Any]]]
"""Begins a pass over the rows of a stage's domains: gives one plain value per partitioned parameter, part after part, in the
order of domains; at least one part, of no rows if there are none."""


@dataclass
class PartRun:
    """What one stage gave for one part: `values` by stage value, `sizes` of the symbols in this part."""

    values: dict[Value, Any]
    sizes: dict[str, int]

    def rows_in(self, space: Space) -> int | None:
        """How many rows of a space the part has; `None` where the stage does not know."""
        try:
            return int(evaluate(space.dim, self.sizes))
        except KeyError:
            return None


class Stages:
    """The programs of a plan, compiled once each and run on what is known so far (`known`: by stage value)."""

    def __init__(
        self, plan: Plan, whole: Mapping[Param, Any], passes: Sequence[Any] | None = None, world: str = "numpy"
    ) -> None:
        self.plan = plan
        self.known: dict[Value, Any] = dict(whole)
        self.sizes: dict[str, int] = {}
        self.sorted: list[Any] = []
        self._options = (passes, world)

    def executable(self, stage: Stage) -> Executable:
        """The compiled program of a stage; kept with its program."""
        made: dict[Any, Executable] = stage.program.memo.setdefault("in parts", {})
        if self._options not in made:
            passes, world = self._options
            made[self._options] = Executable(stage.program, record=False, passes=passes, world=world)
        return made[self._options]

    def learn(self, found: Value, value: Any) -> None:
        """Keeps a statistic, and the sizes that it shows."""
        self.known[found] = value
        for dim, size in zip(found.type.dims, np.shape(value), strict=False):
            self.name(dim, size)

    def name(self, dim: Dim, size: int) -> None:
        """Keeps what a size stands for in the whole run."""
        if isinstance(dim, Expr) and dim == symbol(str(dim)):
            self.sizes.setdefault(str(dim), int(size))

    def sorter(self, statistic: Statistic) -> Any:
        """Where the rows of a sort on disk go, and come back from."""
        from traceprop.runtime.sorted_rows import SortedRows

        assert statistic.splitters is not None
        made = SortedRows(statistic, self.known[statistic.splitters])
        self.sorted.append(made)
        return made

    def once(self, stage: Stage) -> None:
        """Runs a stage that is not run part by part, and keeps what it gives."""
        outcome = self.executable(stage).run([self.known[value] for value in stage.given])
        self.known.update(zip(stage.gives, outcome.results, strict=True))
        self.sizes.update(outcome.sizes)

    def part(self, stage: Stage, inputs: Sequence[Any]) -> PartRun:
        """Runs a stage on one part: a plain value per partitioned parameter."""
        given = [*inputs, *(self.known[value] for value in stage.given[len(stage.parts) :])]
        outcome = self.executable(stage).run(given)
        return PartRun(dict(zip(stage.gives, outcome.results, strict=True)), outcome.sizes)


@dataclass
class Counted:
    """How many rows of every space earlier parts had: where the next part's rows stand in the whole."""

    totals: dict[Space, int] = field(default_factory=dict)

    def offsets(self, kept: Kept) -> list[int]:
        """By how much the next part's positions stand further on in the whole: one number per column of them."""
        assert kept.part is not None
        return [self.totals.get(space, 0) if space is not None else 0 for space in kept.part.points]

    def add(self, run: PartRun, spaces: Iterable[Space]) -> None:
        """Counts a part that is done."""
        for space in spaces:
            rows = run.rows_in(space)
            if rows is not None:
                self.totals[space] = self.totals.get(space, 0) + rows


@dataclass
class Given:
    """What one part gave of what is wanted of the run: `values` as the part has them, and `offsets` for positions."""

    values: dict[Kept, Any]
    offsets: dict[Kept, list[int]]
    rows: int

    def moved(self, kept: Kept) -> Any:
        """A part's value; positions as those of the whole run."""
        held, offsets = self.values[kept], self.offsets.get(kept, [])
        if not any(offsets):
            return held
        numbers = np.asarray(held)
        return numbers + (np.array(offsets) if numbers.ndim > 1 else offsets[0])


def taken_from(plan: Plan) -> list[list[Kept]]:
    """For every stage what is wanted of its parts: recorded positions from the first that has them, results from the last."""
    last = max((k for k, stage in enumerate(plan.stages) if stage.over_parts and not stage.statistics), default=-1)
    found: list[list[Kept]] = [[] for _ in plan.stages]
    for kept in dict.fromkeys((*plan.returns, *plan.captures)):
        if kept.part is not None:
            has = [k for k, stage in enumerate(plan.stages) if stage.over_parts and kept.held in stage.gives]
            found[last if kept in plan.returns else has[0]].append(kept)
    return found


def run_stage(stages: Stages, stage: Stage, parts: Parts, wanted: Sequence[Kept]) -> Iterator[Given]:
    """Runs one stage: once, or part after part, each of which gives what is wanted of it. Statistics are known at the end."""
    if not stage.over_parts:
        stages.once(stage)
        return
    plan, gives = stages.plan, set(stage.gives)
    spaces = [space for space in plan.spaces if set(space.domains) <= set(stage.domains)]
    folds = [Fold(statistic) for statistic in stage.statistics if statistic.form != "sorted"]
    sorters = [stages.sorter(statistic) for statistic in stage.statistics if statistic.form == "sorted"]
    counted = Counted()
    for inputs in parts(stage):
        run = stages.part(stage, inputs)
        for fold in (*folds, *sorters):
            operands = fold.statistic.operands
            fold.add([run.values[v] if v in gives else stages.known[v] for v in operands], run.sizes)
        rows = max((len(value) for value in inputs), default=0)
        yield Given(
            {kept: run.values[kept.held] for kept in wanted},
            {kept: counted.offsets(kept) for kept in wanted if kept.part is not None and kept.part.points},
            rows,
        )
        counted.add(run, spaces)
        del inputs, run
    for sorter in sorters:
        sorter.finish()
    for fold in folds:
        stages.learn(fold.statistic.found, fold.result())
    for space, rows in counted.totals.items():
        stages.name(space.dim, rows)


def slices(plan: Plan, values: Sequence[Any], cuts: Sequence[Sequence[int]]) -> Parts:
    """Parts of values in memory, one per partitioned parameter; `cuts`: for each domain the rows at which a part ends."""

    def parts(stage: Stage) -> Iterable[Sequence[Any]]:
        rows = dict(zip(plan.domains, map(len, values), strict=True))
        for domain in stage.domains:
            inner = {min(cut, rows[domain]) for cut in cuts[domain]} - {0, rows[domain]}
            for lo, hi in itertools.pairwise([0, *sorted(inner), rows[domain]]):
                yield [v[lo:hi] if mine == domain else v[:0] for v, mine in zip(values, plan.domains, strict=True)]
        if not stage.domains:
            yield [value[:0] for value in values]

    return parts


def in_memory(plan: Plan, whole: Mapping[Param, Any], parts: Parts) -> Outcome:
    """The outcome of a plan with all results and recorded positions put together again."""
    stages = Stages(plan, whole)
    pieces: dict[Kept, list[Any]] = {}
    for stage, wanted in zip(plan.stages, taken_from(plan), strict=True):
        for given in run_stage(stages, stage, parts, wanted):
            for kept in wanted:
                pieces.setdefault(kept, []).append(given.moved(kept))

    def value(kept: Kept) -> Any:
        return stages.known[kept.held] if kept.part is None else stacked(pieces[kept], kept.part.axis)

    captures = {kept.value: value(kept) for kept in plan.captures}
    return Outcome(tuple(value(kept) for kept in plan.returns), captures, stages.sizes)
