"""Composed index maps: what they are for programs that one can read, and that they are what lineage walks answer."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings

import traceprop as tp
from tests.lineage.programs import FINITE, programs
from tests.lineage.test_values import traced
from traceprop.ir import Read, parse
from traceprop.ir.composed_map import composed_map
from traceprop.ir.expr import evaluate
from traceprop.ir.index_map import AXIS_NAMES, Full, Span

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")


def written(reads: tuple[Read, ...] | None) -> Any:
    if reads is None:
        return None
    return [(tuple(map(str, read.axes)), tuple(map(str, read.where)), read.kind.value) for read in reads]


def test_paths_to_a_source():
    program = parse("""
        func @prep(%a: f64[N,4] from "a", %b: f64[M,4] from "b") -> f64[2,N+M] {
          %0: f64[4] = reduce[numpy.mean](%a) {axes=(0,)}
          %1: f64[N,4] = elementwise[numpy.subtract](%a, %0)
          %2: f64[N+M,4] = concat(%1, %b) {axis=0}
          %3: f64[4,N+M] = transpose(%2) {axes=(1,0)}
          %4: f64[2,N+M] = slice(%3) {index=((1,None,2),)}
          return %4
        }""")
    a, b = program.params
    (value,) = program.returns
    assert written(composed_map(program, value, a)) == [
        (("j", "2*i+1"), ("j<N",), "data"),
        (("*", "2*i+1"), ("j<N",), "data"),
    ]
    assert written(composed_map(program, value, b)) == [(("j-N", "2*i+1"), ("j>=N",), "data")]
    assert composed_map(program, program.ops[1].result, b) == ()


def test_a_range_of_what_was_sliced_is_a_range():
    program = parse("""
        func @f(%x: f64[9]) -> f64[] {
          %0: f64[3] = slice(%x) {index=((1, 8, 3),)}
          %1: f64[] = reduce[numpy.sum](%0) {axes=(0,)}
          return %1
        }""")
    (read,) = composed_map(program, program.returns[0], program.params[0])
    assert str(read.axes[0]) == "1..8:3"


def test_what_the_data_decides_has_no_composed_map():
    program = parse("""
        func @f(%x: f64[N], %i: i64[K], %y: f64[K]) -> f64[K] {
          %0: f64[K] = gather(%x, %i) {axis=0}
          %1: f64[K] = elementwise[numpy.add](%0, %y)
          return %1
        }""")
    x, _, y = program.params
    assert composed_map(program, program.returns[0], x) is None
    assert written(composed_map(program, program.returns[0], y)) == [(("i",), (), "data")]


def test_sizes_that_the_data_decided_have_no_composed_map():
    """How many rows are left hangs on the mask, though no cell of the result is made of it."""
    program = parse("""
        func @f(%x: bool[N]) -> i64[] {
          %0: i64[K] = filter(%x) {size=K}
          %1: i64[K] = iota {size=K}
          %2: i64[] = reduce[numpy.sum](%1) {axes=(0,)}
          return %2
        }""")
    assert composed_map(program, program.returns[0], program.params[0]) is None


def positions(read: Read, cell: tuple[int, ...], sizes: dict[str, int], shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The cells that one result cell reads, written out."""
    known = {**sizes, **{AXIS_NAMES[k]: at for k, at in enumerate(cell)}}
    for bound in read.where:
        if bound.lo is not None and cell[bound.axis] < evaluate(bound.lo, known):
            return set()
        if bound.hi is not None and cell[bound.axis] >= evaluate(bound.hi, known):
            return set()
    places: list[Any] = []
    for place, size in zip(read.axes, shape, strict=True):
        if isinstance(place, Full):
            places.append(range(size))
        elif isinstance(place, Span):
            places.append(range(evaluate(place.lo, known), evaluate(place.hi, known), place.step))
        else:
            places.append([evaluate(place, known)])
    return set(itertools.product(*places))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(programs(FINITE, max_steps=8, max_cells=40))
def test_composed_maps_are_what_lineage_walks_answer(program):
    for lazy in traced(program):
        call = lazy.call()
        shape, sizes = np.asarray(lazy).shape, call.outcome().sizes
        view = tp.provenance(lazy)
        for param, source in zip(call.program.params, call.inputs, strict=True):
            reads = composed_map(call.program, lazy.value, param)
            event("no map" if reads is None else "no path" if not reads else "a map")
            if reads is None:
                continue
            dims = tuple(evaluate(dim, sizes) for dim in param.type.dims)
            for cell in np.ndindex(shape):
                ours = set().union(*(positions(read, cell, sizes, dims) for read in reads)) if reads else set()
                found = view.cells(cell, "any").get(source.id)
                theirs = set() if found is None else set(map(tuple, found.tolist()))
                assert ours == theirs
