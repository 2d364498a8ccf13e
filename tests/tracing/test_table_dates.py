"""Dates of tables against polars and pandas: reading, parts, the time between dates, moving, comparing; and their types."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import traceprop as tp
from traceprop.errors import ExecutionError, SourceError, TraceError

EXAMPLES = settings(max_examples=30, deadline=None)
DAYS = st.dates(date(1960, 1, 1), date(2040, 12, 31))
TIMES = st.datetimes(datetime(1960, 1, 1), datetime(2040, 12, 31))
PARTS = "year month day week weekday ordinal_day quarter days_in_month is_leap_year".split()


@st.composite
def frames(draw):
    n = draw(st.integers(1, 5))
    columns = {
        name: draw(st.lists(st.none() | cells, min_size=n, max_size=n)) for name, cells in (("d", DAYS), ("e", TIMES))
    }
    return pl.DataFrame(columns, schema={"d": pl.Date, "e": pl.Datetime("us")})


def table(frame):
    return tp.from_dataframe(frame, source_id="t")


@EXAMPLES
@given(frames())
def test_parts_as_polars_has_them(frame):
    t = table(frame)
    for name in PARTS:
        want = getattr(frame["d"].dt, name)().cast(pl.Float64).to_numpy()
        np.testing.assert_array_equal(getattr(t["d"].dt, name)(), want)
    for name in ("hour", "minute", "second", "year"):
        np.testing.assert_array_equal(
            getattr(t.dt, name)("e"), getattr(frame["e"].dt, name)().cast(pl.Float64).to_numpy()
        )


@EXAMPLES
@given(frames())
def test_time_between_dates_as_pandas_has_it(frame):
    pd = pytest.importorskip("pandas")
    t = table(frame)
    d, e = (pd.Series(frame[name].to_numpy()).astype("datetime64[us]") for name in ("d", "e"))
    np.testing.assert_array_equal((t["e"] - t["d"]).dt.total_seconds(), (e - d).dt.total_seconds())
    np.testing.assert_array_equal((t["d"] - t["d"][0]).dt.total_days(), (d - d[0]).dt.total_seconds() / 86400)
    np.testing.assert_array_equal(t["e"] + np.timedelta64(90, "m"), (e + pd.Timedelta(minutes=90)).to_numpy())
    np.testing.assert_array_equal(t["e"] + timedelta(hours=5), (e + pd.Timedelta(hours=5)).to_numpy())
    for mine, theirs in (
        (t["d"] < t["e"], d < e),
        (t["d"] >= date(2000, 1, 1), d >= pd.Timestamp(2000, 1, 1)),
        (t["e"] == t["e"], e == e),
        (t["e"] != np.datetime64("2000-01-01T00:00"), e != pd.Timestamp(2000, 1, 1)),
    ):
        np.testing.assert_array_equal(mine, theirs)


@EXAMPLES
@given(frames())
def test_calendar_and_text_as_polars_has_them(frame):
    t, d, e = table(frame), frame["d"], frame["e"]
    np.testing.assert_array_equal(t["d"].dt.offset_by("1mo"), d.dt.offset_by("1mo").to_numpy())
    np.testing.assert_array_equal(t["e"].dt.truncate("1h"), e.dt.truncate("1h").to_numpy())
    np.testing.assert_array_equal(t["e"].dt.date(), e.dt.date().to_numpy())
    text = t["d"].dt.format("%d.%m.%Y")
    assert text.compute().tolist() == d.dt.to_string("%d.%m.%Y").to_list()
    np.testing.assert_array_equal(text.str.to_date("%d.%m.%Y"), d.to_numpy())
    written = t["e"].dt.format("%Y-%m-%d %H:%M:%S%.6f")
    np.testing.assert_array_equal(written.str.to_datetime("%Y-%m-%d %H:%M:%S%.f"), e.to_numpy())


@EXAMPLES
@given(frames())
def test_columns_of_spans(frame):
    """Whole days stay whole days through the engine, which counts in microseconds."""
    t = table(frame)
    wide = t.assign(gap=t["d"] - np.datetime64("2000-01-01"), stay=t["e"] - t["d"])
    assert [field.dtype for field in wide.type.fields] == ["date", "datetime", "days", "duration"]
    np.testing.assert_array_equal(wide["gap"], frame["d"].to_numpy() - np.datetime64("2000-01-01", "D"))
    assert np.asarray(wide["gap"]).dtype == "timedelta64[D]"
    assert wide["stay"].dtype == np.asarray(wide["stay"]).dtype == "timedelta64[us]"
    want = frame.with_columns(stay=pl.col("e") - pl.col("d").cast(pl.Datetime("us"))).sort(
        "stay", nulls_last=True, maintain_order=True
    )
    assert wide.sort("stay").compute()["stay"].to_list() == want["stay"].to_list()
    filled = wide.fill_nulls({"stay": timedelta(days=1)}).compute()["stay"]
    assert filled.to_list() == wide.compute()["stay"].fill_null(timedelta(days=1)).to_list()
    folded = wide.assign(k=wide["d"].dt.year()).group_by("k").agg(longest=("stay", "max")).compute()
    assert folded["longest"].dtype == pl.Duration("us")


def test_rows_without_a_date_are_one_group():
    """polars' join finds a NaN of a single row unequal to itself; a missing number is a missing key."""
    frame = pl.DataFrame({"d": [None], "x": [1.0]}, schema={"d": pl.Date, "x": pl.Float64})
    t = table(frame)
    found = t.assign(year=t["d"].dt.year()).group_by("year").agg(x=("x", "sum")).compute()
    assert found["x"].to_list() == [1.0]


def test_text_that_is_no_date_is_named():
    t = tp.from_dataframe(pl.DataFrame({"s": ["2024-02-29", None, "2023-02-29"]}), source_id="t")
    with pytest.raises(ExecutionError, match=r"row 2: '2023-02-29' is no date; strict=False leaves it out"):
        t["s"].str.to_date().compute()
    found = t["s"].str.to_date(strict=False).compute()
    np.testing.assert_array_equal(found, np.array(["2024-02-29", "NaT", "NaT"], "M8[D]"))
    with pytest.raises(ExecutionError, match=r"is no datetime of the form .%H:%M"):
        t["s"].str.to_datetime("%H:%M %d.%m.%Y").compute()


def test_a_program_with_dates_prints_and_reads_back():
    @tp.trace
    def f(t):
        stay = t["left"] - t["came"]
        return t.assign(stay=stay)[stay.dt.total_days() > 1]

    frame = pl.DataFrame({"came": [date(2020, 1, 1)] * 2, "left": [date(2020, 1, 2), date(2020, 1, 5)]})
    program = f.ir(frame)
    text = str(program)
    assert "elementwise[numpy.subtract]" in text
    assert "days[N]" in text
    assert tp.ir.parse(text, tp.ir.constants_of(program)) == program
    result = f(frame)
    assert result.compute()["stay"].to_list() == [timedelta(days=4)]
    view = tp.provenance(result)
    assert view.rows(0)["t"].tolist() == [1]
    assert view.cells((0, 2), kind="direct")["t"].tolist() == [[1, 0], [1, 1]]


def test_a_new_row_is_measured_from_the_fitted_date():
    """The earliest date is a statistic: a fitted pipeline keeps that of its rows."""
    since = tp.trace(lambda t: (t["d"] - t["d"].min()).dt.total_days())
    fitted = since.fit(pl.DataFrame({"d": [date(2020, 1, 1), date(2020, 1, 3)]}))
    np.testing.assert_array_equal(fitted(pl.DataFrame({"d": [date(2020, 1, 11)]})), [10.0])


def test_pandas_frames_come_in_nanoseconds():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"t": pd.to_datetime(["2020-01-01 06:00", None]).astype("datetime64[ns]")})
    t = tp.from_dataframe(frame, source_id="p")
    assert np.asarray(t["t"]).dtype == t["t"].dtype == "datetime64[us]"
    frame["t"] = frame["t"] + pd.Timedelta(1, "ns")
    with pytest.raises(SourceError, match=r"row 0: column 't' holds .*, with nanoseconds"):
        tp.from_dataframe(frame, source_id="q")


def test_what_dates_lack_is_refused():
    t = tp.from_dataframe(pl.DataFrame({"d": [date(2020, 1, 1)], "x": [1.0]}), source_id="t")
    with pytest.raises(
        TraceError, match=r"\.dt at .*test_table_dates.py:\d+ is of date and datetime and days and duration"
    ):
        t["x"].dt
    with pytest.raises(TraceError, match=r"\.dt\.hour"):
        t["d"].dt.hour()
    with pytest.raises(TypeError, match=r"datetime64\[h\] cannot be traced; bring it to datetime64\[us\] or \[D\]"):
        t["d"] + np.timedelta64(1, "h")
    with pytest.raises(TraceError, match="not a number"):
        t.assign(g=t["d"] - t["d"]).to_numpy()
