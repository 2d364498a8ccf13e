"""What table methods give, against polars', pandas' and scikit-learn's own results on random tables; and their errors."""

from __future__ import annotations

import datetime
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

import traceprop as tp
from tests.lineage.table_programs import frames
from traceprop.errors import ExecutionError

EXAMPLES = settings(max_examples=40, deadline=None)
DATED = pl.DataFrame({"d": [datetime.date(2024, 2, 29), None], "t": ["1.5", None], "n": [3, None]})


def table(frame: pl.DataFrame, name: str = "t") -> tp.Table:
    return tp.from_dataframe(frame, source_id=name)


def same(got: tp.Table, want: pl.DataFrame) -> None:
    """Equal as tables, with NaN as null."""
    frames = [frame.with_columns(pl.selectors.float().fill_nan(None)) for frame in (got.compute(), want)]
    assert frames[0].columns == frames[1].columns
    assert frames[0].rows() == frames[1].rows()


def missing_as_null(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("x").fill_nan(None))


@EXAMPLES
@given(frames(), frames())
@pytest.mark.parametrize("how", ["inner", "left", "semi", "anti"])
def test_joins_are_polars_joins(how, left, right):
    order = "left" if how in ("semi", "anti") else "left_right"
    got = table(left).join(table(right, "other"), on="k", how=how)
    same(got, left.join(right, on="k", how=how, maintain_order=order))
    view = tp.provenance(got)
    for i in range(len(got)):
        behind = view.rows(i)
        assert len(behind["t"]) == 1
        if how in ("inner", "left") and "other" in behind:
            assert left["k"][int(behind["t"][0])] == right["k"][int(behind["other"][0])]
        else:
            assert how != "inner"
            assert "other" not in behind


@EXAMPLES
@given(frames())
def test_groups_are_polars_groups(frame):
    got = table(frame).group_by(["k", "s"]).agg(
        total=("x", "sum"), x=("x", "mean"), low=("x", "min"), spread=("x", "std"), some=("x", "count"), n="len"
    )  # fmt: skip
    x = pl.col("x")
    groups = missing_as_null(frame).group_by("k", "s").agg(
        total=x.sum(), x=x.mean(), low=x.min(), spread=x.std(), some=x.count(), n=pl.len()
    )  # fmt: skip
    same(got, groups.sort("k", "s", nulls_last=True))
    view = tp.provenance(got)
    rows = frame.with_row_index("row")
    for i, key in enumerate(got.compute().select("k", "s").rows()):
        members = rows.filter(pl.col("k").eq_missing(key[0]) & pl.col("s").eq_missing(key[1]))["row"].to_list()
        assert view.rows(i) == {}
        assert view.rows(i, "aggregate")["t"].tolist() == members


@EXAMPLES
@given(frames())
def test_rows_picked_as_polars_picks_them(frame):
    t = table(frame)
    same(t.unique(["k", "s"]), frame.unique(["k", "s"], keep="first", maintain_order=True))
    order = missing_as_null(frame).with_row_index("row").sort("x", "s", nulls_last=True, maintain_order=True)["row"]
    same(t.sort(["x", "s"]), frame[order])
    down = missing_as_null(frame).with_row_index("row").sort("x", descending=True, nulls_last=True, maintain_order=True)
    same(t.sort("x", descending=True), frame[down["row"]])
    drawn = t.sample(frame.height // 2, seed=3)
    rows = [int(tp.provenance(drawn).rows(i)["t"][0]) for i in range(frame.height // 2)]
    assert len(set(rows)) == frame.height // 2
    same(drawn, frame[rows])


@EXAMPLES
@given(frames(min_rows=1))
def test_filled_as_pandas_fills(frame):
    pd = pytest.importorskip("pandas")
    t = table(frame)
    numbers = pd.DataFrame({"k": frame["k"].cast(pl.Float64).to_numpy(), "x": frame["x"].to_numpy()})
    for statistic in ("mean", "median"):
        filled = numbers.fillna(getattr(numbers, statistic)())
        np.testing.assert_allclose(t.fill_nulls(statistic)[["k", "x"]].to_numpy("f8"), filled.to_numpy())
    mode = t.fill_nulls("mode").compute()
    for name in ("k", "s"):
        words = frame[name].drop_nulls()
        want = frame[name].fill_null(words.mode().sort()[0]) if len(words) else frame[name]
        assert mode[name].to_list() == want.to_list()
    same(t.fill_nulls({"k": -1, "s": "?"}), frame.with_columns(pl.col("k").fill_null(-1), pl.col("s").fill_null("?")))


@EXAMPLES
@given(frames(min_rows=1))
def test_bins_and_conditions(frame):
    t, x = table(frame), frame["x"].fill_nan(None)
    places = np.digitize(x.fill_null(0.0).to_numpy(), [0.0, 1.5])
    want = [None if cell is None else int(place) for cell, place in zip(x, places, strict=True)]
    assert t.bin("x", [0.0, 1.5]).compute()["x"].to_list() == want
    np.testing.assert_array_equal(t["x"].is_null(), x.is_null().to_numpy())
    np.testing.assert_array_equal(t["s"].isin(["oak", "elm"]), frame["s"].is_in(["oak", "elm"]).fill_null(False))
    np.testing.assert_array_equal(t["k"].isin([1, 2]), frame["k"].is_in([1, 2]).fill_null(False))
    np.testing.assert_array_equal(t.str.contains("s", "oak"), frame["s"].str.contains("oak").fill_null(False))
    assert t["s"].str.upper().compute().tolist() == frame["s"].str.to_uppercase().to_list()


@EXAMPLES
@given(frames(min_rows=1))
def test_target_encoding_is_its_formula(frame):
    got = table(frame).target_encode("s", "x", smoothing=2.0).compute()["s"].to_numpy()
    x = frame["x"].fill_nan(None)
    prior = np.nan if x.mean() is None else x.mean()
    for cell, word in zip(got, frame["s"], strict=True):
        members = [] if word is None else x.filter(frame["s"] == word).drop_nulls()
        np.testing.assert_allclose(cell, (sum(members) + 2.0 * prior) / (len(members) + 2.0))


def test_target_encoding_of_new_rows_is_that_of_the_fitting_rows():
    @tp.trace
    def f(t):
        return t.target_encode("s", "x", smoothing=0.0)[["s"]].to_numpy()

    frame = pl.DataFrame({"s": ["a", "a", "b"], "x": [1.0, 3.0, 8.0]})
    fitted = f.fit(frame)
    with pytest.warns(UserWarning, match="'new'"):
        got = fitted(tp.from_dataframe(pl.DataFrame({"s": ["a", "new", None], "x": [0.0] * 3}), source_id="new rows"))
        np.testing.assert_allclose(got, [[2.0], [4.0], [4.0]])
    view = tp.provenance(got)
    assert view.rows(0)["new rows"].tolist() == [0]
    x_behind = [row for row, column in view.cells((0, 0), "aggregate")["t"].tolist() if column == 1]
    assert set(x_behind) >= {0, 1}


def test_tfidf_is_scikit_learns_and_its_rarity_is_fitted():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    words = ["The cat sat", "a dog and the cat", "", "Dog dog DOG", "zebra"]

    @tp.trace
    def f(t):
        return t.tfidf("s").to_numpy()

    vectors = text.TfidfVectorizer().fit(words)
    frame = pl.DataFrame({"s": words})
    np.testing.assert_allclose(f(frame), vectors.transform(words).toarray())
    fitted = f.fit(frame)
    new = ["cat dog unheard", "zebra zebra the"]
    np.testing.assert_allclose(fitted(pl.DataFrame({"s": new})), vectors.transform(new).toarray())


def test_fitted_means_fill_new_rows_and_group_means_join_them():
    @tp.trace
    def f(t):
        means = t.group_by("k").agg(m=("x", "mean"))
        return t.fill_nulls({"x": "mean"}).join(means, on="k", how="left")[["x", "m"]].to_numpy()

    frame = pl.DataFrame({"k": [1, 1, 2], "x": [1.0, 3.0, 8.0]})
    new = pl.DataFrame({"k": [2, 1, 7], "x": [None, 0.0, 1.0]}, schema={"k": pl.Int64, "x": pl.Float64})
    np.testing.assert_allclose(f.fit(frame)(new), [[4.0, 8.0], [0.0, 2.0], [1.0, np.nan]])


def test_casts_and_dates():
    t = table(DATED)
    cast = t.cast({"t": "f64", "n": "str", "d": "datetime"}).compute()
    assert cast["t"].to_list() == [1.5, None]
    assert cast["n"].to_list() == ["3", None]
    assert cast["d"].to_list() == [datetime.datetime(2024, 2, 29), None]
    np.testing.assert_array_equal(t.dt.year("d"), [2024, np.nan])
    np.testing.assert_array_equal(t["d"].dt.weekday(), [4, np.nan])
    read = table(pl.DataFrame({"d": ["2024-02-29", None]})).cast({"d": pl.Date})
    assert read.type.field("d").dtype == "date"
    assert read.compute()["d"].to_list() == DATED["d"].to_list()
    assert tp.provenance(t["d"].dt.month()).cells(0)["t"].tolist() == [[0, 0]]


def test_errors_say_what_where_and_what_to_do():
    t = table(pl.DataFrame({"age": [1, 2], "job": ["a", "x"]}), "people")
    with pytest.raises(
        KeyError, match=r"'aeg' at .*test_table_values.py:\d+; did you mean 'age'\? the table \('people'\)"
    ):
        t["aeg"]
    with pytest.raises(KeyError, match="the right table"):
        t.join(t.select(["age"]), on="job")
    with pytest.raises(TypeError, match="how is one of"):
        t.join(t, on="age", how="outer")
    with pytest.raises(ValueError, match="key 'job' is str in the left table and i64 in the right"):
        t.join(table(pl.DataFrame({"job": [1]}), "other"), on="job")
    with pytest.raises(TypeError, match="'job' is str and has no mean"):
        t.group_by("age").agg(job="mean")
    with pytest.raises(TypeError, match="cannot be filled"):
        t.fill_nulls({"age": "none"})
    with pytest.raises(TypeError, match="numbers that grow"):
        t.bin("age", [2, 1])
    with pytest.raises(TypeError, match=r"cast the column first"):
        t["age"].str.upper()
    with pytest.raises(ValueError, match="3 rows cannot be drawn from 2"):
        t.sample(3)
    with pytest.raises(ExecutionError, match=r"column 'job', row 0: 'a' is no i64"):
        t.cast({"job": "i64"}).compute()


def test_a_program_with_every_table_op(golden):
    @tp.trace
    def f(t, other):
        kept = t.unique(["k", "s"]).fill_nulls({"x": "mean"}).join(other, on="k", how="left")
        means = kept.group_by("k").agg(m=("x", "mean"))
        return kept.target_encode("s", "x", 1.0), means, t.sample(1, seed=0)

    from traceprop.ir import dump

    frame = pl.DataFrame({"k": [1, 2], "x": [0.5, None], "s": ["a", "b"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = f.ir(frame, frame.select("k", y="x"))
    assert dump(program, locations=False) == golden
