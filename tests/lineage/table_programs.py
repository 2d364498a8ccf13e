"""Random programs over tables, and tables for them: keys that repeat, dangle and are null, empty tables, NaN."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

KEYS = st.one_of(st.none(), st.integers(0, 3))
NUMBERS = st.one_of(st.none(), st.just(float("nan")), st.sampled_from([-2.5, 0.0, 1.0, 1.5, 7.0]))
TEXTS = st.one_of(st.none(), st.sampled_from(["ash oak", "oak", "elm", "oak oak ash"]))
DAYS = st.one_of(
    st.none(), st.sampled_from([date(2020, 1, 1), date(2020, 1, 31), date(2020, 2, 29), date(2021, 12, 31)])
)
TIMES = st.one_of(
    st.none(), st.sampled_from([datetime(2020, 1, 1, 6), datetime(2020, 1, 31, 23, 59, 59), datetime(2021, 1, 1)])
)
CELLS = {"k": KEYS, "x": NUMBERS, "s": TEXTS, "d": DAYS, "e": TIMES}
SCHEMA = {"k": pl.Int64, "x": pl.Float64, "s": pl.String, "d": pl.Date, "e": pl.Datetime("us")}
COLUMNS = list(SCHEMA)


@st.composite
def frames(draw: Any, max_rows: int = 6, min_rows: int = 0) -> pl.DataFrame:
    """Tables with a key `k`, a number `x`, a text `s`, a date `d` and a time `e`, of 0 to 6 rows."""
    rows = draw(st.integers(min_rows, max_rows))
    columns = {name: draw(st.lists(cells, min_size=rows, max_size=rows)) for name, cells in CELLS.items()}
    return pl.DataFrame(columns, schema=SCHEMA)


def _joined(how: str) -> Callable[[Any, Any], Any]:
    def step(t: Any, other: Any) -> Any:
        found = t.join(other.select(["k", "x"]), on="k", how=how)
        return found.assign(x=found["x"] + found["x_right"]).select(COLUMNS)

    return step


def _encoded(t: Any, other: Any) -> Any:
    known = t.target_encode("k", "x", smoothing=1.0)
    return t.assign(x=known["k"])


def _spans(t: Any, other: Any) -> Any:
    """A column of spans that goes through the engine and back."""
    wide = t.assign(gap=t["d"] - np.datetime64("2020-01-01"), rest=t["e"] - t["d"]).sort("gap")
    return wide.assign(x=wide["gap"].dt.total_days() + wide.dt.total_hours("rest")).select(COLUMNS)


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "filter": lambda t, other: t[t["x"] > 0.5],
    "isin": lambda t, other: t[t["s"].isin(["oak", "elm"]) & ~t["k"].is_null()],
    "drop_nulls": lambda t, other: t.drop_nulls(["k"]),
    "sort": lambda t, other: t.sort(["s", "x"]),
    "sort down": lambda t, other: t.sort("x", descending=True),
    "unique": lambda t, other: t.unique(["k", "s"]),
    "inner": _joined("inner"),
    "left": _joined("left"),
    "semi": lambda t, other: t.join(other, on="k", how="semi"),
    "anti": lambda t, other: t.join(other, on=["k", "s"], how="anti"),
    "group": lambda t, other: t.group_by("k").agg(x=("x", "mean"), s=("s", "max"), d=("d", "max"), e=("e", "min")),
    "group twice": lambda t, other: (
        t.group_by(["s", "k"]).agg(x=("x", "count"), d=("d", "first"), e=("e", "max")).cast({"x": "f64"})[COLUMNS]
    ),
    "mean": lambda t, other: t.fill_nulls({"x": "mean"}),
    "median": lambda t, other: t.fill_nulls({"x": "median", "s": "none"}),
    "mode": lambda t, other: t.fill_nulls("mode"),
    "bin": lambda t, other: t.bin("x", [0.0, 1.5]).cast({"x": "f64"}),
    "encode": _encoded,
    "text": lambda t, other: t.assign(x=t.str.len("s"), s=t["s"].str.upper().str.lower()),
    "age": lambda t, other: t.assign(x=(t["e"] - t["d"]).dt.total_days()),
    "spans": _spans,
    "parts": lambda t, other: t.assign(x=t["d"].dt.year() * 12 + t.dt.month("d") + t["e"].dt.hour() / 24),
    "calendar": lambda t, other: t.assign(
        d=t["d"].dt.offset_by("1mo").dt.truncate("1w"), e=t["e"] + timedelta(hours=5)
    ),
    "later": lambda t, other: t.assign(d=t["d"] + np.timedelta64(3, "D"), e=t["e"] - np.timedelta64(90, "m")),
    "before": lambda t, other: t[t["d"] < t["e"].dt.date()],
    "since": lambda t, other: t[t["d"] >= date(2020, 1, 31)],
    "read": lambda t, other: t.assign(d=t["d"].dt.format("%d.%m.%Y").str.to_date("%d.%m.%Y")),
    "years": lambda t, other: t.assign(x=t["d"].dt.date().dt.is_leap_year() + t["d"].dt.week()),
    "sort dates": lambda t, other: t.sort(["d", "e"]),
    "known dates": lambda t, other: t.fill_nulls({"d": date(2020, 1, 1)}).drop_nulls(["e"]),
    "concat": lambda t, other: _stacked(t, other),
}


def _stacked(t: Any, other: Any) -> Any:
    import traceprop as tp

    return tp.concat([t, other])


ENDS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda t: t,
    "one hot": lambda t: t.one_hot(["s"]),
    "words": lambda t: t.tfidf("s"),
}


@st.composite
def programs(draw: Any) -> tuple[list[str], str]:
    """Names of one to eight steps, and of an end."""
    steps = draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=8))
    return steps, draw(st.sampled_from(sorted(ENDS)))


def run(program: tuple[list[str], str], t: Any, other: Any) -> Any:
    """The program on two tables."""
    steps, end = program
    for name in steps:
        t = STEPS[name](t, other)
    return ENDS[end](t)


@st.composite
def changes(draw: Any, tables: list[pl.DataFrame]) -> tuple[int, int, int, Any] | None:
    """(table, row, column, new value), or `None` where there is no cell to change."""
    filled = [n for n, frame in enumerate(tables) if frame.height]
    if not filled:
        return None
    n = draw(st.sampled_from(filled))
    row = draw(st.integers(0, tables[n].height - 1))
    column = draw(st.integers(0, len(COLUMNS) - 1))
    return n, row, column, draw(list(CELLS.values())[column])


def changed(tables: list[pl.DataFrame], change: tuple[int, int, int, Any]) -> list[pl.DataFrame]:
    """The tables with one cell changed."""
    n, row, column, value = change
    name = list(SCHEMA)[column]
    cells = tables[n][name].to_list()
    cells[row] = value
    after = list(tables)
    after[n] = tables[n].with_columns(pl.Series(name, cells, dtype=SCHEMA[name]))
    return after
