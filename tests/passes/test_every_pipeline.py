"""Random programs stay what they are behind every pass there is, and behind random pipelines of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lineage.programs import ANY, FINITE, programs
from tests.lineage.test_values import same, traced
from traceprop.ir import verify
from traceprop.lineage.view import View
from traceprop.passes import optimize
from traceprop.passes.rewrite import AbstractPass
from traceprop.runtime.executable import Executable
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")

OF_OTHER_PROGRAMS = {"freeze", "free_rows", "reweight"}
"""They answer another question, so their programs are others."""
OF_CAPTURES = {"instrument", "coarsen"}
"""They say what a run keeps; `Executable` puts them first."""
KINDS = ("direct", "aggregate", "control", "order")


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
EACH = pytest.mark.parametrize("name", sorted(PASSES))
PIPELINES = st.lists(st.sampled_from(sorted(PASSES)), min_size=2, max_size=6)


def run_of(lazy: Any, steps: list[AbstractPass] | tuple[AbstractPass, ...]) -> Any:
    call = lazy.call()
    return Executable(call.program, record=True, passes=steps).run(call.concrete_inputs())


def check_values(program: Any, steps: list[AbstractPass]) -> None:
    """Bit by bit those of the program as traced, and the same captures."""
    (lazy, *_) = traced(program)
    plain, passed = run_of(lazy, ()), run_of(lazy, steps)
    for got, want in zip(passed.results, plain.results, strict=True):
        same(got, np.asarray(want))
    assert set(passed.captures) == set(plain.captures)
    for index, positions in plain.captures.items():
        np.testing.assert_array_equal(passed.captures[index], positions)


def check_lineage(program: Any, steps: list[AbstractPass]) -> None:
    """The rewritten program, asked itself: its maps name the cells that those of the traced one name, by the same kinds.

    Only that a row may be known to be the row itself where it was one of many: a reshape of one row reads position 0, and
    without the reshape it is position i.
    """
    call = traced(program)[0].call()
    rewritten = call.program
    for step in steps:
        rewritten = step(rewritten)
        verify(rewritten)
    other = Call(rewritten, call.inputs, call.executor, {**call.options, "passes": ()})
    for before, behind in zip(call.program.returns, rewritten.returns, strict=True):
        ours, theirs = View([Lazy.of(behind, call=other)]), View([Lazy.of(before, call=call)])
        shape = np.asarray(Lazy.of(before, call=call)).shape
        for cell in list(np.ndindex(shape))[:12]:
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


def test_the_passes_are_all_there():
    assert {"fold", "cse", "dce"} <= set(PASSES)


@EACH
def test_a_pass_keeps_values(name):
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(programs(ANY))
    def check(program):
        check_values(program, [PASSES[name]])

    check()


@EACH
def test_a_pass_keeps_lineage(name):
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(programs(FINITE, max_steps=8, max_cells=40))
    def check(program):
        check_lineage(program, [PASSES[name]])

    check()


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(programs(ANY), PIPELINES)
def test_pipelines_keep_values(program, names):
    check_values(program, [PASSES[name] for name in names])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(programs(FINITE, max_steps=8, max_cells=40), PIPELINES)
def test_pipelines_keep_lineage(program, names):
    check_lineage(program, [PASSES[name] for name in names])
