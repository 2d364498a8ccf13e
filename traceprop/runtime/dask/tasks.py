"""What workers run. Every task is a pure function of its arguments, so that one that is lost with its worker is done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.ir.location import heard
from traceprop.passes.encodings import encode, to_bytes
from traceprop.passes.optimize.compress import holds
from traceprop.passes.optimize.partition import Kept, Plan, Stage, Statistic
from traceprop.runtime.dask.travel import Sent, received
from traceprop.runtime.partials import combine, finish, of_no_rows, partial
from traceprop.sources.pieces import Piece

State = tuple[bool, Any]


@dataclass(frozen=True)
class Report:
    """What the client is told of one task: what sizes were there, the positions recorded, as bytes, and warnings."""

    sizes: dict[str, int]
    captures: dict[int, bytes]
    warned: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(map(len, self.captures.values()))


@dataclass(frozen=True)
class Result:
    """What one stage gave for one partition; `rows` and `stacks` stay on the worker until somebody asks.

    `rows`: results of the program by number, `stacks`: what is put under one another, by number of the statistic, `states`: of
    the other statistics, in order.
    """

    rows: dict[int, Any]
    stacks: dict[int, Any]
    states: list[State]
    report: Report


@dataclass(frozen=True)
class Wanted:
    """Which of the program's results (`returns`) and recorded positions (`captures`) a stage gives, by number."""

    returns: tuple[int, ...]
    captures: tuple[int, ...]


def wanted_of(plan: Plan) -> list[Wanted]:
    """For each stage what the run keeps of it. Results are those of the last pass, which knows every statistic."""
    found: list[Wanted] = []
    taken: set[int] = set()
    for stage in plan.stages:
        gives = set(stage.gives)
        here = [
            k for k, kept in enumerate(plan.captures)
            if k not in taken and kept.held in gives and (kept.part is not None) == stage.over_parts
        ]  # fmt: skip
        taken.update(here)
        last = stage.over_parts and not stage.statistics
        returns = [k for k, kept in enumerate(plan.returns) if last and kept.part is not None and kept.held in gives]
        found.append(Wanted(tuple(returns), tuple(here)))
    return found


# -- the tasks ----------------------------------------------------------------------------------------------------------


def read(piece: Piece) -> Any:
    """Rows of a file."""
    return piece.value()


def hold(value: Any) -> Any:
    """What was sent, kept on the cluster; the scheduler sends it again where it is lost."""
    return value


def no_rows(value: Any) -> Any:
    """As the value, without rows."""
    return value[:0]


def run_part(program: Sent, number: int, inputs: Sequence[Any], known: Sequence[Any], record: bool) -> Result:
    """A stage over the rows of one partition. `known`: what the stage is handed beside them."""
    stages = received(program)
    plan = stages.plan
    stage = plan.stages[number]
    wanted = wanted_of(plan)[number]
    with heard() as warned:
        outcome = stages.executable(stage).run([*inputs, *known])
    values = dict(zip(stage.given, [*inputs, *known], strict=True)) | dict(
        zip(stage.gives, outcome.results, strict=True)
    )
    stacks: dict[int, Any] = {}
    states: list[State] = []
    for k, statistic in enumerate(stage.statistics):
        operands = [values[value] for value in statistic.operands]
        if statistic.form == "rows":
            stacks[k] = operands[0]
        else:
            states.append(partial(statistic, operands, outcome.sizes))
    rows = {k: values[plan.returns[k].held] for k in wanted.returns}
    captures = [(k, plan.captures[k]) for k in wanted.captures] if record else []
    return Result(rows, stacks, states, Report(outcome.sizes, _encoded(captures, values), tuple(warned)))


def _encoded(captures: Sequence[tuple[int, Kept]], values: Mapping[Any, Any]) -> dict[int, bytes]:
    found = {}
    for k, kept in captures:
        said = holds(kept.value)
        found[k] = to_bytes(encode(np.asarray(values[kept.held]), None if said == "column" else said))
    return found


def pick(result: Result, what: str, number: int) -> Any:
    """One value of a result."""
    return getattr(result, what)[number]


def states_of(result: Result) -> list[State]:
    """The states of a partition's statistics."""
    return result.states


def report_of(result: Result) -> Report:
    """What the client is told."""
    return result.report


def merge(program: Sent, number: int, states: Sequence[Sequence[State]]) -> list[State]:
    """States of neighbouring stretches of rows, made those of all of them together."""
    statistics = _folded(received(program).plan.stages[number])
    return [_merged(each, found) for each, found in zip(statistics, zip(*states, strict=True), strict=True)]


def found_of(program: Sent, number: int, states: Sequence[State]) -> list[Any]:
    """The statistics of all rows."""
    statistics = _folded(received(program).plan.stages[number])
    return [
        finish(each, state) if rows else of_no_rows(each, state)
        for each, (rows, state) in zip(statistics, states, strict=True)
    ]


def stack(program: Sent, number: int, statistic: int, pieces: Sequence[Any]) -> Any:
    """All rows of a value, on one worker."""
    each = received(program).plan.stages[number].statistics[statistic]
    return finish(each, [piece for piece in pieces if np.shape(piece)[each.axis]] or [pieces[0]])


def shapes_of(values: Sequence[Any]) -> list[tuple[int, ...]]:
    """Their shapes."""
    return [np.shape(value) for value in values]


def item(values: Sequence[Any], number: int) -> Any:
    """One of several values."""
    return values[number]


def run_once(program: Sent, number: int, known: Sequence[Any], record: bool) -> Result:
    """A stage that needs all rows, or none, on one worker: its `rows` are what it gives, by number."""
    stages = received(program)
    plan = stages.plan
    stage = plan.stages[number]
    with heard() as warned:
        outcome = stages.executable(stage).run(known)
    values = dict(zip(stage.gives, outcome.results, strict=True))
    captures = [(k, plan.captures[k]) for k in wanted_of(plan)[number].captures] if record else []
    report = Report(outcome.sizes, _encoded(captures, values), tuple(warned))
    return Result(dict(enumerate(outcome.results)), {}, [], report)


def _folded(stage: Stage) -> list[Statistic]:
    return [each for each in stage.statistics if each.form != "rows"]


def _merged(statistic: Statistic, states: Sequence[State]) -> State:
    """Neighbours two at a time, as a tree; those without rows count only where no other has any."""
    level = [state for rows, state in states if rows]
    if not level:
        return states[0]
    while len(level) > 1:
        pairs = [combine(statistic, one, other) for one, other in zip(level[::2], level[1::2], strict=False)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return True, level[0]
