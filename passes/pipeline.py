"""Passes in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from traceprop.ir.graph import Program
from traceprop.passes.optimize.cse import CSE
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.fold import Fold
from traceprop.passes.optimize.instrument import Instrument
from traceprop.passes.rewrite import AbstractPass


@dataclass(frozen=True)
class Pipeline:
    """Runs passes one after another; `seen` is told the pass's name and the program behind each."""

    passes: tuple[AbstractPass, ...]

    def __call__(self, program: Program, seen: Callable[[str, Program], None] | None = None) -> Program:
        for step in self.passes:
            program = step(program)
            if seen:
                seen(step.name, program)
        return program


def default_pipeline(record: bool, passes: Sequence[AbstractPass] | None = None) -> Pipeline:
    """What a program goes through before it runs: captures first, so that no later pass can lose one."""
    chosen = tuple(passes) if passes is not None else (Fold(), CSE(), DCE())
    return Pipeline((Instrument(), *chosen) if record else chosen)
