"""Each pass on a program that shows it, and on random programs: same values, same lineage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import traceprop as tp
from tests.lineage.programs import ANY, FINITE, programs
from tests.lineage.test_values import same, traced
from traceprop.errors import TraceError
from traceprop.ir import Program, parse
from traceprop.ir.dump import constants_of, dump
from traceprop.passes.optimize.cse import CSE
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.fold import Fold
from traceprop.passes.optimize.freeze import Freeze
from traceprop.passes.optimize.instrument import Instrument
from traceprop.passes.pipeline import default_pipeline
from traceprop.runtime.executable import Executable

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")


def before_and_after(program: Program, step: Any) -> str:
    return f"# before\n{text(program)}\n\n# {step.name}\n{text(step(program))}"


def text(program: Program) -> str:
    return dump(program, maps=False, locations=False)


def test_fold(golden):
    program = parse("""
        func @same(%x: f64[N,3]) -> f64[N,3] {
          %0: f64[N,3] = reshape(%x) {shape=(N,3)}
          %1: f64[N,3] = slice(%0) {index=((None,None,None),)}
          %2: f64[N,3] = transpose(%1) {axes=(0,1)}
          %3: f64[N,3] = broadcast(%2) {shape=(N,3)}
          %4: f64[N,3] = slice(%3) {index=((None,None,-1),)}
          %5: f64[N,3] = elementwise[numpy.add](%3, %4)
          return %5
        }""")
    assert before_and_after(program, Fold()) == golden


def test_cse(golden):
    program = parse("""
        func @twice(%x: f64[N,3]) -> (f64[N,3], f64[N,3]) {
          %0: f64[3] = reduce[numpy.mean](%x) {axes=(0,)}
          %1: f64[3] = reduce[numpy.mean](%x) {axes=(0,)}
          %2: f64[3] = reduce[numpy.mean](%x) {axes=(0,), dtype="f64"}
          %3: f64[N,3] = elementwise[numpy.subtract](%x, %0)
          %4: f64[N,3] = elementwise[numpy.subtract](%x, %1)
          %5: f64[N,3] = elementwise[numpy.subtract](%x, %2)
          return %4, %5
        }""")
    assert before_and_after(program, CSE()) == golden


def test_cse_tells_equal_looking_constants_apart():
    @tp.trace
    def f(x):
        return x * 1, x * 1.0, x * True, np.copysign(1.0, x * 0.0), np.copysign(1.0, x * -0.0)

    assert len(set(CSE()(f.ir(np.ones(3))).returns)) == 5
    found = f(np.array([1, 2]))
    assert [str(v.dtype) for v in found[:3]] == ["int64", "float64", "int64"]
    assert np.asarray(found[4]).tolist() == [-1.0, -1.0]


def test_dce(golden):
    program = parse("""
        func @part(%x: f64[N,3], %keep: bool[N]) -> f64[3] {
          %0: f64[3] = reduce[numpy.mean](%x) {axes=(0,)}
          %1: f64[N,3] = elementwise[numpy.subtract](%x, %0)
          %2: i64[K] = filter(%keep) {size=K}
          record(%2) {slot=0}
          %3: f64[K,3] = gather(%1, %2) {axis=0}
          return %0
        }""")
    assert before_and_after(program, DCE()) == golden


def test_instrument(golden):
    program = parse("""
        func @chosen(%x: f64[N,3], %keep: bool[N], %index: i64[4]) -> (f64[K,3], f64[4,3]) {
          %0: i64[K] = filter(%keep) {size=K}
          %1: f64[K,3] = gather(%x, %0) {axis=0}
          %2: f64[4,3] = gather(%x, %index) {axis=0}
          return %1, %2
        }""")
    assert before_and_after(program, Instrument()) == golden


def test_freeze(golden):
    program = parse("""
        func @scale(%x: f64[N,3] from "train") -> (f64[N,3], f64[N]) {
          %0: f64[3] = reduce[numpy.mean](%x) {axes=(0,)}
          %1: f64[N,3] = elementwise[numpy.subtract](%x, %0)
          %2: f64[N,3] = elementwise[numpy.square](%1)
          %3: f64[3] = reduce[numpy.mean](%2) {axes=(0,)}
          %4: f64[N,3] = elementwise[numpy.divide](%1, %3)
          %5: f64[N] = reduce[numpy.max](%4) {axes=(1,)}
          return %4, %5
        }""")
    assert before_and_after(program, Freeze()) == golden


REFUSED = {
    "running sum": lambda x: np.cumsum(x, axis=0),
    "running maximum": lambda x: np.maximum.accumulate(x.T, axis=1).T,
    "rows by rows": lambda x: x @ x.T,
    "differences of all pairs": lambda x: x[:, None] - x[None, :],
}


@pytest.mark.parametrize("name", REFUSED)
def test_freeze_refuses_what_has_no_fitted_value(name):
    with pytest.raises(TraceError, match="no value to fit once"):
        tp.trace(REFUSED[name]).fit(np.ones((3, 2)))


ROWS = np.arange(12.0).reshape(6, 2)
OUTSIDE = np.array([5, 3, 1])
NUMBERED = {
    "positions": lambda x: x[[2, 0]],
    "positions from outside": lambda x: x[OUTSIDE],
    "mask from outside": lambda x: x[np.array([True, False] * 3)],
}


@pytest.mark.parametrize("name", NUMBERED)
def test_freeze_refuses_rows_by_number(name):
    with pytest.raises(TraceError, match="mean nothing among new rows"):
        tp.trace(NUMBERED[name]).fit(ROWS)


def test_a_row_picked_by_its_number_is_a_fitted_value():
    pipeline = tp.trace(lambda x: x - x[-1]).fit(tp.from_numpy(ROWS, source_id="fitting"))
    got = pipeline(tp.from_numpy(np.ones((2, 2)), source_id="new"))
    np.testing.assert_array_equal(got, np.ones((2, 2)) - ROWS[-1])
    view = tp.provenance(got)
    assert {source: rows.tolist() for source, rows in view.rows(1).items()} == {"new": [1]}
    assert view.rows(1, kind="aggregate")["fitting"].tolist() == [5]


def test_positions_found_among_the_rows_are_found_anew():
    pipeline = tp.trace(lambda x: x[np.argsort(x[:, 0])][::-1]).fit(ROWS)
    np.testing.assert_array_equal(pipeline(ROWS[[1, 2, 0]]), ROWS[[2, 1, 0]])


@tp.trace
def prepare(a, b):
    """Like the demo's pipeline, over arrays."""
    rows = np.concatenate([a[a[:, 0] > 0], b[b[:, 0] > 0]])
    numbers = rows[:, :-1]
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    return scaled[np.argsort(numbers[:, 0])], rows[:, -1]


def test_pipeline(golden):
    program = prepare.ir(np.ones((4, 3)), np.ones((5, 3)))
    pages = [f"# {stage.name}\n{text(stage.program)}" for stage in default_pipeline(record=True).history(program)]
    assert "\n\n".join(pages) == golden


INSTRUMENT = Instrument()
PASSES = [Fold(), CSE(), DCE(), INSTRUMENT]
thorough = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("step", PASSES, ids=[step.name for step in PASSES])
@thorough
@given(programs(ANY, max_steps=10))
def test_a_pass_keeps_values(step, program):
    calls = {lazy.call() for lazy in traced(program) if hasattr(lazy, "value")}
    for call in calls:
        given = [source.value() for source in call.inputs]
        plain = Executable(call.program, record=False, passes=()).run(given)
        if step == INSTRUMENT:
            passed = Executable(call.program, record=True, passes=()).run(given)
        else:
            passed = Executable(step(call.program), record=False, passes=()).run(given)
        for want, got in zip(plain.results, passed.results, strict=True):
            same(got, np.asarray(want))


@thorough
@given(programs(FINITE, max_steps=8, max_cells=40))
def test_passes_keep_lineage(program):
    bare = tp.trace(passes=())(lambda *given: program(*given))
    lazies = traced(program)
    for left, right in zip(lazies, bare(*program.sources), strict=True):
        ours, theirs = tp.provenance(left), tp.provenance(right)
        for cell in np.ndindex(np.asarray(left).shape):
            for kind in ("direct", "aggregate", "control", "order"):
                a, b = ours.cells(cell, kind), theirs.cells(cell, kind)
                assert {s: c.tolist() for s, c in a.items()} == {s: c.tolist() for s, c in b.items()}


@thorough
@given(programs(ANY))
def test_traced_programs_read_back(program):
    lazies = [lazy for lazy in traced(program) if hasattr(lazy, "value")]
    for lazy in lazies[:1]:
        assert parse(str(lazy.call().program), constants_of(lazy.call().program)) == lazy.call().program
