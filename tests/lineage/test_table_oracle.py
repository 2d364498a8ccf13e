"""Random table programs against changed cells: what changes lies in the reported lineage; text and passes keep it."""

from __future__ import annotations

import warnings
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage.table_programs import COLUMNS, SCHEMA, STEPS, changed, changes, frames, programs, run
from traceprop.ir import constants_of, parse

EXAMPLES = settings(max_examples=60, deadline=None)


def rows_of(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Rows with NaN as null, so that equal rows compare equal; under the columns' names."""
    whole = frame.with_columns(pl.selectors.float().fill_nan(None))
    return [tuple(row.items()) for row in whole.iter_rows(named=True)]


@EXAMPLES
@given(programs(), frames(), frames(4), st.data())
def test_changed_cells_stay_inside_what_is_reported(program, left, right, data):
    @tp.trace
    def f(t, other):
        return run(program, t, other)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = f(left, right)
        before, view = rows_of(base.compute()), tp.provenance(base)
        assert view.exact
        reported = [view.cells(i) for i in range(len(before))]
        traced = f.ir(left, right)
        assert parse(str(traced), constants_of(traced)) == traced
        for _ in range(4):
            change = data.draw(changes([left, right]))
            if change is None:
                return
            n, row, column, _ = change
            after = rows_of(f(*changed([left, right], change)).compute())
            for i, cells in enumerate(before):
                if i >= len(after) or after[i][: len(cells)] != cells:  # a column that was not there is no cell of it
                    assert [row, column] in reported[i].get(("t", "other")[n], np.empty((0, 2))).tolist(), (i, change)


@EXAMPLES
@given(programs(), frames(), frames(4), st.data())
def test_forward_is_the_converse_of_backward(program, left, right, data):
    result = run(program, tp.from_dataframe(left, source_id="t"), tp.from_dataframe(right, source_id="other"))
    rows = result.shape[0]
    view = tp.provenance(result)
    kind = data.draw(st.sampled_from(["direct", "aggregate", "control", "order", "any"]))
    name, frame = data.draw(st.sampled_from([("t", left), ("other", right)]))
    if name not in view.sources() or not frame.height:
        return
    row = data.draw(st.integers(0, frame.height - 1))
    behind = [i for i in range(rows) if row in view.rows(i, kind).get(name, [])]
    assert view.affected_rows(name, [row], kind).tolist() == behind


def test_every_step_is_run_by_some_program_of_one_step():
    days, times = [date(2020, 1, 31), None, date(2021, 5, 6)], [datetime(2020, 1, 1, 6), datetime(2022, 1, 1), None]
    left = pl.DataFrame(
        {
            "k": [1, 1, None, 2],
            "x": [1.0, None, 2.0, float("nan")],
            "s": ["oak", None, "elm", "oak"],
            "d": [*days, date(2020, 1, 1)],
            "e": [*times, None],
        },
        schema=SCHEMA,
    )
    right = pl.DataFrame(
        {"k": [1, 3, 1], "x": [0.5, 1.5, 2.5], "s": ["oak", "ash", "elm"], "d": days, "e": times}, schema=SCHEMA
    )
    for name in STEPS:
        t, other = tp.from_dataframe(left, source_id=f"t {name}"), tp.from_dataframe(right, source_id=f"o {name}")
        assert STEPS[name](t, other).columns == COLUMNS, name
