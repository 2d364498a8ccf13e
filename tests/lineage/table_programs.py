"""Random programs over tables, and tables for them: keys that repeat, dangle and are null, empty tables, NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
from hypothesis import strategies as st

KEYS = st.one_of(st.none(), st.integers(0, 3))
NUMBERS = st.one_of(st.none(), st.just(float("nan")), st.sampled_from([-2.5, 0.0, 1.0, 1.5, 7.0]))
TEXTS = st.one_of(st.none(), st.sampled_from(["ash oak", "oak", "elm", "oak oak ash"]))
CELLS = {"k": KEYS, "x": NUMBERS, "s": TEXTS}
SCHEMA = {"k": pl.Int64, "x": pl.Float64, "s": pl.String}


@st.composite
def frames(draw: Any, max_rows: int = 6, min_rows: int = 0) -> pl.DataFrame:
    """Tables with a key `k`, a number `x` and a text `s`, of 0 to 6 rows."""
    rows = draw(st.integers(min_rows, max_rows))
    columns = {name: draw(st.lists(cells, min_size=rows, max_size=rows)) for name, cells in CELLS.items()}
    return pl.DataFrame(columns, schema=SCHEMA)


def _joined(how: str) -> Callable[[Any, Any], Any]:
    def step(t: Any, other: Any) -> Any:
        found = t.join(other.select(["k", "x"]), on="k", how=how)
        return found.assign(x=found["x"] + found["x_right"]).select(["k", "x", "s"])

    return step


def _encoded(t: Any, other: Any) -> Any:
    known = t.target_encode("k", "x", smoothing=1.0)
    return t.assign(x=known["k"])


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
    "group": lambda t, other: t.group_by("k").agg(x=("x", "mean"), s=("s", "max")),
    "group twice": lambda t, other: t.group_by(["s", "k"]).agg(x=("x", "count")).cast({"x": "f64"})[["k", "x", "s"]],
    "mean": lambda t, other: t.fill_nulls({"x": "mean"}),
    "median": lambda t, other: t.fill_nulls({"x": "median", "s": "none"}),
    "mode": lambda t, other: t.fill_nulls("mode"),
    "bin": lambda t, other: t.bin("x", [0.0, 1.5]).cast({"x": "f64"}),
    "encode": _encoded,
    "text": lambda t, other: t.assign(x=t.str.len("s"), s=t["s"].str.upper().str.lower()),
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
    """Names of one to five steps, and of an end."""
    steps = draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=5))
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
    column = draw(st.integers(0, 2))
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
