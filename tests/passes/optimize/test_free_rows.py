"""Programs of one size, applied to other numbers of rows: right, or refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from traceprop.errors import TraceError
from traceprop.ir import parse
from traceprop.ir.dump import dump
from traceprop.passes.optimize.free_rows import FreeRows

SIX = np.arange(24.0).reshape(6, 4)


def test_types_follow_from_the_parameters():
    program = parse("""
        func @turned(%x: f64[6,4], %w: f64[6]) -> (f64[6,4], f64[6]) {
          %0: f64[6,4] = slice(%x) {index=((None,None,-1),)}
          return %0, %w
        }""")
    assert dump(FreeRows(("x",))(program), maps=False, locations=False) == dump(
        parse("""
        func @turned(%x: f64[N,4], %w: f64[6]) -> (f64[N,4], f64[6]) {
          %0: f64[N,4] = slice(%x) {index=((None,None,-1),)}
          return %0, %w
        }"""),
        maps=False,
        locations=False,
    )


def test_a_count_of_the_fitting_rows_stays_fitted():
    pipeline = tp.trace(lambda x: x * len(x)).fit(SIX)
    np.testing.assert_array_equal(pipeline(SIX[:2]), SIX[:2] * 6)


def test_a_size_that_is_written_in_is_refused():
    pipeline = tp.trace(lambda x: x.reshape(12, 2)).fit(SIX)
    np.testing.assert_array_equal(pipeline(SIX + 1), (SIX + 1).reshape(12, 2))
    with pytest.raises(TraceError, match=r"takes 6 new rows for x: .*reshape"):
        pipeline(SIX[:2])


def test_lineage_counts_the_new_rows():
    torch = pytest.importorskip("torch")
    pipeline = tp.trace(lambda x: torch.flip(x, [0])).fit(torch.from_numpy(SIX))
    got = pipeline(tp.from_torch(torch.from_numpy(SIX[:2]), source_id="new"))
    np.testing.assert_array_equal(np.asarray(got), SIX[1::-1])
    assert {source: rows.tolist() for source, rows in tp.provenance(got).rows(0).items()} == {"new": [1]}


def test_a_pipeline_fitted_to_a_table_of_one_row_takes_any_number():
    one = pl.DataFrame({"id": [1], "a": [9.0]})
    fitted = tp.trace(lambda t: t.assign(a=t["a"] - t["a"].mean()).to_numpy()).fit(one)
    found = fitted(tp.from_dataframe(pl.DataFrame({"id": [2, 3, 4], "a": [1.0, 2.0, 9.0]}), "new"))
    assert found.shape == (3, 2)
    np.testing.assert_array_equal(found, [[2, -8], [3, -7], [4, 0]])
    assert tp.provenance(found).row_pairs()["new"][1].tolist() == [0, 1, 2]
