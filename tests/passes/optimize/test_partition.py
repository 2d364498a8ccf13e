"""Programs run in parts are the programs run whole: values, recorded positions, sizes; and what the plan says."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage import table_programs
from tests.lineage.programs import FINITE, programs
from tests.lineage.test_values import traced
from tests.passes.optimize.in_parts import check, plan_of
from traceprop.errors import ExecutionError, TraceError
from traceprop.ir import parse
from traceprop.passes.optimize.partition import partition
from traceprop.runtime.parts import in_memory, slices

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")
CUTS = st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=3, max_size=3)


def in_parts(call, cuts):
    try:
        plan = plan_of(call)
    except TraceError:
        event("no plan")
        return
    event(f"{plan.passes} passes, {len(plan.gathered)} gathered")
    check(call, plan, cuts[: max(plan.domains, default=-1) + 1])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(programs(FINITE, max_steps=8), CUTS)
def test_random_programs(program, cuts):
    call = traced(program)[0].call()
    in_parts(call, cuts)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(table_programs.programs(), table_programs.frames(9), table_programs.frames(9), CUTS)
def test_random_tables(program, t, other, cuts):
    function = tp.trace(lambda a, b: table_programs.run(program, a, b))
    try:
        call = function.prepare((tp.from_dataframe(t, "a"), tp.from_dataframe(other, "b")), {})[1]
        call.outcome()
    except (TraceError, ExecutionError):
        return
    in_parts(call, cuts)


# -- what the plan says -------------------------------------------------------------------------------------------------


def text_of(program: str, *params: str) -> str:
    return str(partition(parse(program), params))


def test_a_scaler_reads_the_rows_twice(golden):
    assert (
        text_of(
            """
        func @scaled(%x: f64[N,4] from "x", %w: f64[4]) -> f64[N,4] {
          %0: f64[4] = reduce[numpy.mean](%x) {axes=(0,)}
          %1: f64[4] = reduce[numpy.std](%x) {axes=(0,), ddof=1}
          %2: f64[4] = elementwise[numpy.multiply](%1, %w)
          %3: f64[N,4] = elementwise[numpy.subtract](%x, %0)
          %4: f64[N,4] = elementwise[numpy.divide](%3, %2)
          return %4
        }""",
            "x",
        )
        == golden
    )


def test_filters_groups_and_joins(golden):
    assert (
        text_of(
            """
        func @paid(%t: table<k: i64?, pay: f64>[N], %names: table<k: i64, name: str>[M]) -> (table<name: str>[K1], f64[G]) {
          %0: f64[N] = slice(%t) {column="pay"}
          %1: f64[] = constant {value=0.0}
          %2: bool[N] = elementwise[numpy.greater](%0, %1)
          %3: i64[K] = filter(%2) {size=K}
          %4: table<k: i64?, pay: f64>[K] = gather[table.take](%t, %3) {axis=0}
          %5: table<k: i64?>[K] = slice(%4) {columns=("k",)}
          %6: table<k: i64>[M] = slice(%names) {columns=("k",)}
          %7: i64[K1,2] = join(%5, %6) {how="inner", size=K1}
          %8: i64[K1] = slice(%7) {index=((None, None, None), 1)}
          %9: table<name: str>[M] = slice(%names) {columns=("name",)}
          %10: table<name: str>[K1] = gather[table.take](%9, %8) {axis=0}
          %11: i64[K] = group(%5) {groups=G}
          %12: f64[K] = slice(%4) {column="pay"}
          %13: f64[G] = segment[table.group_mean](%12, %11) {groups=G}
          return %10, %13
        }""",
            "t",
        )
        == golden
    )


def test_what_needs_all_rows_is_gathered(golden):
    """A sort and a median; and positions that are computed with, which are found among all rows."""
    assert (
        text_of(
            """
        func @ranked(%x: f64[N] from "x", %y: f64[N] from "y") -> (f64[N], f64[], i64[K]) {
          %0: i64[N] = sort(%x) {axis=0}
          %1: f64[N] = gather(%y, %0) {axis=0}
          %2: f64[] = reduce[numpy.median](%y) {axes=(0,)}
          %3: f64[] = constant {value=0.0}
          %4: bool[N] = elementwise[numpy.greater](%y, %3)
          %5: i64[K] = filter(%4) {size=K}
          %6: i64[] = constant {value=1}
          %7: i64[K] = elementwise[numpy.add](%5, %6)
          return %1, %2, %7
        }""",
            "x",
            "y",
        )
        == golden
    )


def test_a_sort_on_disk_gives_rows_back_in_parts(golden):
    program = parse("""
        func @ranked(%t: table<k: i64?, pay: f64>[N]) -> f64[N] {
          %0: f64[N] = slice(%t) {column="pay"}
          %1: i64[N] = sort[table.argsort](%0) {axis=0, descending=True}
          %2: table<k: i64?, pay: f64>[N] = gather[table.take](%t, %1) {axis=0}
          %3: f64[N] = slice(%2) {column="pay"}
          %4: f64[] = reduce[numpy.mean](%3) {axes=(0,)}
          %5: f64[N] = elementwise[numpy.subtract](%3, %4)
          return %5
        }""")
    assert str(partition(program, ["t"], on_disk=True)) == golden


def test_a_count_of_all_rows_that_was_written_in_stays():
    x = np.arange(12.0).reshape(6, 2)
    call = tp.trace(lambda x: x.sum(axis=0) * x / len(x)).prepare((x,), {})[1]
    plan = plan_of(call)
    assert (plan.passes, plan.gathered) == (2, ())
    check(call, plan, [[1, 4]])


def test_rows_of_tables_under_one_another_are_read_once_each():
    x, y = np.arange(8.0).reshape(4, 2), np.arange(6.0).reshape(3, 2) - 3
    call = tp.trace(lambda a, b: np.concatenate([a[a[:, 0] > 1], b])[:, 0]).prepare((x, y), {})[1]
    plan = plan_of(call)
    assert plan.domains == (0, 1)
    assert (plan.passes, plan.gathered) == (1, ())
    check(call, plan, [[1, 2], [2]])


def test_rows_in_another_order_than_the_sources_are_gathered():
    x, y = np.arange(4.0), np.arange(3.0)
    call = tp.trace(
        lambda a, b: np.concatenate([a, b])[np.concatenate([a, b]) > 0] + np.concatenate([b, a])[:0].sum()
    ).prepare((x, y), {})[1]
    assert "rows" in {statistic.form for statistic in plan_of(call).gathered}
    check(call, plan_of(call), [[2], [1]])


def test_a_part_with_no_rows_left_decides_nothing():
    x = np.array([5.0, -1.0, -2.0, 7.0])
    call = tp.trace(lambda x: (x[x > 0].min(), x[x > 0] - x[x > 0].max())).prepare((x,), {})[1]
    check(call, plan_of(call), [[1, 2, 3]])


def test_the_smallest_of_no_rows_is_the_error_that_it_is():
    call = tp.trace(lambda x: x[x > 9].min()).prepare((np.arange(4.0),), {})[1]
    with pytest.raises(ExecutionError, match=r"reduce\[numpy.min\] at .*zero-size"):
        check_alone(call, [[2]])


def check_alone(call, cuts):
    plan = plan_of(call)
    in_memory(plan, {}, slices(plan, call.concrete_inputs(), cuts))


def test_a_counter_of_rows_is_refused():
    program = parse("""
        func @numbered(%x: f64[N] from "x") -> f64[N] {
          %0: i64[N] = iota {size=N} loc("prep.py":7 in "numbered")
          %1: f64[N] = elementwise[numpy.add](%x, %0)
          return %1
        }""")
    with pytest.raises(TraceError, match=r"iota at .*prep.py.*7.* counts rows"):
        partition(program, ["x"])


def test_a_parameter_that_is_not_there_is_named():
    with pytest.raises(TraceError, match="no parameter with rows called y"):
        partition(parse("func @f(%x: f64[N]) -> f64[N] {\n return %x\n}"), ["y"])


@pytest.mark.parametrize(
    "fold",
    ["sum", "mean", "std", "var", "median", "min", "max", "first", "last", "count", "len", "n_unique"],
)
def test_folds_of_groups(fold):
    t = pl.DataFrame(
        {"k": [1, None, 2, 1, 2, None, 3], "x": [1.0, 2.0, None, 4.0, float("nan"), 6.5, None], "s": list("abcabca")}
    )
    call = tp.trace(lambda t: t.group_by("k").agg(x=("x", fold), s=("s", "n_unique"))).prepare((t,), {})[1]
    for cuts in ([], [3], range(8)):
        check(call, plan_of(call), [cuts])


@pytest.mark.parametrize(
    "name",
    "sum mean std var min max ptp prod any all count_nonzero nansum nanmean nanstd nanvar nanmin nanmax nanprod".split(),
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "bool", "complex128", "uint8"])
def test_reductions(name, dtype):
    x = np.array([[1, 2, 0], [3, -1, 4], [0, 5, 5], [2, 2, 1]]).astype(dtype)
    if name.startswith("nan") and x.dtype.kind in "fc":
        x[1, 0] = x[:, 2] = np.nan
    try:
        getattr(np, name)(x, axis=0)
    except TypeError:
        return
    call = tp.trace(
        lambda x: [getattr(np, name)(x, axis=axis, keepdims=keep) for axis in (0, None) for keep in (False, True)]
    ).prepare((x,), {})[1]
    plan = plan_of(call)
    assert not plan.gathered
    for cuts in ([], [1, 3], range(5)):
        check(call, plan, [cuts])


@pytest.mark.parametrize("level", ["op", "batch", "epoch"])
def test_a_filter_behind_a_filter_is_composed_part_by_part(level):
    t = pl.DataFrame({"k": [1, 2, 3, 4, 5, 6], "x": [1.0, -1.0, 2.0, 3.0, -4.0, 5.0]})
    function = tp.trace(granularity=level)(lambda t: t[t["x"] > 0].filter((t[t["x"] > 0])["k"] != 3))
    call = function.prepare((t,), {})[1]
    plan = partition(call.program, ["t"], level)
    assert not plan.gathered
    check(call, plan, [[1, 4]], ask=level == "op")  # what decided on the way is kept at no other
