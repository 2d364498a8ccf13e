"""Branches written out: text in, text out; values and lineage are held by tests/passes/test_every_pipeline.py."""

import numpy as np

import traceprop as tp
from traceprop.ir import dump, parse, verify
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.fuse import Fuse
from traceprop.passes.optimize.reweight import Reweight
from traceprop.passes.optimize.write_out import WriteOut, choose

TWO = """
func @two(%p: bool[], %x: f64[N,3]) -> (f64[N,3], f64[3]) {
  %0: f64[N,3] = branch[numpy.cond](%p, %x) {result=0}
    func @otherwise(%a: f64[N,3]) -> (f64[N,3], f64[3]) {
      %0: f64[3] = reduce[numpy.sum](%a) {axes=(0,)}
      return %a, %0
    }
    func @then(%a: f64[N,3]) -> (f64[N,3], f64[3]) {
      %0: f64[3] = reduce[numpy.mean](%a) {axes=(0,)}
      %1: f64[N,3] = elementwise[numpy.subtract](%a, %0)
      return %1, %0
    }
  %1: f64[3] = branch[numpy.cond](%p, %x) {result=1} as %0
  return %0, %1
}"""

NESTED = """
func @nested(%k: i64[], %p: bool[], %x: f64[N]) -> f64[N] {
  %0: f64[N] = branch[numpy.cond](%k, %x, %p)
    func @case_0(%a: f64[N], %p: bool[]) -> f64[N] {
      return %a
    }
    func @case_1(%a: f64[N], %p: bool[]) -> f64[N] {
      %0: f64[N] = branch[numpy.cond](%p, %a)
        func @otherwise(%a: f64[N]) -> f64[N] {
          %0: f64[N] = elementwise[numpy.negative](%a)
          return %0
        }
        func @then(%a: f64[N]) -> f64[N] {
          return %a
        }
      return %0
    }
    func @case_2(%a: f64[N], %p: bool[]) -> f64[N] {
      %0: f64[N] = loop[f](%a) {carries=1}
        func @condition(%c: f64[N]) -> bool[] {
          %0: bool[] = constant {value=False}
          return %0
        }
        func @body(%c: f64[N]) -> f64[N] {
          return %c
        }
      return %0
    }
  %1: f64[N] = branch[numpy.cond](%k, %0)
    func @case_0(%a: f64[N]) -> f64[N] {
      %0: f64[N] = elementwise[numpy.exp](%a)
      return %0
    }
    func @case_1(%a: f64[N]) -> f64[N] {
      return %a
    }
    func @case_2(%a: f64[N]) -> f64[N] {
      %0: f64[N] = elementwise[numpy.sin](%a)
      return %0
    }
  return %1
}"""


def test_bodies_are_written_out_once(golden):
    assert dump(WriteOut()(parse(TWO))) == golden


def test_what_may_not_end_stays_a_body(golden):
    assert dump(WriteOut()(parse(NESTED))) == golden


def test_nothing_to_write_out():
    program = parse("func @f(%x: f64[N]) -> f64[N] {\n  return %x\n}")
    assert WriteOut()(program) is program


def test_choices_below_and_above():
    options = [np.full(2, k) for k in range(3)]
    chosen = [choose(np.int32(which), *options)[0] for which in (-5, 0, 1, 2, 9)]
    assert chosen == [0, 0, 1, 2, 2]
    assert [choose(np.bool_(which), *options[:2])[0] for which in (False, True)] == [0, 1]


def test_a_branch_is_weighted_as_both_its_bodies():
    found = Reweight().of(parse(TWO.replace("%x: f64[N,3])", '%x: f64[N,3] from "x")')))
    assert (found.held, found.forms) == ((), 2)
    verify(found.program)


def test_a_loop_over_what_is_another_type_with_weights_stays():
    program = parse("""
        func @f(%x: i64[N,4] from "x") -> i64[4] {
          %0: i64[4] = reduce[numpy.sum](%x) {axes=(0,)}
          %1: i64[4] = loop[f](%0) {carries=1, length=3}
            func @body(%c: i64[4]) -> i64[4] {
              %0: i64[4] = elementwise[numpy.negative](%c)
              return %0
            }
          return %1
        }""")
    found = Reweight().of(program)
    verify(found.program)
    assert found.held == ("loop[f] at an unknown line has a body for values of another type than those with weights",)


def test_fuse_runs_in_bodies():
    def function(x):
        return tp.cond(x.sum() > 0, lambda v: np.exp(v * 2 - 1) / 3, lambda v: v, x)

    x = np.linspace(0, 1, 12).reshape(4, 3)
    traced = tp.trace(function, passes=(Fuse(), DCE()))
    (branch,) = (op for op in traced.ir(x, stage="optimized") if op.regions)
    assert [op.definition.name for op in branch.regions[1]].count("call") == 1
    np.testing.assert_array_equal(traced(x), function(x))
