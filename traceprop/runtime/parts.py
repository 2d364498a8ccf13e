"""A plan run over rows that come in parts, pass after pass; positions are moved to where they stand in the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traceprop.ir import Dim, Expr, Param, Value, symbol
from traceprop.ir.executor import Outcome
from traceprop.ir.expr import evaluate
from traceprop.passes.optimize.partition import Kept, Plan, Space, Stage
from traceprop.runtime.executable import Executable
from traceprop.runtime.partials import Fold, stacked

Parts = Callable[[], Iterable[Sequence[Any]]]
"""Begins a pass over the rows: gives one plain value per partitioned parameter, part after part, in the order of domains."""


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

    def once(self, stage: Stage) -> None:
        """Runs a stage that is not run part by part, and keeps what it gives."""
        outcome = self.executable(stage).run([self.known[value] for value in stage.given])
        self.known.update(zip(stage.gives, outcome.results, strict=True))
        self.sizes.update(outcome.sizes)

    def part(self, stage: Stage, inputs: Sequence[Any]) -> PartRun:
        """Runs a stage on one part: a plain value per partitioned parameter."""
        count = len(self.plan.partitioned)
        given = [*inputs, *(self.known[value] for value in stage.given[count:])]
        outcome = self.executable(stage).run(given)
        return PartRun(dict(zip(stage.gives, outcome.results, strict=True)), outcome.sizes)


@dataclass
class Counted:
    """How many rows of every space earlier parts had: where the next part's rows stand in the whole."""

    totals: dict[Space, int] = field(default_factory=dict)

    def moved(self, kept: Kept, run: PartRun) -> Any:
        """What a part holds of a value; positions as those of the whole run, int64."""
        assert kept.part is not None
        if not kept.part.points:
            return run.values[kept.held]
        numbers = np.asarray(run.values[kept.held])
        points = [self.totals.get(space, 0) if space is not None else 0 for space in kept.part.points]
        if not any(points):
            return numbers
        return numbers + (np.array(points) if numbers.ndim > 1 else points[0])

    def add(self, run: PartRun, spaces: Iterable[Space]) -> None:
        """Counts a part that is done."""
        for space in spaces:
            rows = run.rows_in(space)
            if rows is not None:
                self.totals[space] = self.totals.get(space, 0) + rows


Sink = Callable[[Mapping[Kept, Any], PartRun], None]
"""Takes what one part gave of results, and of recorded positions, moved to where they stand in the whole."""


def run_plan(stages: Stages, parts: Parts, sink: Sink) -> None:
    """All stages of a plan, in order; what parts give of results and recorded positions goes to `sink`, in order of the parts."""
    plan = stages.plan
    wanted = [kept for kept in (*plan.returns, *plan.captures) if kept.part is not None]
    taken: set[Kept] = set()
    for stage in plan.stages:
        if not stage.over_parts:
            stages.once(stage)
            continue
        folds = [Fold(statistic) for statistic in stage.statistics]
        counted = Counted()
        gives = set(stage.gives)
        mine = [kept for kept in wanted if kept not in taken and kept.held in gives and not _later(kept, stage, plan)]
        taken.update(mine)
        for inputs in parts():
            run = stages.part(stage, inputs)
            for fold in folds:
                fold.add(
                    [run.values[value] if value in gives else stages.known[value] for value in fold.statistic.operands],
                    run.sizes,
                )
            if mine:
                sink({kept: counted.moved(kept, run) for kept in mine}, run)
            counted.add(run, plan.spaces)
        for fold in folds:
            stages.learn(fold.statistic.found, fold.result())
        for space, rows in counted.totals.items():
            stages.name(space.dim, rows)


def _later(kept: Kept, stage: Stage, plan: Plan) -> bool:
    """Whether it is a result, and this is not the pass that gives results."""
    return kept in plan.returns and bool(stage.statistics)


def slices(plan: Plan, values: Sequence[Any], cuts: Sequence[Sequence[int]]) -> Parts:
    """Parts of values in memory, one per partitioned parameter; `cuts`: for each domain the rows at which a part ends."""

    def parts() -> Iterable[Sequence[Any]]:
        count = len(cuts)
        rows = [0] * count
        for value, domain in zip(values, plan.domains, strict=True):
            rows[domain] = len(value)
        for domain in range(count):
            edges = [0, *sorted({min(cut, rows[domain]) for cut in cuts[domain]} - {0, rows[domain]}), rows[domain]]
            for lo, hi in itertools.pairwise(edges):
                yield [
                    value[lo:hi] if mine == domain else value[:0]
                    for value, mine in zip(values, plan.domains, strict=True)
                ]

    return parts


def in_memory(plan: Plan, whole: Mapping[Param, Any], parts: Parts) -> Outcome:
    """The outcome of a plan with all results and recorded positions put together again."""
    stages = Stages(plan, whole)
    pieces: dict[Kept, list[Any]] = {}

    def sink(given: Mapping[Kept, Any], run: PartRun) -> None:
        for kept, piece in given.items():
            pieces.setdefault(kept, []).append(piece)

    run_plan(stages, parts, sink)

    def value(kept: Kept) -> Any:
        return stages.known[kept.held] if kept.part is None else stacked(pieces[kept], kept.part.axis)

    captures = {kept.value: value(kept) for kept in plan.captures}
    return Outcome(tuple(value(kept) for kept in plan.returns), captures, stages.sizes)
