"""Branches written out: text in, text out; values and lineage are held by tests/passes/test_every_pipeline.py."""

import numpy as np

from traceprop.ir import dump, parse
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
