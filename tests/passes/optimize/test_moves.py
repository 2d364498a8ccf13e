"""push_filters, compose_maps and coarsen: golden texts, and random programs that stay what they are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage.programs import ANY, programs
from tests.lineage.test_values import same
from tests.passes.optimize.test_passes import before_and_after
from traceprop.errors import TracepropError
from traceprop.ir import parse
from traceprop.passes.optimize.coarsen import Coarsen
from traceprop.passes.optimize.compose_maps import ComposeMaps
from traceprop.passes.optimize.cse import CSE
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.fold import Fold
from traceprop.passes.optimize.fuse import Fuse
from traceprop.passes.optimize.push_filters import PushFilters
from traceprop.runtime.executable import Executable

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")
PASSES = (Fold(), CSE(), DCE(), Fuse(), ComposeMaps(), PushFilters())


def test_push_filters(golden):
    program = parse("""
        func @chosen(%x: f64[N,3], %low: f64[3]) -> f64[K,3] {
          %0: f64[N] = slice(%x) {index=((None, None, None), 0)}
          %1: f64[] = constant {value=0.0}
          %2: bool[N] = elementwise[numpy.greater](%0, %1)
          %3: f64[N,3] = elementwise[numpy.log](%x)
          %4: f64[N,3] = elementwise[numpy.subtract](%3, %low)
          %5: i64[K] = filter(%2) {size=K}
          %6: f64[K,3] = gather(%4, %5) {axis=0}
          return %6
        }""")
    assert before_and_after(program, PushFilters()) == golden


def test_compose_maps(golden):
    program = parse("""
        func @moved(%x: f64[N,3], %mask: bool[N], %key: f64[K]) -> (f64[K,3], f64[3,N]) {
          %0: i64[K] = filter(%mask) {size=K}
          %1: f64[K,3] = gather(%x, %0) {axis=0}
          %2: i64[K] = sort(%key) {axis=0}
          %3: f64[K,3] = gather(%1, %2) {axis=0}
          %4: f64[3,N] = transpose(%x) {axes=(1,0)}
          %5: f64[N,3] = transpose(%4) {axes=(1,0)}
          %6: f64[3,N] = transpose(%5) {axes=(1,0)}
          return %3, %6
        }""")
    assert before_and_after(program, ComposeMaps()) == golden


def test_coarsen(golden):
    program = parse("""
        func @joined(%a: f64[N], %b: f64[M], %order: i64[5]) -> (f64[5], f64[K]) {
          %0: i64[K,2] = join(%a, %b) {how="inner", size=K}
          %1: i64[K] = slice(%0) {index=((None, None, None), 0)}
          %2: f64[K] = gather(%a, %1) {axis=0}
          %3: f64[5] = gather(%2, %order) {axis=0}
          return %3, %2
        }""")
    assert before_and_after(program, Coarsen()) == golden


# -- random programs ------------------------------------------------------------------------------------------------------


def lazily(program: Any) -> Any:
    sources = [tp.from_numpy(array, source_id=f"s{k}") for k, array in enumerate(program.sources)]
    return program(*sources)


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(programs(ANY), st.lists(st.sampled_from(PASSES), min_size=1, max_size=6))
def test_random_pipelines_keep_values_and_captures(program, passes):
    """Bit by bit; and what is captured for lineage, which is asked of the program as traced, is the same arrays."""
    for value in lazily(program):
        call = value.call()
        inputs = call.concrete_inputs()
        plain = Executable(call.program, record=True, passes=()).run(inputs)
        passed = Executable(call.program, record=True, passes=tuple(passes)).run(inputs)
        for got, want in zip(passed.results, plain.results, strict=True):
            same(got, np.asarray(want))
        for index, kept in plain.captures.items():
            np.testing.assert_array_equal(passed.captures[index], kept)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(programs(ANY))
def test_maps_of_a_rewritten_program_tell_the_same_cells(program):
    """The rewritten program, asked for its own lineage: fused, pushed and composed ops have true maps."""
    try:
        values = [value for value in lazily(program) if value.shape and value.shape[0]]
    except TracepropError:
        return
    for value, step in itertools.product(values, (Fuse(), ComposeMaps(), PushFilters())):
        call = value.call()
        rewritten = step(call.program)
        if rewritten is call.program:
            continue
        again = type(call)(rewritten, call.inputs, call.executor, call.options)
        place = rewritten.returns[call.program.returns.index(value.value)]
        other = type(value)(place, call=again)
        for kind in ("direct", "aggregate", "control", "order"):
            ours, theirs = (tp.provenance(v).rows(0, kind=kind) for v in (other, value))
            assert {k: v.tolist() for k, v in ours.items()} == {k: v.tolist() for k, v in theirs.items()}


def test_a_coarser_run_keeps_fewer_arrays():
    @tp.trace
    def f(x, y):
        order = np.argsort(y)
        return x[order][::-1][np.array([2, 0, 1])], x[order[:2]]

    x, y = np.arange(8.0).reshape(4, 2), np.array([3.0, 1.0, 2.0, 0.0])
    kept, rows = [], []
    for granularity in ("op", "epoch"):
        with tp.granularity(granularity):
            first, second = f(x, y)
            rows.append([tp.provenance(v).rows(k)["x"].tolist() for v in (first, second) for k in (0, 1)])
            kept.append(len(Executable(f.ir(x, y), True, level=granularity).run([x, y]).captures))
    assert rows[0] == rows[1]
    assert kept[1] < kept[0]


@pytest.mark.parametrize("order", ["C", "F"])
def test_sums_of_chosen_rows_are_rounded_alike(order):
    """The layout of what is gathered decides in which order NumPy sums it."""

    def chosen(x):
        z = (np.log(np.abs(x) + 1.0) - 0.5) * x.std(axis=0)
        z = z[x[:, 0] > 0.3]
        z = z[np.argsort(z[:, 1], kind="stable")]
        return z, z.sum(), z.mean(axis=0), z.T.sum(axis=1)

    x = np.asarray(np.random.default_rng(0).normal(size=(5_000, 7)), order=order)
    for got, want in zip(tp.trace(chosen)(x), chosen(x), strict=True):
        same(got.compute(), np.asarray(want))
    assert tp.trace(chosen)(x)[0].concrete().flags.f_contiguous == chosen(x)[0].flags.f_contiguous
