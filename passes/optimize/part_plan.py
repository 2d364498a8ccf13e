"""What a plan for rows in parts is made of: spaces of rows, values of parts, statistics, and stages in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from traceprop.ir.dump import dump
from traceprop.ir.expr import Dim
from traceprop.ir.graph import Op, Param, Program, Value


@dataclass(frozen=True)
class Space:
    """Rows that stand in the same parts in the same order: a source's, those that a filter left, those of tables stacked.

    `domains`: the sources' rows behind them, by number and in order; a part has rows of one domain only, so rows of several
    stand in order where the domains do. `dim`: how many there are.
    """

    key: tuple[Any, ...]
    dim: Dim
    domains: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A value of which each part holds its own rows, along `axis`; known from pass number `level` on.

    `points`: what its numbers are positions in, one space per column (`None`: not of parts), for positions that must be moved
    by what stands in earlier parts; empty for a value that is no such positions.
    """

    held: Value
    axis: int
    space: Space
    level: int
    points: tuple[Space | None, ...] = ()


@dataclass(frozen=True)
class Statistic:
    """What is folded over all parts: `form` says how (`traceprop.runtime.partials.FORMS`), `found` is the result.

    `operands` are the values of a part that go in; `op` is what the fold computes of all rows at once. For "rows", which puts
    the parts of a value under one another along `axis`, it is the op that needs them (`None` for the keys of groups).

    "splitters" are keys between which rows are about evenly many, and "sorted" puts rows into the order of a sort, on disk: its
    operands are the keys, then the values whose rows are taken, and behind it `spilled` come in parts as sources do: the
    positions, then each of these values.
    """

    form: str
    found: Param
    operands: tuple[Value, ...]
    op: Op | None = None
    axis: int = 0
    spilled: tuple[Param, ...] = ()
    splitters: Param | None = None


@dataclass(frozen=True)
class Kept:
    """A value that is wanted of the run: `value` of the whole program is `held` in a stage; `part` says where its rows stand."""

    value: Value
    held: Value
    part: Part | None


@dataclass(frozen=True, eq=False)
class Stage:
    """A program that is run once per part (`over_parts`), or once; with what its parameters and results stand for.

    `parts`: the parameters, the first ones, whose rows come in parts.
    `given`, `gives`: values that stages hand to one another. A statistic's `found` is there for the stages behind. `domains`:
    whose rows it looks at; parts of others give it nothing.
    """

    program: Program
    given: tuple[Value, ...]
    gives: tuple[Value, ...]
    over_parts: bool
    statistics: tuple[Statistic, ...] = ()
    domains: tuple[int, ...] = ()
    parts: tuple[Param, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """Stages in the order in which they run: before the rows, over them, between two passes, and over them again.

    `program`: the whole, without what nobody asked for. `partitioned`: its parameters whose rows come in parts; those of equal
    `domains` numbers are cut at the same rows. `returns` and `captures` say where the stages hold the whole program's results
    and recorded positions. `spaces`: all that parts have rows of.
    """

    program: Program
    partitioned: tuple[Param, ...]
    domains: tuple[int, ...]
    stages: tuple[Stage, ...]
    returns: tuple[Kept, ...]
    captures: tuple[Kept, ...]
    spaces: tuple[Space, ...]

    @property
    def passes(self) -> int:
        """How often the rows are read."""
        return sum(stage.over_parts for stage in self.stages)

    @property
    def gathered(self) -> tuple[Statistic, ...]:
        """Values of which all rows must be at hand at once."""
        return tuple(each for stage in self.stages for each in stage.statistics if each.form == "rows")

    @property
    def sorted(self) -> tuple[Statistic, ...]:
        """Sorts on disk."""
        return tuple(each for stage in self.stages for each in stage.statistics if each.form == "sorted")

    def __str__(self) -> str:
        return "\n".join(_text(stage) for stage in self.stages)


def _text(stage: Stage) -> str:
    head = "# for each part" if stage.over_parts else "# once"
    folds = [
        f"# %{each.found.name}: {each.found.type} = {each.form} of {', '.join(_numbers(stage, each))}"
        for each in stage.statistics
    ]
    return "\n".join([head, dump(stage.program, maps=False, locations=False).rstrip(), *folds, ""])


def _numbers(stage: Stage, statistic: Statistic) -> list[str]:
    return [f"result {stage.gives.index(value)}" for value in statistic.operands]
