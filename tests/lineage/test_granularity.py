"""What a coarser granularity keeps answers as the finest does; what it did not keep is an error that says so."""

from __future__ import annotations

import asyncio
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage import table_programs
from tests.lineage.programs import programs
from tests.passes.optimize.in_parts import plan_of
from traceprop.errors import ExecutionError, NotKeptError, TraceError, TracepropError
from traceprop.ir import dump
from traceprop.runtime.captures import Captures
from traceprop.runtime.executable import Executable
from traceprop.runtime.parts import in_memory, slices
from traceprop.tracing.lazy import is_lazy

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")
LEVELS = ("op", "batch", "epoch")
KINDS = ("direct", "aggregate", "control", "order", "any")
MOVES = (
    *("mask", "mask_compared", "by_argsort", "take_rows", "by_row") * 3, "index", "add_number", "scaled", "compare", "where",
    "concatenate", "mean", "flip", "argsort", "flatnonzero", "sort", "delete", "T", "reshape", "cumsum", "hstack", "take_clip",
)  # fmt: skip


def answers(values: list[Any], sources: dict[str, int]) -> dict[tuple[Any, ...], Any]:
    """Every question about some values, with its answer as plain lists, or the error that says what was not kept."""
    found: dict[tuple[Any, ...], Any] = {}

    def ask(name: tuple[Any, ...], question: Any) -> None:
        try:
            found[name] = question()
        except NotKeptError as error:
            found[name] = error

    for n, value in enumerate(values):
        view = tp.provenance(value)
        rows = (value.shape or (1,))[0]
        if not rows:
            continue
        ask((n, "pairs"), lambda view=view: {k: np.stack(v).tolist() for k, v in view.row_pairs().items()})
        for kind in KINDS:
            for i in (0, rows - 1, slice(None)):
                ask((n, kind, i.__repr__()), lambda v=view, i=i, k=kind: _plain(v.rows(i, k)))
            ask((n, kind, "cells"), lambda v=view, k=kind: _plain(v.cells(0, k)))
            for source, count in sources.items():
                if source in view.sources():
                    ask(
                        (n, kind, source),
                        lambda v=view, s=source, c=count, k=kind: v.affected_rows(s, range(0, c, 2), k).tolist(),
                    )
    return found


def _plain(rows: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: array.tolist() for name, array in rows.items()}


def check(found: dict[str, dict[tuple[Any, ...], Any]]) -> int:
    """Equal where kept, and kept for all that is not about the order of rows on the way. How many were not kept."""
    refused = 0
    for level in ("batch", "epoch"):
        assert found[level].keys() == found["op"].keys()
        for name, answer in found[level].items():
            if isinstance(answer, NotKeptError):
                refused += 1
                assert "order" in name or "any" in name, (level, name)
                assert repr(level) in str(answer)
                assert "granularity='op'" in str(answer)
            else:
                assert answer == found["op"][name], (level, name)
    return refused


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(names=MOVES, dtypes=("f64", "f64", "i64")))
def test_arrays(program):
    found = {}
    sources = {f"s{k}": array.shape[0] for k, array in enumerate(program.sources) if array.ndim and len(array)}
    for level in LEVELS:
        try:
            results = tp.trace(granularity=level)(lambda *values: program(*values))(
                *(tp.from_numpy(array, source_id=f"s{k}") for k, array in enumerate(program.sources))
            )
            found[level] = answers([value for value in results if is_lazy(value)], sources)
        except NotKeptError:
            raise
        except TracepropError:
            return
    check(found)


@settings(max_examples=18, deadline=None)
@given(table_programs.programs(), table_programs.frames(), table_programs.frames(4))
def test_tables(program, left, right):
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for level in LEVELS:
            f = tp.trace(granularity=level)(lambda t, other: table_programs.run(program, t, other))
            found[level] = answers([f(left, right)], {"t": left.height, "other": right.height})
    check(found)


@settings(max_examples=20, deadline=None)
@given(
    table_programs.programs(), table_programs.frames(9), table_programs.frames(9), st.sampled_from(["batch", "epoch"])
)
def test_parts_of_the_rows_compose_what_all_rows_do(program, left, right, level):
    """Rows that come in three parts: the positions that are put together are those of the whole run."""
    f = tp.trace(granularity=level)(lambda t, other: table_programs.run(program, t, other))
    call = f.prepare((left, right), {})[1]
    try:
        whole, plan = call.outcome(), plan_of(call)
    except (TraceError, ExecutionError):
        return
    values = dict(zip(call.program.params, call.concrete_inputs(), strict=True))
    rest = {param: value for param, value in values.items() if param not in plan.partitioned}
    cuts = [[2, 5]] * (max(plan.domains, default=-1) + 1)
    found = in_memory(plan, rest, slices(plan, [values[param] for param in plan.partitioned], cuts))
    assert found.captures.keys() == whole.captures.keys()
    for value, positions in found.captures.items():
        np.testing.assert_array_equal(np.asarray(positions), np.asarray(whole.captures[value]))


@tp.trace
def prepared(x):
    known = x[~np.isnan(x[:, 0])]
    kept = known[known[:, 1] > 0]
    return kept[np.argsort(kept[:, 2], kind="stable")] * 2.0


X = np.random.default_rng(0).normal(size=(40, 3))
X[::7, 0] = np.nan


@pytest.mark.parametrize("level", [*LEVELS, None])
def test_the_program_of_each_level(level, golden):
    """What is recorded is an op of the program, and what is not is not there."""
    with tp.granularity(level):
        assert dump(prepared.ir(X, stage="optimized"), maps=False, locations=False) == golden
        code = prepared.compile(X).code
        assert code.count("captures[") == {"op": 3, "batch": 2, "epoch": 1, None: 0}[level]


def test_a_chain_is_one_array_of_positions():
    found = {}
    for level in LEVELS:
        with tp.granularity(level):
            y = prepared(X)
            found[level] = answers([y], {"x": len(X)})
            kept = y.call().outcome().captures
            assert len(kept) == {"op": 3, "batch": 2, "epoch": 1}[level]
            if level == "epoch":
                (positions,) = kept.values()
                np.testing.assert_array_equal(X[np.asarray(positions)] * 2.0, y)
    assert (
        check(found) == 4
    )  # the cells that the filter in the middle and the sort looked at: order and any, two levels


def test_a_mean_on_the_way_needs_all_rows_that_it_was_taken_of():
    """Composing would keep two arrays of positions where two say more: what was filtered, and how that was sorted."""

    @tp.trace
    def standardised(x):
        kept = x[x[:, 0] > 0]
        kept = (kept - kept.mean(axis=0)) / kept.std(axis=0)
        return kept[np.argsort(kept[:, 1])]

    found = {}
    for level in LEVELS:
        with tp.granularity(level):
            y = standardised(X)
            found[level] = answers([y], {"x": len(X)})
            assert len(y.call().outcome().captures) == 2
    assert check(found) == 0


def test_both_sides_of_a_join_are_composed_with_what_is_behind_it():
    pd = pytest.importorskip("pandas")
    left = pd.DataFrame({"k": [1, 2, 2, 3], "x": [1.0, -1.0, 2.0, 3.0]})
    right = pd.DataFrame({"k": [2, 1, 2], "y": [5.0, 6.0, 7.0]})

    @tp.trace
    def joined(a, b):
        both = a.join(b, on="k")
        return both[both["x"] > 0].sort("y")

    found = {}
    for level in LEVELS:
        with tp.granularity(level):
            y = joined(left, right)
            found[level] = answers([y], {"a": 4, "b": 3})
            assert len(y.call().outcome().captures) == {"op": 5, "batch": 3, "epoch": 2}[level]
    check(found)
    assert found["epoch"][0, "pairs"] == found["op"][0, "pairs"]


@pytest.mark.parametrize("world", ["jax", "torch"])
def test_in_other_worlds(world):
    library = pytest.importorskip("jax.numpy" if world == "jax" else "torch")

    @tp.trace
    def shuffled(x):
        first = x[library.argsort(x[:, 0])]
        return first[library.argsort(first[:, 1])][:3]

    x = library.asarray(np.random.default_rng(1).normal(size=(9, 2)).astype("float32"))
    found, kept = {}, {}
    for level in LEVELS:
        with tp.granularity(level):
            y = shuffled(x)
            found[level] = answers([y], {"x": 9})
            kept[level] = len(y.call().outcome().captures)
    check(found)
    assert kept["epoch"] < kept["op"]


def test_steps_have_values_and_lineage_on_request():
    known = X[~np.isnan(X[:, 0])]
    want = known[known[:, 1] > 0]
    for level, there in (("op", (True, True)), ("batch", (False, True)), ("epoch", (False, False))):
        with tp.granularity(level):
            y = prepared(X)
            gathers = [step for step in tp.provenance(y).ops() if step.name.startswith("gather")][:2]
        for step, kept, plain in zip(gathers, there, (known, want), strict=True):
            if kept:
                np.testing.assert_array_equal(step.value(), plain)
                rows = tp.provenance(step.lazy()).rows(3)["x"]
                np.testing.assert_array_equal(X[rows[0]], plain[3])
            else:
                with pytest.raises(NotKeptError, match=rf"granularity='{level}'.*gather.*granularity='op'"):
                    step.value()
    np.testing.assert_array_equal(tp.provenance(y).ops()[-1].value(), y)


def test_the_level_of_a_call_site_is_part_of_the_compile_key():
    inner = tp.trace(lambda x: x[x[:, 1] > 0])
    outer = tp.trace(lambda x: inner(x[~np.isnan(x[:, 0])]))
    kept = {}
    for level in LEVELS:
        with tp.granularity(level):
            kept[level] = outer.compile(X)
            assert outer.compile(X) is kept[level]
            assert len(outer(X).call().outcome().captures) == {"op": 2, "batch": 1, "epoch": 1}[level]
    assert len({id(each) for each in kept.values()}) == 3
    explicit = tp.trace(granularity="op")(lambda x: inner(x[~np.isnan(x[:, 0])]))
    with tp.granularity("epoch"):
        assert explicit.granularity == "op"
        assert len(explicit(X).call().outcome().captures) == 2


def test_tasks_have_levels_of_their_own():
    async def seen(level):
        tp.set_granularity(level)
        await asyncio.sleep(0)
        return tp.get_granularity(), len(prepared(X).call().outcome().captures)

    async def both():
        return await asyncio.gather(seen("epoch"), seen("batch"), seen(None))

    assert asyncio.run(both()) == [("epoch", 1), ("batch", 2), (None, 0)]
    assert tp.get_granularity() == "op"


def test_what_is_not_recorded_is_not_there(monkeypatch):
    """Off: the code of a program without records, no `Captures` made, nothing allocated for them."""
    with tp.granularity(None):
        off = prepared.compile(X)
    plain = Executable(prepared.ir(X), record=False)
    assert off.code == plain.code
    made = []
    monkeypatch.setattr(Captures, "__init__", lambda self, *given: made.append(given))
    outcome = off.run([X])
    assert outcome.captures == {}
    assert made == []
    large = np.random.default_rng(0).normal(size=(50_000, 3))
    held = {}
    for level in (None, *LEVELS):
        monkeypatch.undo()
        with tp.granularity(level):
            ready = prepared.compile(large)
        ready.run([large])
        tracemalloc.start()
        outcome = ready.run([large])
        results = sum(result.nbytes for result in outcome.results)
        held[level] = tracemalloc.get_traced_memory()[0] - results
        tracemalloc.stop()
    assert held[None] < 4_000
    assert held["op"] > held["batch"] > held["epoch"] > 8 * 10_000


@pytest.mark.parametrize("level", LEVELS)
def test_costs_are_told_before_the_run(level):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3))
    with tp.granularity(level):
        ready = prepared.compile(x)
        cost = ready.cost(rows=len(x))
    captures = ready.run([x]).captures
    captures.encode_all()
    assert len(cost.records) == len(captures)
    truth = sum(each.nbytes for each in captures.values()) / len(x)
    better = ready.cost(rows=len(x), sizes={"K": len(x), "K1": len(x) // 2})
    assert truth / 2 <= better.bytes_per_row <= truth * 2
    assert cost.seconds_per_row > 0
    assert level in str(cost)
    with tp.granularity(None):
        nothing = prepared.compile(x).cost()
    assert (nothing.bytes_per_row, nothing.seconds_per_row, nothing.records) == (0, 0, ())
