"""Tables against plain polars (values) and against changed cells (lineage)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest

import traceprop as tp

PEOPLE = pl.DataFrame(
    {
        "age": [30, None, 41, 30, 55],
        "pay": [1.5, 2.0, float("nan"), 4.0, None],
        "job": ["cook", "clerk", None, "clerk", "cook"],
        "here": [True, False, True, True, False],
    }
)
OTHERS = pl.DataFrame({"age": [18, 90], "pay": [0.5, 9.0], "job": ["smith", "cook"], "here": [True, True]})
NUMBERS = pl.DataFrame({"a": [3, 1, 2, 1], "b": [0.5, 1.5, 2.5, 3.5]})


def table(frame: pl.DataFrame = PEOPLE, name: str = "people") -> tp.Table:
    return tp.from_dataframe(frame, source_id=name)


def plain_drop_nulls(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop_nulls().drop_nans()


def test_drop_nulls_counts_nan_as_missing():
    got = table().drop_nulls()
    assert got.compute().equals(plain_drop_nulls(PEOPLE))
    assert tp.provenance(got).rows(slice(None))["people"].tolist() == [0, 3]
    some = table().drop_nulls(["age"])
    assert some.compute().equals(PEOPLE.drop_nulls("age"))
    assert tp.provenance(some).rows(1)["people"].tolist() == [2]


def test_drop_nulls_reads_the_whole_row_as_control_and_all_rows_as_order():
    view = tp.provenance(table().drop_nulls())
    assert view.cells((1, 0), "direct")["people"].tolist() == [[3, 0]]
    assert view.cells((1, 0), "control")["people"].tolist() == [[3, 0], [3, 1], [3, 2], [3, 3]]
    assert len(view.cells((1, 0), "order")["people"]) == PEOPLE.height * PEOPLE.width


def test_drop_nulls_of_some_columns_reads_these_alone():
    view = tp.provenance(table().drop_nulls(["job"]))
    assert view.cells((0, 0), "control")["people"].tolist() == [[0, 2]]


def test_filter_by_numbers_text_and_booleans():
    t = table()
    assert t[t["age"] > 35].compute().equals(PEOPLE.filter(pl.col("age") > 35))
    assert t[t["job"] == "clerk"].compute().equals(PEOPLE.filter(pl.col("job") == "clerk"))
    assert t.filter(t["here"]).compute().equals(PEOPLE.filter(pl.col("here")))
    view = tp.provenance(t[t["job"] == "clerk"])
    assert view.rows(slice(None))["people"].tolist() == [1, 3]
    assert view.cells((1, 1), "control")["people"].tolist() == [[3, 2]]
    assert view.cells((1, 1), "order")["people"].tolist() == [[i, 2] for i in range(5)]


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(IndexError, match="3 cells"):
        table().filter(np.array([True, False, True]))


def test_a_filter_that_leaves_nothing():
    t = table()
    none = t[t["age"] > 1000]
    assert none.compute().equals(PEOPLE.clear())
    assert none.select(["age", "pay"]).to_numpy().shape == (0, 2)
    view = tp.provenance(none)
    assert view.rows(slice(None)) == {}
    assert view.affected_rows("people", kind="any").tolist() == []
    assert tp.provenance(none.select(["age"]).one_hot(["age"])).rows(slice(None)) == {}


def test_select_and_drop():
    t = table()
    assert t[["job", "age"]].compute().equals(PEOPLE.select("job", "age"))
    assert t.drop(["pay"]).compute().equals(PEOPLE.drop("pay"))
    assert tp.provenance(t[["job", "age"]]).cells((2, 1))["people"].tolist() == [[2, 0]]
    with pytest.raises(KeyError, match="jbo"):
        t.select(["jbo"])


def test_columns_as_arrays():
    t = table()
    np.testing.assert_array_equal(t["age"], [30, np.nan, 41, 30, 55])
    np.testing.assert_array_equal(t["pay"], [1.5, 2.0, np.nan, 4.0, np.nan])
    np.testing.assert_array_equal(t["here"], PEOPLE["here"].to_numpy())
    np.testing.assert_array_equal(table(OTHERS)["age"], [18, 90])
    assert table(OTHERS)["age"].dtype == np.int64
    assert tp.provenance(t["pay"]).cells(3)["people"].tolist() == [[3, 1]]


@pytest.mark.parametrize("sign", ["==", "!=", "<", "<=", ">", ">="])
def test_text_compares_as_in_polars_and_null_equals_nothing(sign):
    got = np.asarray(eval(f"t['job'] {sign} 'clerk'", {"t": table()}))
    want = eval(f"t['job'] {sign} 'clerk'", {"t": PEOPLE}).fill_null(sign == "!=").to_numpy()
    np.testing.assert_array_equal(got, want)


def test_text_columns_compare_with_one_another():
    frame = pl.DataFrame({"a": ["x", "y", None], "b": ["x", "x", "x"]})
    t = tp.from_dataframe(frame, source_id="t")
    np.testing.assert_array_equal(t["a"] == t["b"], [True, False, False])
    assert tp.provenance(t["a"] == t["b"]).cells(1)["t"].tolist() == [[1, 0], [1, 1]]


def test_assign():
    t = table(NUMBERS, "n")
    got = t.assign(c=t["a"] * t["b"], a=t["a"] + 1)
    want = NUMBERS.with_columns(c=pl.col("a") * pl.col("b"), a=pl.col("a") + 1)
    assert got.compute().equals(want)
    assert tp.provenance(got).cells((2, 2))["n"].tolist() == [[2, 0], [2, 1]]
    assert tp.provenance(got).cells((2, 0))["n"].tolist() == [[2, 0]]


def test_concat_takes_the_wider_type():
    whole, broken = pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [0.5]})
    both = tp.concat([tp.from_dataframe(whole, source_id="w"), tp.from_dataframe(broken, source_id="b")])
    assert both.compute()["a"].to_list() == [1.0, 2.0, 0.5]
    assert tp.provenance(both).rows(2)["b"].tolist() == [0]
    with pytest.raises(ValueError, match="differ in column"):
        tp.concat([tp.from_dataframe(whole, source_id="w2"), table()])


def test_sort_is_stable_and_puts_nulls_last():
    t = table()
    assert t.sort("age").compute().equals(PEOPLE.sort("age", nulls_last=True, maintain_order=True))
    view = tp.provenance(t.sort("age"))
    assert [view.rows(i)["people"].tolist() for i in range(5)] == [[0], [3], [2], [4], [1]]
    assert view.cells((0, 1), "order")["people"].tolist() == [[i, 0] for i in range(5)]


def plain_one_hot(frame: pl.DataFrame, name: str) -> np.ndarray:
    words = frame[name].unique().drop_nulls().sort()
    return np.stack([(frame[name] == word).fill_null(False).to_numpy() for word in words], axis=1).astype(np.uint8)


def test_one_hot():
    hot = table().select(["job", "here"]).one_hot(["job"])
    assert hot.columns == ["here", "job_clerk", "job_cook"]
    np.testing.assert_array_equal(hot.compute().to_numpy()[:, 1:].astype(np.uint8), plain_one_hot(PEOPLE, "job"))
    view = tp.provenance(hot)
    assert view.cells((3, 1), "direct")["people"].tolist() == [[3, 2]]
    assert view.cells((3, 1), "aggregate")["people"].tolist() == [[i, 2] for i in range(5)]
    assert view.cells((3, 0))["people"].tolist() == [[3, 3]]


def test_one_hot_of_numbers():
    t = table(NUMBERS, "n").one_hot(["a"])
    assert t.columns == ["b", "a_1", "a_2", "a_3"]
    np.testing.assert_array_equal(t.to_numpy()[:, 1:], plain_one_hot(NUMBERS, "a"))


def test_unseen_categories_give_zeros_and_a_warning():
    @tp.trace
    def prepare(t):
        return t.select(["job"]).one_hot(["job"]).to_numpy("float64")

    fitted = prepare.fit(PEOPLE)
    np.testing.assert_array_equal(fitted(PEOPLE), plain_one_hot(PEOPLE, "job"))
    with pytest.warns(UserWarning, match="'smith'"):
        new = np.asarray(fitted(OTHERS))
    np.testing.assert_array_equal(new, [[0, 0], [0, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a null is no unseen value
        np.testing.assert_array_equal(fitted(OTHERS.with_columns(job=pl.lit(None, pl.String))), np.zeros((2, 2)))


def test_fitted_lineage_names_the_new_row_and_the_rows_behind_the_statistics():
    @tp.trace
    def prepare(t):
        x = t.to_numpy("float64")
        return (x - x.mean(axis=0)) / x.std(axis=0)

    fitted = prepare.fit(NUMBERS)
    got = fitted(tp.from_dataframe(NUMBERS[1:2], source_id="new"))
    x = NUMBERS.to_numpy()
    np.testing.assert_array_equal(got, ((x - x.mean(axis=0)) / x.std(axis=0))[1:2])
    view = tp.provenance(got)
    assert view.rows(0) == {"new": [0]}
    assert view.rows(0, "aggregate")["t"].tolist() == [0, 1, 2, 3]
    assert view.affected_rows("t", [2], "aggregate").tolist() == [0]


def test_to_numpy():
    np.testing.assert_array_equal(table(NUMBERS, "n").to_numpy(), NUMBERS.to_numpy())
    whole = tp.from_dataframe(pl.DataFrame({"a": [1, 2], "b": [3, 4]}), source_id="w").to_numpy()
    assert whole.dtype == np.int64
    with_nulls = table().select(["age", "pay"]).to_numpy()
    np.testing.assert_array_equal(with_nulls, PEOPLE.select("age", "pay").to_numpy())
    with pytest.raises(TypeError, match="'job' is str"):
        table().to_numpy()


def test_one_row():
    one = table(PEOPLE[:1], "one")
    x = one.select(["age", "pay"]).to_numpy()
    np.testing.assert_array_equal(x - x.mean(axis=0), [[0.0, 0.0]])
    assert tp.provenance(one.drop_nulls()).rows(0) == {"one": [0]}


def test_pandas_frames_and_nullable_integers():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"n": pd.array([1, None, 3], dtype="Int64"), "t": ["a", "b", None]})
    t = tp.from_dataframe(frame, source_id="p")
    np.testing.assert_array_equal(t["n"], [1.0, np.nan, 3.0])
    assert tp.provenance(t.drop_nulls()).rows(slice(None))["p"].tolist() == [0]


def pipeline(left: Any, right: Any) -> Any:
    people = tp.concat([left.drop_nulls(), right.drop_nulls()])
    return people.select(["age", "pay", "job"]).one_hot(["job"]).sort("age").to_numpy("float64")


def test_changed_cells_stay_inside_what_is_reported():
    traced = tp.trace(pipeline)
    base = traced(PEOPLE, OTHERS)
    before, view = np.asarray(base), tp.provenance(base)
    reported = [view.cells(i) for i in range(len(before))]
    other = {"age": [29, 200, None], "pay": [0.0, None], "job": ["cook", "new", None], "here": [False]}
    for name, frame, k in (("left", PEOPLE, 0), ("right", OTHERS, 1)):
        for row in range(frame.height):
            for column, key in enumerate(frame.columns):
                for value in other[key]:
                    changed = frame[key].to_list()
                    changed[row] = value
                    frames = [PEOPLE, OTHERS]
                    frames[k] = frame.with_columns(pl.Series(key, changed, dtype=frame[key].dtype))
                    after = np.asarray(traced(*frames))
                    for i in range(len(before)):
                        if i >= len(after) or after.shape[1] != before.shape[1] or (after[i] != before[i]).any():
                            assert [row, column] in reported[i].get(name, np.empty(0)).tolist(), (i, name, row, key)


def test_what_decides_how_many_groups_there_are_decides_where_other_rows_stand():
    """A row behind a grouped table stands behind as many rows as there are groups, which any key may change."""
    left = pl.DataFrame({"k": ["a", "b", "b"], "x": [1.0, 2.0, 3.0]})
    right = pl.DataFrame({"k": ["z"], "x": [0.0]})

    @tp.trace
    def stacked(t, other):
        return tp.concat([t.group_by("k").agg(x=("x", "sum")), other])

    view = tp.provenance(stacked(left, right))
    assert view.rows(2, "order")["t"].tolist() == [0, 1, 2]
    assert view.rows(2, "direct")["other"].tolist() == [0]
    assert view.affected_rows("t", [1], "any").tolist() == [0, 1, 2]
