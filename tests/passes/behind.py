"""What a call is held to behind passes: the values, captures and lineage that it has as traced."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.ir import verify
from traceprop.lineage.view import View
from traceprop.passes import optimize
from traceprop.passes.rewrite import AbstractPass
from traceprop.runtime.executable import Executable
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy

OF_OTHER_PROGRAMS = {"freeze", "free_rows", "reweight"}
"""They answer another question, so their programs are others."""
OF_CAPTURES = {"instrument", "coarsen"}
"""They say what a run keeps; `Executable` puts them first."""
KINDS = ("direct", "aggregate", "control", "order")
Steps = Sequence[AbstractPass]


def passes() -> dict[str, AbstractPass]:
    """One of each class of pass under passes/optimize, by name: a new file is tested from its first day."""
    found: dict[str, AbstractPass] = {}
    for module in pkgutil.iter_modules(optimize.__path__):
        for step in vars(importlib.import_module(f"{optimize.__name__}.{module.name}")).values():
            concrete = inspect.isclass(step) and issubclass(step, AbstractPass) and not inspect.isabstract(step)
            if concrete and step.name not in OF_OTHER_PROGRAMS | OF_CAPTURES:
                found[step.name] = step()
    return found


PASSES = passes()


def run_of(call: Call, steps: Steps) -> Any:
    """One run behind some passes, in the call's own world."""
    world = str(call.options.get("world", "numpy"))
    return Executable(call.program, record=True, passes=steps, world=world).run(call.concrete_inputs())


def check_values(call: Call, steps: Steps, same: Callable[[Any, Any], None]) -> None:
    """Those of the program as traced, by `same`, and the same captures."""
    plain, passed = run_of(call, ()), run_of(call, steps)
    for got, want in zip(passed.results, plain.results, strict=True):
        same(got, want)
    assert set(passed.captures) == set(plain.captures)
    for index, positions in plain.captures.items():
        np.testing.assert_array_equal(passed.captures[index], positions)


def check_lineage(call: Call, steps: Steps, cells_at_most: int = 12) -> None:
    """The rewritten program, asked itself: its maps name the cells that those of the traced one name, by the same kinds.

    Only that a row may be known to be the row itself where it was one of many: a reshape of one row reads position 0, and
    without the reshape it is position i.
    """
    rewritten = call.program
    for step in steps:
        rewritten = step(rewritten)
        verify(rewritten)
    other = Call(rewritten, call.inputs, call.executor, {**call.options, "passes": ()})
    for before, behind in zip(call.program.returns, rewritten.returns, strict=True):
        ours, theirs = View([Lazy.of(behind, call=other)]), View([Lazy.of(before, call=call)])
        shape = Lazy.of(before, call=call).concrete_shape()
        for cell in list(np.ndindex(shape))[:cells_at_most]:
            a, b = cells(ours, cell), cells(theirs, cell)
            assert a["control"] == b["control"]
            assert a["order"] == b["order"]
            assert a["direct"] | a["aggregate"] == b["direct"] | b["aggregate"]
            assert a["direct"] >= b["direct"]


def cells(view: View, cell: tuple[int, ...]) -> dict[str, set[tuple[Any, ...]]]:
    """By kind, the source cells that a cell depends on."""
    return {
        kind: {(source, *place) for source, found in view.cells(cell, kind).items() for place in found.tolist()}
        for kind in KINDS
    }
