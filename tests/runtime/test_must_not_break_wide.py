"""Tables of 20,000 columns, and functions with steps for each column: work grows as columns do, not as their square."""

from __future__ import annotations

import cProfile
import pstats

import numpy as np
import polars as pl

import traceprop as tp

WIDE = 20_000


def table(columns: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(rng.normal(size=(6, columns)), schema=[f"c{k}" for k in range(columns)]).with_columns(
        kind=pl.Series(["a", "b", "a", "b", "a", "b"])
    )


def test_a_table_of_twenty_thousand_columns():
    frame = table(WIDE)
    names = frame.columns[:-1]

    @tp.trace
    def prepared(t):
        t = t.assign(last=t["c1"] * 2)
        kept = t[t["c0"] > -9].drop_nulls().sort("c3").one_hot(["kind"])
        return kept, kept.select(names).to_numpy()

    kept, array = prepared(tp.from_dataframe(frame, source_id="wide"))
    order = np.argsort(frame["c3"].to_numpy(), kind="stable")
    np.testing.assert_array_equal(array, frame.select(names).to_numpy()[order])
    assert kept.compute().width == WIDE + 3
    assert tp.provenance(array).rows(2)["wide"].tolist() == [order[2]]
    assert f"c{WIDE - 1}" in str(prepared.ir(frame))


def calls(columns: int) -> int:
    """How many function calls it takes to trace, compile and run a function with steps for each column."""
    frame = table(columns)

    @tp.trace
    def filled(t):
        return t.select(frame.columns[:-1]).fill_nulls("mean").to_numpy()

    profile = cProfile.Profile()
    source = tp.from_dataframe(frame)
    profile.enable()
    result = filled(source).compute()
    profile.disable()
    np.testing.assert_array_equal(result, frame.select(frame.columns[:-1]).to_numpy())
    return pstats.Stats(profile).total_calls  # type: ignore[attr-defined]


def test_steps_for_each_column_take_as_many_calls_as_there_are_columns():
    calls(10)  # imports
    assert calls(400) < 2.3 * calls(200)
