"""Parquet files: typed columns, or an error that names the file and the column."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import SourceError
from traceprop.sources import ParquetSource


def field_of(tmp_path, series: pl.Series):
    path = tmp_path / "t.parquet"
    series.to_frame().write_parquet(path)
    source = ParquetSource(path)
    return source.type(source.n_rows).fields[0].dtype, source.value().to_series()


@pytest.mark.parametrize(
    ("series", "dtype", "cells"),
    [
        (pl.Series("x", ["a", None, "a"], dtype=pl.Categorical), "str", ["a", None, "a"]),
        (pl.Series("x", ["a", "b"], dtype=pl.Enum(["b", "a"])), "str", ["a", "b"]),
        (pl.Series("x", [None, None]), "str", [None, None]),
        (pl.Series("x", [Decimal("1.10"), None], dtype=pl.Decimal(10, 2)), "f64", [1.1, None]),
        (pl.Series("x", [Decimal("12345678901.25")], dtype=pl.Decimal(38, 2)), "f64", [12345678901.25]),
        (pl.Series("x", [1, 2], dtype=pl.UInt8), "u8", [1, 2]),
        (pl.Series("x", [dt.timedelta(1)]), "duration", [dt.timedelta(1)]),
        (pl.Series("x", [dt.date(2020, 1, 1)]), "date", [dt.date(2020, 1, 1)]),
        (pl.Series("x", [dt.datetime(2020, 1, 1)], dtype=pl.Datetime("ns")), "datetime", [dt.datetime(2020, 1, 1)]),
        (pl.Series("x", [dt.timedelta(1)], dtype=pl.Duration("ms")), "duration", [dt.timedelta(1)]),
    ],
)
def test_types(tmp_path, series, dtype, cells):
    found, read = field_of(tmp_path, series)
    assert (found, read.to_list()) == (dtype, cells)


def test_nanoseconds_are_not_cut_off(tmp_path):
    series = pl.Series("x", [1_000, 1_001]).cast(pl.Datetime("ns"))
    with pytest.raises(SourceError, match=r"row 1: column 'x' holds .*, with nanoseconds"):
        field_of(tmp_path, series)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("odd", [[1, 2], [3]]),
        pl.Series("odd", [{"a": 1}]),
        pl.Series("odd", [b"\x00"]),
        pl.Series("odd", [dt.time(1, 2)]),
    ],
)
def test_types_that_have_no_like_are_named(tmp_path, series):
    path = tmp_path / "t.parquet"
    series.to_frame().with_columns(x=pl.lit(1)).write_parquet(path)
    with pytest.raises(
        SourceError, match=r"t\.parquet: column 'odd' holds .*, which cannot be traced; .*columns=\[…\]"
    ):
        tp.read_parquet(path)
    assert tp.read_parquet(path, columns=["x"]).compute()["x"][0] == 1
    with pytest.raises(SourceError, match=r"no column 'y'; its columns: odd, x"):
        tp.read_parquet(path, columns=["y"])


def test_a_decimal_of_too_many_digits(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame(
        {"x": pl.Series([Decimal("0.1"), Decimal("12345678901234567.89")], dtype=pl.Decimal(30, 2))}
    ).write_parquet(path)
    with pytest.raises(SourceError, match=r"t\.parquet, row 1: column 'x' .* 12345678901234567\.89 has more digits"):
        tp.read_parquet(path)


def test_times_with_zones_are_read_as_utc(tmp_path):
    at = pl.Series("at", [dt.datetime(2020, 1, 1, 23), dt.datetime(2021, 7, 1)]).dt.replace_time_zone("UTC")
    at.dt.convert_time_zone("Asia/Tokyo").to_frame().write_parquet(tmp_path / "t.parquet")
    table = tp.read_parquet(tmp_path / "t.parquet")
    assert table["at"].dt.hour().compute().tolist() == [23, 0]
    view = tp.provenance(table.sort("at", descending=True))
    assert view.rows(0)["t"].tolist() == [1]
    assert view.affected_rows("t", where="at > '2021-01-01'").tolist() == [0]


def test_arrow_dictionaries(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    column = pa.array(["x", "y", "x"]).dictionary_encode()
    parquet.write_table(pa.table({"d": column, "n": pa.array([1, 2, 3], pa.int16())}), tmp_path / "t.parquet")
    table = tp.read_parquet(tmp_path / "t.parquet")
    assert table["d"].compute().tolist() == ["x", "y", "x"]
    assert np.asarray(table["n"]).dtype == np.int16


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3), st.integers(0, 10_000))
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, changes, length):
    folder = tmp_path_factory.mktemp("damaged")
    frame = pl.DataFrame({"a": range(50), "s": [f"x{i % 7}" for i in range(50)], "f": [i / 3 for i in range(50)]})
    frame.write_parquet(folder / "t.parquet")
    content = bytearray((folder / "t.parquet").read_bytes())
    for at, byte in changes:
        content[at % len(content)] = byte
    (folder / "t.parquet").write_bytes(content[:length] if length < len(content) and length % 4 == 0 else content)
    try:
        table = tp.read_parquet(folder / "t.parquet")
    except SourceError:
        return
    assert len(table) == len(table.compute())
