"""Keys: rows found again in a file that was sorted anew or rewritten, and never a row mistaken for another."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import ChangedSourceWarning, LineageError, SourceError


def write(path, rows, header="client_id,age"):
    path.write_text("\n".join([header, *rows]) + "\n")


def test_rows_are_found_by_key_in_a_rewritten_file(tmp_path):
    path = tmp_path / "clients.csv"
    write(path, ["7,30", "3,40", "9,50"])
    view = tp.provenance(tp.read_csv(path, key="client_id")["age"][::-1])
    assert view.keys(slice(None))["clients"].tolist() == [7, 3, 9]
    assert view.keys(0)["clients"].tolist() == [9]
    write(path, ["41,3", "99,1", "50,009"], "age,client_id")
    with pytest.warns(
        ChangedSourceWarning, match="found by 'client_id', on the lines of now; 1 of 3 are there no more"
    ):
        found = view.locate(slice(None))
    assert [(place.row, place.line, place.text) for place in found] == [
        (0, None, None),
        (1, 2, "41,3"),
        (2, 4, "50,009"),
    ]
    assert view.rows(0)["clients"].tolist() == [2]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.text(st.sampled_from('ab1", \né'), max_size=4), unique=True, min_size=1, max_size=6)
    | st.lists(st.integers(-20, 20), unique=True, min_size=1, max_size=6)
    | st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), unique=True, min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_a_row_is_found_where_its_key_is_or_nowhere(tmp_path_factory, keys, random):
    path = tmp_path_factory.mktemp("keys") / "t.csv"
    frame = pl.DataFrame({"k": keys, "n": range(len(keys))})
    frame.write_csv(path, quote_style="always")
    try:
        view = tp.provenance(tp.read_csv(path, key="k")["n"])
    except SourceError:
        return  # an empty cell, or two keys that are one number
    order = random.sample(range(len(keys)), random.randint(0, len(keys)))
    rewritten = pl.concat([frame[order], frame[:1]]) if random.random() < 0.3 else frame[order]
    rewritten.write_csv(path, quote_style="always")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChangedSourceWarning)
        found = view.locate(slice(None))
    kept = rewritten["n"].to_list()
    for place in found:
        if kept.count(place.row) == 1:
            assert place.text.endswith(f',"{place.row}"')
        else:
            assert (place.line, place.text) == (None, None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,a", "2,b", "1,c"], r"t\.csv, line 4: client_id=1 is there already, in line 2"),
        (["1,a", '2,"b', '"', ",c"], r"t\.csv, line 5: there is no 'client_id'"),
        ([",a", ",b"], r"t\.csv, line 2: there is no 'client_id', .* \(2 rows have none\)"),
    ],
)
def test_a_key_names_every_row_and_one_only(tmp_path, rows, message):
    write(tmp_path / "t.csv", rows, "client_id,s")
    with pytest.raises(SourceError, match=message):
        tp.read_csv(tmp_path / "t.csv", key="client_id")


def test_an_unknown_key_column_and_a_source_without_a_key(tmp_path):
    write(tmp_path / "t.csv", ["1,2"])
    with pytest.raises(SourceError, match="no column 'client' to be its key; its columns: client_id, age"):
        tp.read_csv(tmp_path / "t.csv", key="client")
    plain = tp.read_csv(tmp_path / "t.csv")
    assert tp.provenance(plain).keys(0) == {}
    with pytest.raises(LineageError, match="has no key"):
        plain.source.keys([0])


def test_a_file_whose_key_column_is_gone_or_that_is_no_csv_file_now(tmp_path):
    path = tmp_path / "t.csv"
    write(path, ["1,2"])
    view = tp.provenance(tp.read_csv(path, key="client_id"))
    write(path, ["1,2"], "id,age")
    with pytest.warns(ChangedSourceWarning, match="no line is shown"):
        assert view.locate(0)[0].line is None
    path.write_bytes(b"client_id\n\xff\n")
    with pytest.warns(ChangedSourceWarning, match="is no CSV file now"):
        assert view.locate(0)[0].line is None


@pytest.mark.parametrize("key", ["_row_id", "_ducklake_internal_row_id"])
def test_a_table_formats_own_row_ids(tmp_path, key):
    frame = pl.DataFrame({key: [4, 2, 11], "amount": [1.0, 2.0, 3.0]})
    frame.write_parquet(tmp_path / "part.parquet")
    loans = tp.read_parquet(tmp_path / "part.parquet", key=key)
    view = tp.provenance(loans["amount"][1:])
    assert view.keys(slice(None))["part"].tolist() == [2, 11]
    assert view.changed_sources() == {}
    frame[::-1].write_parquet(tmp_path / "part.parquet")
    assert "has changed" in view.changed_sources()["part"]
    with pytest.raises(SourceError, match=f"row 1: there is no '{key}'"):
        tp.from_dataframe(frame.with_columns(pl.Series(key, [1, None, 2])), "loans", key=key)


def test_keys_of_tables_in_memory_and_of_arrays(tmp_path):
    frame = pl.DataFrame({"rowid": [5, 3, 8], "x": [1.0, np.nan, 2.0]})
    table = tp.from_dataframe(frame, "loans", key="rowid")
    assert tp.provenance(table.filter(table["x"] > 1.5)).keys(0)["loans"].tolist() == [8]
    with pytest.raises(SourceError, match="row 1: there is no 'x'"):
        tp.from_dataframe(frame, "loans", key="x")
    frame.write_csv(tmp_path / "t.csv")
    assert tp.provenance(tp.from_csv(tmp_path / "t.csv", key="rowid")[1:2]).keys(0)["t"].tolist() == [3.0]


def test_a_fitted_pipeline_keeps_keys(tmp_path):
    frame = pl.DataFrame({"id": [5, 3], "x": [1.0, 2.0]})
    centred = tp.trace(lambda t: t.assign(x=t["x"] - t["x"].mean())).fit(tp.from_dataframe(frame, "old"))
    new = tp.from_dataframe(frame.select("x", "id"), "new", key="id")
    assert tp.provenance(centred(new)).keys(1)["new"].tolist() == [3]
