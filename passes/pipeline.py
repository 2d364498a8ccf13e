"""Passes in the order in which they run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from traceprop.ir.graph import Program
from traceprop.passes.optimize.coarsen import Coarsen
from traceprop.passes.optimize.compose_maps import ComposeMaps
from traceprop.passes.optimize.compress import Compress
from traceprop.passes.optimize.cse import CSE
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.fold import Fold
from traceprop.passes.optimize.fuse import Fuse
from traceprop.passes.optimize.instrument import Instrument
from traceprop.passes.optimize.push_filters import PushFilters
from traceprop.passes.rewrite import AbstractPass

FOR_ARRAYS = (Fuse(),)
"""What makes a program over arrays ready for the back ends, where nobody has said which passes are to run."""


@dataclass(frozen=True)
class Stage:
    """A program behind a pass (`name`), which took `seconds`."""

    name: str
    program: Program
    seconds: float

    @property
    def ops(self) -> int:
        """How many ops it has, records left out."""
        return sum(not op.definition.effect for op in self.program.ops)


@dataclass(frozen=True)
class Pipeline:
    """Runs passes one after another."""

    passes: tuple[AbstractPass, ...]

    def __call__(self, program: Program) -> Program:
        for step in self.passes:
            program = step(program)
        return program

    def history(self, program: Program) -> list[Stage]:
        """The program as traced and behind each pass, with what the pass cost."""
        stages = [Stage("traced", program, 0.0)]
        for step in self.passes:
            start = time.perf_counter()
            program = step(program)
            stages.append(Stage(step.name, program, time.perf_counter() - start))
        return stages


def default_pipeline(record: bool, passes: Sequence[AbstractPass] | None = None, level: str = "op") -> Pipeline:
    """What a program goes through before it runs: captures first, so that no later pass can lose one.

    `level`: the granularity that says which, "op", "batch" or "epoch"; without `record` there are none.
    """
    chosen = tuple(passes) if passes is not None else (Fold(), CSE(), PushFilters(), ComposeMaps(), DCE())
    kept: tuple[AbstractPass, ...] = (Instrument() if level == "op" else Coarsen(level), Compress())
    return Pipeline((*kept, *chosen) if record else chosen)
