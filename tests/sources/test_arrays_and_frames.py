"""Arrays and tables in memory as sources."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from traceprop.errors import SourceError


class TestArrays:
    def test_ids_count_up(self):
        tp.reset_graph()
        first, second = tp.from_numpy(np.ones(2)), tp.from_numpy(np.ones(2))
        assert (first.source_id, second.source_id) == ("array-0", "array-1")

    def test_nothing_is_copied(self):
        array = np.ones((3, 2))
        assert tp.from_numpy(array).source.value() is array

    def test_made_of_lists(self):
        x = tp.array([[1, 2], [3, 4]], dtype="float32", source_id="s")
        assert x.dtype == np.float32
        assert tp.provenance(x + 1).rows(1)["s"].tolist() == [1]

    def test_masked_arrays_are_refused(self):
        with pytest.raises(SourceError, match="masked array, and its mask would be lost; fill it first"):
            tp.from_numpy(np.ma.array([1.0, 2.0], mask=[0, 1]))

    @pytest.mark.parametrize("source_id", ["", 3])
    def test_an_id_is_text(self, source_id):
        with pytest.raises(SourceError, match="source_id must be a non-empty string"):
            tp.from_numpy(np.ones(2), source_id=source_id)

    def test_a_single_number(self):
        x = tp.from_numpy(np.float64(3), source_id="s") * 2
        assert float(x) == 6
        assert tp.provenance(x).cells(())["s"].shape == (1, 0)

    @pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[::-1], lambda a: a[:, ::2]])
    def test_layouts(self, layout):
        array = layout(np.arange(12.0).reshape(3, 4))
        np.testing.assert_array_equal(tp.from_numpy(array) * 2, array * 2)


ROWS = {"name": ["ann", None, "cy"], "n": [1, 2, 3], "x": [0.5, None, 2.0], "ok": [True, False, None]}


FRAMES = {
    "polars": lambda: pl.DataFrame(ROWS),
    "pandas": lambda: pytest.importorskip("pandas").DataFrame(ROWS),
    "arrow": lambda: pytest.importorskip("pyarrow").table(ROWS),
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
class TestFrames:
    def test_values_and_types(self, make):
        table = tp.from_dataframe(make(), source_id="people")
        assert list(table.columns) == ["name", "n", "x", "ok"]
        frame = table.compute()
        assert frame["name"].to_list() == ["ann", None, "cy"]
        assert frame["x"].to_list()[0] == 0.5
        assert frame["n"].to_list() == [1, 2, 3]

    def test_rows_keep_their_identity(self, make):
        table = tp.from_dataframe(make(), source_id="people").drop_nulls()
        assert tp.provenance(table).rows(0)["people"].tolist() == [0]
        assert table.compute().height == 1

    def test_predicates(self, make):
        table = tp.from_dataframe(make(), source_id="people")
        assert tp.provenance(table["n"] * 2).affected_rows("people", where="n >= 2").tolist() == [1, 2]


def test_what_is_no_table_is_refused():
    with pytest.raises(SourceError):
        tp.from_dataframe(object())


def test_two_columns_of_one_name_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(SourceError, match="'a'"):
        tp.from_dataframe(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_columns_of_mixed_kinds_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(SourceError, match="cannot be read"):
        tp.from_dataframe(pd.DataFrame({"a": [1, "x", b"y"]}))
