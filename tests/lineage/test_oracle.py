"""Lineage of random programs against perturbation: what a changed source cell changes must have been reported."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage.exactness import told_and_seen
from tests.lineage.programs import FINITE, OPS, SMOOTH, TEXTS, RandomProgram, programs
from tests.lineage.test_values import lazily, same, traced
from traceprop.errors import TracepropError
from traceprop.lineage import trails

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")
thorough = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)
KINDS = ("direct", "aggregate", "control", "order")
Cells = set[tuple[int, ...]]


def cells_of(view: Any, index: Any, kind: str = "any") -> dict[str, Cells]:
    return {source: set(map(tuple, cells.tolist())) for source, cells in view.cells(index, kind).items()}


def rows_of(view: Any, i: Any, kind: str = "any") -> dict[str, set[int]]:
    return {source: set(rows.tolist()) for source, rows in view.rows(i, kind).items()}


def others(array: np.ndarray, cell: tuple[int, ...]) -> list[Any]:
    """Other values for a cell: near, far, and of the other sign; other words; days and hours away."""
    old, kind = array[cell], array.dtype.kind
    if kind == "b":
        return [not old]
    if kind == "U":
        return [word for word in (*TEXTS, "zz") if word != old]
    if kind in "mM":
        steps = (np.timedelta64(n, "D") for n in (1, -2, 100, -100))
        return [old + step for step in steps] if old == old else [np.array(0, array.dtype)[()]]
    if kind == "u":
        return [v for v in (0, 1, 2, 5, 100) if v != old]
    if kind == "i":
        return [v for v in (int(old) + 1, int(old) - 2, 100, -100, 0) if v != old and abs(v) < 128]
    if kind == "c":
        return [v for v in (old + 1, old - 2, old + 1j, 100, -100, 0) if v != old]
    return [v for v in (old + 1, old - 2, 100, -100, 0) if v != old]


def differing(before: np.ndarray, after: np.ndarray, vanished: bool) -> Cells:
    """Cells of a returned value that are others after a change; all of a row where rows go (`vanished`)."""
    if after.shape == before.shape:
        found = (after != before) & ~((after != after) & (before != before))
    elif after.ndim != before.ndim:
        return set()
    else:  # only cells that are still there can be compared
        both = tuple(slice(0, min(n, m)) for n, m in zip(after.shape, before.shape, strict=True))
        found = np.full(before.shape, vanished)
        found[both] = ~((after[both] == before[both]) | ((after[both] != after[both]) & (before[both] != before[both])))
    return set(map(tuple, np.argwhere(found).tolist()))


def check_sound(program: RandomProgram, results: tuple[Any, ...], ids: list[str], vanished: bool = True) -> None:
    """Every result cell that some perturbation changes reports the perturbed cell.

    Not `vanished`: a cell counts if its value changes, and not for being gone, since constants depend on nothing. Each
    perturbed run is held against all results.
    """
    base = program.plain()
    reported: dict[int, dict[tuple[int, ...], dict[str, Cells]]] = {}
    for position, lazy in enumerate(results):
        if hasattr(lazy, "value") and base[position].size:
            view = tp.provenance(lazy)
            reported[position] = {cell: cells_of(view, cell) for cell in np.ndindex(base[position].shape)}
    for k, source in enumerate(program.sources if reported else ()):
        for cell in np.ndindex(source.shape):
            for value in others(source, cell):
                sources = [array.copy() for array in program.sources]
                sources[k][cell] = value
                try:
                    again = program.plain(*sources)
                except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
                    continue
                for position, said in reported.items():
                    for hit in differing(base[position], again[position], vanished):
                        assert cell in said[hit].get(ids[k], set()), (position, hit, ids[k], cell)


def check_consistent(lazy: Any) -> None:
    """The questions about one value agree with one another."""
    view = tp.provenance(lazy)
    shape = np.asarray(lazy).shape
    n = shape[0] if shape else 1
    rows = {kind: [rows_of(view, i, kind) for i in range(n)] for kind in (*KINDS, "any")}
    for i in range(n):
        index = i if shape else ()
        kinds = {kind: cells_of(view, index, kind) for kind in KINDS}
        united = cells_of(view, index)
        for source in set(united).union(*kinds.values()):
            parts = [kinds[kind].get(source, set()) for kind in KINDS]
            assert set().union(*parts) == united.get(source, set())
        for kind in KINDS:
            projected = {s: {cell[0] if cell else 0 for cell in cells} for s, cells in kinds[kind].items() if cells}
            assert rows[kind][i] == projected, (i, kind)
        assert rows["any"][i] == {s: {c[0] if c else 0 for c in cells} for s, cells in united.items() if cells}
    for kind in (*KINDS, "any"):
        every: dict[str, set[int]] = {}
        for found in rows[kind]:
            for source, reached in found.items():
                every.setdefault(source, set()).update(reached)
        assert rows_of(view, slice(None), kind) == every
        for source in view.sources():
            for s in range(view.source(source).n_rows):
                affected = set(view.affected_rows(source, [s], kind).tolist())
                assert affected == {i for i in range(n) if s in rows[kind][i].get(source, set())}, (source, s, kind)
    pairs = view.row_pairs()
    listed = {(s, int(r), int(q)) for s, (left, right) in pairs.items() for r, q in zip(left, right, strict=True)}
    assert listed == {(s, i, q) for i, found in enumerate(rows["direct"]) for s, qs in found.items() for q in qs}


@settings(thorough, max_examples=200)
@given(programs(FINITE, max_steps=30, max_cells=40))
def test_traced_is_sound(program):
    check_sound(program, traced(program), [f"given_{k}" for k in range(len(program.sources))])


@settings(thorough, max_examples=60)
@given(programs(FINITE, SMOOTH, max_steps=10, max_cells=24, dtypes=("f64",)))
def test_exact_where_draws_see_everything(program):
    """No cell is reported that never matters, in programs of ops that hide nothing from random draws."""
    shapes = [source.shape for source in program.sources]
    ids = [f"given_{k}" for k in range(len(shapes))]
    told, seen = told_and_seen(traced(program), ids, shapes, lambda sources: program.plain(*sources))
    assert told == seen


@thorough
@given(programs(FINITE, max_steps=8, max_cells=40))
def test_lazy_is_sound(program):
    check_sound(program, lazily(program), [f"s{k}" for k in range(len(program.sources))])


@thorough
@given(programs(FINITE, max_steps=8, max_cells=40))
def test_answers_agree(program):
    for lazy in lazily(program):
        check_consistent(lazy)


@thorough
@given(programs(FINITE, max_steps=8, max_cells=40), st.sampled_from([5, 10**6]))
def test_answers_agree_where_every_row_reads_other_cells(program, pairs):
    """The way of rows that are too many to group: cell by cell, and in portions where the cells are too many."""
    with patch.multiple(trails, _MANY_GROUPS=0, _MANY_PAIRS=pairs):
        for lazy in lazily(program):
            check_consistent(lazy)


def test_rows_that_read_other_cells_name_no_more_sources_than_they_have():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 600, 4))
    three = np.sort(np.concatenate([tp.from_numpy(left, source_id="l"), tp.from_numpy(right, source_id="r")], axis=1))[
        :, :2
    ]
    chosen = np.argsort(np.concatenate([left, right], axis=1), axis=1)[:, :2]
    pairs = tp.provenance(three).row_pairs()
    assert pairs["l"][0].tolist() == pairs["l"][1].tolist() == np.flatnonzero((chosen < 4).any(axis=1)).tolist()
    assert pairs["r"][0].tolist() == pairs["r"][1].tolist() == np.flatnonzero((chosen >= 4).any(axis=1)).tolist()


def chained(program: RandomProgram) -> tuple[Any, ...]:
    """The program cut in two: one traced function makes the first half's values, another goes on from them."""
    half = len(program.steps) // 2
    count = len(program.sources)
    first = RandomProgram(program.sources, program.steps[:half], tuple(range(count + half)))

    def second(*found: Any) -> tuple[Any, ...]:
        values = list(found)
        for step in program.steps[half:]:
            values.append(OPS[step.name].apply(*(values[k] for k in step.operands), *step.params))
        return tuple(values[k] for k in program.returns)

    try:
        return tp.trace(second)(*traced(first))
    except (TracepropError, ValueError, IndexError):
        if program.data_decides_sizes:
            reject()
        raise


@thorough
@given(programs(FINITE, max_steps=8, max_cells=40))
def test_chained_functions(program):
    results = chained(program)
    for got, want in zip(results, program.plain(), strict=True):
        same(got, want)
    check_sound(program, results, [f"given_{k}" for k in range(len(program.sources))])
    for lazy in results:
        if hasattr(lazy, "value"):
            check_consistent(lazy)


@thorough
@given(programs(FINITE, max_steps=6, max_cells=30), st.integers(0, 5))
def test_fitted_pipelines_are_sound(program, first):
    """Changing a cell of the new rows, or of the rows it was fitted on, changes only what names that cell."""
    rest = [tp.from_numpy(array, source_id=f"rest{k}") for k, array in enumerate(program.sources[1:])]
    function = tp.trace(lambda given: program(given, *rest))
    train = program.sources[0]
    new = train[first % max(len(train), 1) :] if train.ndim else train

    def applied(fitting: np.ndarray, rows: np.ndarray) -> list[Any]:
        return list(function.fit(fitting)(tp.from_numpy(rows, source_id="new")))

    try:
        results = applied(train, new)
        base = [np.asarray(value) for value in results]
    except (TracepropError, ValueError, IndexError):
        reject()
    for position, lazy in enumerate(results):
        if not hasattr(lazy, "value") or not base[position].size:
            continue
        view = tp.provenance(lazy)
        reported = {cell: cells_of(view, cell) for cell in np.ndindex(base[position].shape)}
        for name, array in (("given", train), ("new", new)):
            for cell in np.ndindex(array.shape):
                for value in others(array, cell)[:2]:
                    other = array.copy()
                    other[cell] = value
                    given = (other, new) if name == "given" else (train, other)
                    try:
                        after = np.asarray(applied(*given)[position])
                    except (TracepropError, ValueError, IndexError):
                        continue
                    if after.shape != base[position].shape:
                        continue
                    before = base[position]
                    for hit in np.argwhere((after != before) & ~((after != after) & (before != before))):
                        assert cell in reported[tuple(hit.tolist())].get(name, set()), (position, hit, name, cell)
