"""The methods of tables and columns in all their options, each with the same in polars."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

import traceprop as tp
from tests.lineage.judge_tables import TableCase

GONE = "a row that is gone is no cell of it"
KEYS = "a key that is there once more, or as it was"
Cases = dict[str, TableCase]
c = pl.col


ROWS: Cases = {
    "filter": TableCase(lambda t: t.filter(t["x"] > 0.5), lambda t: t.filter(c("x") > 0.5), GONE),
    "t[mask]": TableCase(lambda t: t[t["s"] == "oak"], lambda t: t.filter(c("s") == "oak"), GONE),
    "t[mask & mask]": TableCase(
        lambda t: t[(t["x"] > 0) & ~t["k"].is_null()], lambda t: t.filter((c("x") > 0) & c("k").is_not_null()), GONE
    ),
    "t[isin]": TableCase(
        lambda t: t[t["s"].isin(["oak", "elm"])], lambda t: t.filter(c("s").is_in(["oak", "elm"])), GONE
    ),
    "drop_nulls": TableCase(lambda t: t.drop_nulls(), lambda t: t.drop_nulls(), GONE),
    "drop_nulls(subset)": TableCase(lambda t: t.drop_nulls(["x", "k"]), lambda t: t.drop_nulls(["x", "k"]), GONE),
    "sort": TableCase(lambda t: t.sort("x"), lambda t: t.sort("x", nulls_last=True, maintain_order=True), "ties"),
    "sort of two": TableCase(
        lambda t: t.sort(["k", "x"]), lambda t: t.sort(["k", "x"], nulls_last=True, maintain_order=True), "ties"
    ),
    "sort descending": TableCase(
        lambda t: t.sort("x", descending=True),
        lambda t: t.sort("x", descending=True, nulls_last=True, maintain_order=True),
        "ties",
    ),
    "sort of text": TableCase(
        lambda t: t.sort("s"), lambda t: t.sort("s", nulls_last=True, maintain_order=True), "ties"
    ),
    "sort of dates": TableCase(
        lambda t: t.sort("d"), lambda t: t.sort("d", nulls_last=True, maintain_order=True), "ties"
    ),
    "unique": TableCase(lambda t: t.unique(), lambda t: t.unique(keep="first", maintain_order=True), KEYS),
    "unique(cols)": TableCase(
        lambda t: t.unique(["k"]), lambda t: t.unique(["k"], keep="first", maintain_order=True), KEYS
    ),
    "sample": TableCase(
        lambda t: t.sample(3, seed=1), lambda t: t[np.random.default_rng(1).choice(t.height, 3, replace=False).tolist()]
    ),
    "concat": TableCase(lambda t, u: tp.concat([t, u]), lambda t, u: pl.concat([t, u])),
}
COLUMNS: Cases = {
    "t[name]": TableCase(lambda t: t["x"], lambda t: t["x"].to_numpy()),
    "t[names]": TableCase(lambda t: t[["x", "k"]], lambda t: t.select(["x", "k"])),
    "select": TableCase(lambda t: t.select(["s"]), lambda t: t.select(["s"])),
    "drop": TableCase(lambda t: t.drop(["s", "k"]), lambda t: t.drop(["s", "k"])),
    "assign": TableCase(lambda t: t.assign(y=t["x"] * 2), lambda t: t.with_columns((c("x") * 2).alias("y"))),
    "assign in place of one": TableCase(lambda t: t.assign(x=t["x"] + 1), lambda t: t.with_columns(c("x") + 1)),
    "cast": TableCase(lambda t: t[["k"]].cast({"k": "f64"}), lambda t: t.select(c("k").cast(pl.Float64))),
    "cast to text": TableCase(lambda t: t[["k"]].cast({"k": "str"}), lambda t: t.select(c("k").cast(pl.String))),
    "fill_nulls(value)": TableCase(lambda t: t[["x"]].fill_nulls(0.0), lambda t: t.select(c("x").fill_null(0.0))),
    "fill_nulls(dict)": TableCase(
        lambda t: t[["x", "s"]].fill_nulls({"x": 9.0, "s": "none"}),
        lambda t: t.select(c("x").fill_null(9.0), c("s").fill_null("none")),
    ),
    'fill_nulls("mean")': TableCase(
        lambda t: t[["x"]].fill_nulls("mean"), lambda t: t.select(c("x").fill_null(c("x").mean()))
    ),
    'fill_nulls("median")': TableCase(
        lambda t: t[["x"]].fill_nulls("median"), lambda t: t.select(c("x").fill_null(c("x").median()))
    ),
    'fill_nulls("mode")': TableCase(
        lambda t: t[["s"]].fill_nulls("mode"), lambda t: t.select(c("s").fill_null(_mode(t["s"])))
    ),
    "is_null": TableCase(lambda t: t["x"].is_null(), lambda t: t["x"].is_null()),
    "is_not_null": TableCase(lambda t: t["s"].is_not_null(), lambda t: t["s"].is_not_null()),
    "isin": TableCase(lambda t: t["k"].isin([0, 2]), lambda t: t["k"].is_in([0, 2]).fill_null(False)),
    "comparison of columns": TableCase(lambda t: t["x"] > t["k"], lambda t: (t["x"] > t["k"]).fill_null(False)),
    "arithmetic of columns": TableCase(
        lambda t: t.assign(y=(t["x"] - t["k"]) / 2)[["y"]], lambda t: t.select(((c("x") - c("k")) / 2).alias("y"))
    ),
    "bin": TableCase(
        lambda t: t[["x"]].drop_nulls().bin("x", [0.0, 1.0]),
        lambda t: (
            t.select("x").drop_nulls().select(pl.Series("x", np.digitize(t["x"].drop_nulls().to_numpy(), [0.0, 1.0])))
        ),
        GONE,
    ),
    "to_numpy": TableCase(
        lambda t: t[["x", "k"]].fill_nulls(0).to_numpy(float),
        lambda t: t.select(c("x").fill_null(0), c("k").fill_null(0)).to_numpy(),
    ),
    "to_numpy into array code": TableCase(
        lambda t: np.cumsum(t[["x"]].fill_nulls(0.0).to_numpy(float), axis=0),
        lambda t: np.cumsum(t.select(c("x").fill_null(0.0)).to_numpy(), axis=0),
    ),
    "standardised": TableCase(
        lambda t: (lambda x: (x - x.mean(0)) / (x.std(0) + 1))(t[["x"]].fill_nulls("mean").to_numpy(float)),
        lambda t: (lambda x: (x - x.mean(0)) / (x.std(0) + 1))(t.select(c("x").fill_null(c("x").mean())).to_numpy()),
    ),
}


def _mode(column: pl.Series) -> Any:
    counted = column.drop_nulls().value_counts().sort(["count", column.name], descending=[True, False])
    return counted[column.name][0] if counted.height else None


ENCODED: Cases = {
    "one_hot": TableCase(lambda t: t[["k", "s"]].one_hot(["s"]), lambda t: _hot(t.select("k", "s"), "s"), KEYS),
    "target_encode": TableCase(
        lambda t: t.fill_nulls({"x": 0.0, "s": "none"}).target_encode("s", "x")[["s"]],
        lambda t: _smoothed(t, 0.0),
        "a text that is there once",
    ),
    "target_encode smoothed": TableCase(
        lambda t: t.fill_nulls({"x": 0.0, "s": "none"}).target_encode("s", "x", smoothing=2.0)[["s"]],
        lambda t: _smoothed(t, 2.0),
    ),
    "tfidf": TableCase(
        lambda t: t[["s"]].fill_nulls("elm").tfidf("s"),
        lambda t: _tfidf(t["s"].fill_null("elm")),
        "the words are those of one draw",
    ),
}


def _hot(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    words = sorted(frame[name].drop_nulls().unique().to_list())
    coded = [(frame[name] == word).fill_null(False).alias(f"{name}_{word}") for word in words]
    at = frame.columns.index(name)
    return pl.DataFrame(
        [*(frame[other] for other in frame.columns[:at]), *coded, *(frame[o] for o in frame.columns[at + 1 :])]
    )


def _smoothed(frame: pl.DataFrame, weight: float) -> pl.DataFrame:
    filled = frame.with_columns(c("x").fill_null(0.0), c("s").fill_null("none"))
    return filled.select((c("x").sum().over("s") + weight * c("x").mean()) / (pl.len().over("s") + weight))


def _tfidf(texts: pl.Series) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return np.asarray(TfidfVectorizer(token_pattern=r"(?u)\b\w\w+\b").fit_transform(texts.to_list()).todense())


def _joined(how: Any, many: bool = False) -> TableCase:
    def plain(t: pl.DataFrame, u: pl.DataFrame) -> pl.DataFrame:
        left, right = t.select("k", "x"), u.select("k", "s")
        return left.join(right, on="k", how=how, maintain_order="left_right" if how in ("inner", "left") else "left")

    return TableCase(lambda t, u: t[["k", "x"]].join(u[["k", "s"]], on="k", how=how), plain, GONE)


JOINS: Cases = {
    "join inner, many to many, dangling keys": _joined("inner"),
    "join left": _joined("left"),
    "join semi": _joined("semi"),
    "join anti": _joined("anti"),
    "join on two": TableCase(
        lambda t, u: t[["k", "s", "x"]].join(u[["k", "s", "d"]], on=["k", "s"]),
        lambda t, u: t.select("k", "s", "x").join(u.select("k", "s", "d"), on=["k", "s"], maintain_order="left_right"),
        GONE,
    ),
    "join of equal names": TableCase(
        lambda t, u: t[["k", "x"]].join(u[["k", "x"]], on="k"),
        lambda t, u: t.select("k", "x").join(u.select("k", "x"), on="k", maintain_order="left_right"),
        GONE,
    ),
}


def _fold(column: pl.Expr, fold: str) -> pl.Expr:
    found: pl.Expr = getattr(column.drop_nulls() if fold == "n_unique" else column, fold)()
    return found


def _grouped(fold: str, column: str = "x", keys: Any = "k") -> TableCase:
    def plain(t: pl.DataFrame) -> pl.DataFrame:
        return t.group_by(keys, maintain_order=True).agg(_fold(c(column), fold).alias("y")).sort(keys, nulls_last=True)

    return TableCase(lambda t: t.group_by(keys).agg(y=(column, fold)), plain, KEYS)


GROUPS: Cases = {
    **{
        f"group_by.agg({fold})": _grouped(fold)
        for fold in "mean sum min max count first last std var median n_unique".split()
    },
    "group_by.agg(max) of text": _grouped("max", "s"),
    "group_by.agg(min) of dates": _grouped("min", "d"),
    "group_by of text": _grouped("sum", "x", "s"),
    "group_by of two": _grouped("count", "x", ["k", "s"]),
    "group_by.agg(size)": TableCase(
        lambda t: t.group_by("k").agg(n=("x", "len")),
        lambda t: t.group_by("k").agg(pl.len().alias("n")).sort("k", nulls_last=True),
        KEYS,
    ),
}
TEXT: Cases = {
    "str.lower": TableCase(lambda t: t["s"].str.lower(), lambda t: t["s"].str.to_lowercase()),
    "str.upper": TableCase(lambda t: t["s"].str.upper(), lambda t: t["s"].str.to_uppercase()),
    "str.len": TableCase(lambda t: t["s"].str.len(), lambda t: t["s"].str.len_chars().cast(pl.Float64)),
    "str.strip": TableCase(lambda t: t["s"].str.strip(), lambda t: t["s"].str.strip_chars()),
    "str.replace": TableCase(
        lambda t: t["s"].str.replace("oak", "fir"), lambda t: t["s"].str.replace_all("oak", "fir", literal=True)
    ),
    "str.slice": TableCase(lambda t: t["s"].str.slice(1, 2), lambda t: t["s"].str.slice(1, 2)),
    "str.contains": TableCase(
        lambda t: t["s"].str.contains("ash"), lambda t: t["s"].str.contains("ash", literal=True).fill_null(False)
    ),
    "str.contains(regex)": TableCase(
        lambda t: t["s"].str.contains("^o", regex=True), lambda t: t["s"].str.contains("^o").fill_null(False)
    ),
    "str.starts_with": TableCase(
        lambda t: t["s"].str.starts_with("elm"), lambda t: t["s"].str.starts_with("elm").fill_null(False)
    ),
    "str.ends_with": TableCase(
        lambda t: t["s"].str.ends_with("oak"), lambda t: t["s"].str.ends_with("oak").fill_null(False)
    ),
    "str.to_date": TableCase(lambda t: t["d"].dt.format("%d.%m.%Y").str.to_date("%d.%m.%Y"), lambda t: t["d"]),
}


def _part(name: str) -> TableCase:
    return TableCase(lambda t: getattr(t["e"].dt, name)(), lambda t: getattr(t["e"].dt, name)().cast(pl.Float64))


DATES: Cases = {
    **{
        f"dt.{name}": _part(name)
        for name in "year month day weekday hour minute second quarter week ordinal_day".split()
    },
    "dt.date": TableCase(lambda t: t["e"].dt.date(), lambda t: t["e"].dt.date()),
    "dt.truncate": TableCase(lambda t: t["d"].dt.truncate("1mo"), lambda t: t["d"].dt.truncate("1mo")),
    "dt.offset_by": TableCase(lambda t: t["d"].dt.offset_by("1w"), lambda t: t["d"].dt.offset_by("1w")),
    "dt.format": TableCase(lambda t: t["d"].dt.format("%Y-%m"), lambda t: t["d"].dt.to_string("%Y-%m")),
    "difference of dates": TableCase(
        lambda t: (t["d"] - np.datetime64("2020-01-01")).dt.total_days(),
        lambda t: (t["d"] - pl.Series([date(2020, 1, 1)])).dt.total_days().cast(pl.Float64),
    ),
}
FAMILIES: dict[str, Cases] = {
    "rows": ROWS,
    "columns": COLUMNS,
    "encodings": ENCODED,
    "joins": JOINS,
    "groups": GROUPS,
    "text columns": TEXT,
    "date columns": DATES,
}
