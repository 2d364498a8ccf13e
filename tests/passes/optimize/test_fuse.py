"""fuse and spell_out: which ops become one call, which cannot, and in how many sweeps a segment is computed."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.test_values import same
from tests.passes.optimize.test_passes import before_and_after
from traceprop.ir import parse, verify
from traceprop.passes.optimize.fuse import Fuse
from traceprop.passes.optimize.spell_out import SpellOut
from traceprop.passes.optimize.sweeps import Plan

STANDARDISE = """
    func @standardise(%x: f64[N,3], %low: f64[3]) -> (f64[N,3], f64[3]) {
      %0: f64[3] = reduce[numpy.mean](%x) {axes=(0,)}
      %1: f64[N,3] = elementwise[numpy.subtract](%x, %0)
      %2: f64[3] = reduce[numpy.std](%x) {axes=(0,)}
      %3: f64[3] = elementwise[numpy.add](%2, %low)
      %4: f64[N,3] = elementwise[numpy.divide](%1, %3)
      %5: f64[] = constant {value=2.0}
      %6: f64[N,3] = elementwise[numpy.multiply](%4, %5)
      %7: f64[N,3] = elementwise[numpy.tanh](%6)
      return %7, %0
    }"""


def calls(program):
    return [op for op in program.ops if op.definition.name == "call"]


def test_fuse(golden):
    """Everything over the rows of %x, and what follows of their deviation."""
    program = parse(STANDARDISE)
    assert before_and_after(program, Fuse()) == golden
    fused = Fuse()(program)
    assert parse(str(fused)) == fused
    assert Fuse()(fused) is fused


def test_spell_out(golden):
    assert before_and_after(parse(STANDARDISE), SpellOut()) == golden


def test_a_segment_goes_around_what_waits_for_it():
    """%2 is no step, needs the segment and is needed: so there are two, and none needs itself."""
    program = parse("""
        func @around(%x: f64[N,3]) -> f64[N,3] {
          %0: f64[N,3] = elementwise[numpy.exp](%x)
          %1: f64[N,3] = elementwise[numpy.negative](%0)
          %2: f64[3] = reduce[numpy.median](%1) {axes=(0,)}
          %3: f64[N,3] = elementwise[numpy.subtract](%1, %2)
          %4: f64[N,3] = elementwise[numpy.multiply](%3, %0)
          return %4
        }""")
    fused = Fuse()(program)
    verify(fused)
    assert [len(op.regions[0].ops) for op in calls(fused)] == [2, 2, 2]  # the first gives two values
    assert [op.definition.name for op in fused.ops] == ["call", "call", "reduce", "call"]


@pytest.mark.parametrize(
    "lines",
    [
        "%0: f64[N] = elementwise[numpy.exp](%x)\n%1: f64[] = reduce[numpy.sum](%0) {axes=(0,)}\nreturn %1",
        "%0: f64[N] = elementwise[numpy.exp](%x)\nreturn %0",
        "%0: i64[N] = sort(%x) {axis=0}\n%1: f64[N] = gather(%x, %0) {axis=0}\nreturn %1",
    ],
)
def test_what_stays_as_it_is(lines):
    """A sum of one axis, which NumPy adds in pairs; a single op; positions that the data decides."""
    program = parse(f"func @f(%x: f64[N]) -> f64[{'' if 'sum' in lines else 'N'}] {{\n{lines}\n}}")
    assert Fuse()(program) is program


def test_rows_are_the_first_axis_and_no_other():
    """A square of known size: a statistic of its columns is as long as there are rows, and none of them."""
    x = np.random.default_rng(0).normal(size=(4, 4))

    @tp.trace
    def f(x):
        return (x - x.mean(axis=0)) * 2 + x.T

    same(f(x).compute(), f.function(x))


def test_sweeps():
    """Of what is read NumPy takes mean and deviation at once; what is cheap is computed again, the exponential is kept."""
    program = Fuse()(parse(STANDARDISE))
    (sweep,) = Plan.of(calls(program)[0].regions[0]).sweeps
    assert [op.payload for op in sweep.ops] == ["numpy.subtract", "numpy.divide", "numpy.multiply", "numpy.tanh"]
    assert (len(sweep.kept), len(sweep.folds)) == (1, 0)
    dear = parse("""
        func @dear(%x: f64[N,3]) -> f64[N,3] {
          %0: f64[N,3] = elementwise[numpy.exp](%x)
          %1: f64[3] = reduce[numpy.max](%0) {axes=(0,)}
          %2: f64[N,3] = elementwise[numpy.divide](%0, %1)
          return %2
        }""")
    plan = Plan.of(calls(Fuse()(dear))[0].regions[0])
    assert [[op.payload for op in sweep.ops] for sweep in plan.sweeps] == [["numpy.exp"], ["numpy.divide"]]
    assert [(len(sweep.kept), len(sweep.folds)) for sweep in plan.sweeps] == [(1, 1), (1, 0)]


def test_deviations_of_what_is_computed():
    """Spelled out, so that blocks can fold them; by fewer than all rows, of the whole."""
    text = """
        func @spread(%x: f64[N,3]) -> f64[N,3] {
          %0: f64[N,3] = elementwise[numpy.absolute](%x)
          %1: f64[3] = reduce[numpy.std](%0) {axes=(0,), ddof=1}
          %2: f64[N,3] = elementwise[numpy.divide](%0, %1)
          return %2
        }"""
    plan = Plan.of(calls(Fuse()(parse(text)))[0].regions[0])
    assert [[op.payload for op in ops] for ops in plan.between] == [[], ["numpy.std"]]
    assert [(len(sweep.ops), len(sweep.kept), len(sweep.folds)) for sweep in plan.sweeps] == [(1, 1, 0), (1, 1, 0)]
    plan = Plan.of(calls(Fuse()(parse(text.replace(", ddof=1", ""))))[0].regions[0])
    assert [[op.payload for op in ops] for ops in plan.between] == [[], [], ["numpy.sqrt"]]
    assert [[op.payload for op in sweep.ops] for sweep in plan.sweeps] == [
        ["numpy.absolute"],
        ["numpy.absolute", "numpy.subtract", "numpy.square"],
        ["numpy.absolute", "numpy.divide"],
    ]
