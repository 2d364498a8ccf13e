"""Questions of lineage, each put to traceprop and to tables of pairs: what `benchmarks/lineage.py` times."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import traceprop as tp
from benchmarks.baselines.pair_tables import column, in_duckdb, in_parquet
from benchmarks.baselines.provrc import compress

Answer = dict[str, np.ndarray]


class Question(NamedTuple):
    """One question three ways; each gives sorted rows by source, and all the same. `aim`: milliseconds. A question that
    pairs do not answer, since all rows depend on all in some way, has no peers."""

    name: str
    aim: float
    traceprop: Callable[[], Answer]
    duckdb: Callable[[], Answer] | None = None
    parquet: Callable[[], Answer] | None = None
    provrc: Callable[[], Answer] | None = None


@tp.trace
def ten_ops(x):
    a = x * 2.0
    b = a.T
    c = np.flip(b, 0)
    d = np.roll(c, 7, axis=1)
    e = d[d[:, 0] > 0.2]
    f = e[np.argsort(e[:, 1])]
    g = np.exp(f)
    h = g[::-1]
    i = np.sqrt(h)
    return i[:, ::2]


def ten_steps(x: np.ndarray) -> list[np.ndarray]:
    """For each of the ten ops, the cell of what it reads that each cell of its result is."""
    side = len(x)
    a = x * 2.0
    b = a.T
    c = np.flip(b, 0)
    d = np.roll(c, 7, axis=1)
    mask = d[:, 0] > 0.2
    e = d[mask]
    order = np.argsort(e[:, 1])

    def numbers(*shape: int) -> np.ndarray:
        return np.arange(np.prod(shape)).reshape(shape)

    square, kept = numbers(side, side), numbers(*e.shape)
    return [
        square, square.T, np.flip(square, 0), np.roll(square, 7, axis=1), square[mask], kept[order], kept, kept[::-1],
        kept, kept[:, ::2],
    ]  # fmt: skip


def one_cell(side: int, folder: Path) -> list[Question]:
    """One cell back through ten ops over `side` × `side` cells: every op of which is a table of its own, which ProvRC is
    asked for ranges in without decompressing it."""
    x = np.random.default_rng(0).random((side, side))
    view = tp.provenance(ten_ops(tp.from_numpy(x, source_id="x")).persist())
    steps = ten_steps(x)
    tables = {f"op{k}": pl.DataFrame({"out": np.arange(of.size), "of": of.ravel()}) for k, of in enumerate(steps)}
    i, j = steps[-1].shape[0] // 3, steps[-1].shape[1] // 3
    cell = i * steps[-1].shape[1] + j
    connection, paths = in_duckdb(tables), in_parquet(tables, folder)
    joins = " ".join(f"JOIN op{k} ON op{k}.out = op{k + 1}.of" for k in reversed(range(9)))

    def scanned() -> Answer:
        found = pl.scan_parquet(paths["op9"]).filter(pl.col("out") == cell).select("of")
        for k in reversed(range(9)):
            found = pl.scan_parquet(paths[f"op{k}"]).join(found, left_on="out", right_on="of").select("of")
        return {"x": found.collect()["of"].to_numpy()}

    read = [x.shape, *(of.shape for of in steps)]
    boxes = [
        compress(_unraveled(np.arange(of.size), of.shape), _unraveled(of.ravel(), shape))
        for of, shape in zip(steps, read, strict=False)
    ]

    def in_place() -> Answer:
        at = (i, j)
        for table in reversed(boxes):
            (at,), _ = table.inputs_of(at)  # each op reads one cell
        return {"x": np.ravel_multi_index(tuple(at), x.shape)[None]}

    def cells() -> Answer:
        return {"x": np.ravel_multi_index(tuple(view.cells((i, j), "aggregate")["x"].T), x.shape)}

    return [
        Question(
            f"one cell back through 10 ops, {side * side:,} cells", 1.0,
            cells,
            lambda: {"x": column(connection, f"SELECT op0.of FROM op9 {joins} WHERE op9.out = $cell", cell=cell)},
            scanned,
            in_place,
        )
    ]  # fmt: skip


@tp.trace
def filter_sort_join(rows, right):
    kept = rows[rows["value"] > 0.25]
    return kept.sort("other").join(right, on="key")


def forward(n: int, folder: Path) -> list[Question]:
    """A thousand of n rows forward, through a filter, a sort and a join: whose pairs are one table, composed already."""
    rng = np.random.default_rng(1)
    rows = pl.DataFrame({"key": rng.integers(0, n // 80, n), "value": rng.random(n), "other": rng.random(n)})
    right = pl.DataFrame({"key": rng.permutation(n // 100), "extra": rng.random(n // 100)})
    result = filter_sort_join(tp.from_dataframe(rows, source_id="rows"), tp.from_dataframe(right, source_id="right"))
    view = tp.provenance(result.persist())
    numbered = rows.with_row_index("of").filter(pl.col("value") > 0.25).sort("other", maintain_order=True)
    pairs = numbered.join(right, on="key", maintain_order="left").select(
        pl.int_range(pl.len()).alias("out"), pl.col("of").cast(pl.Int64)
    )
    chosen = np.sort(rng.choice(n, 1000, replace=False))
    connection, paths = in_duckdb({"pairs": pairs}), in_parquet({"pairs": pairs}, folder)
    connection.register("chosen", pl.DataFrame({"of": chosen}).to_arrow())
    sql = "SELECT DISTINCT out FROM pairs WHERE of IN (SELECT of FROM chosen) ORDER BY out"
    return [
        Question(
            f"1,000 rows forward, filter + sort + join of {n:,} rows", 10.0,
            lambda: {"out": view.affected_rows("rows", chosen)},
            lambda: {"out": column(connection, sql)},
            lambda: {"out": _unique(pl.scan_parquet(paths["pairs"]).filter(pl.col("of").is_in(chosen.tolist())), "out")},
        )
    ]  # fmt: skip


@tp.trace
def flights_joined(flights, planes, airports, weather):
    d = flights[["dep_delay", "carrier", "tailnum", "origin", "dest", "time_hour"]]
    d = d.join(planes[["tailnum", "seats", "engine"]], on="tailnum", how="left")
    there = airports.assign(dest=airports["faa"])[["dest", "lat", "lon"]]
    d = d.join(there, on="dest", how="left")
    return d.join(weather[["origin", "time_hour", "temp", "wind_speed"]], on=["origin", "time_hour"], how="left")


NAMES = ("flights", "planes", "airports", "weather")


def nycflights(folder: Path, aim: float = 150.0) -> list[Question]:
    """A dozen questions about the join of nycflights13; none where `TRACEPROP_DATA` does not name the data."""
    data = Path(os.environ.get("TRACEPROP_DATA", "")) / "nycflights13"
    if not data.is_dir():
        return []
    files = {name: data / f"{name}.csv.gz" for name in NAMES}
    view = tp.provenance(flights_joined(*(tp.read_csv(path, na_values="NA") for path in files.values())).persist())
    frames = {name: pl.read_csv(path, null_values=["NA", ""], infer_schema_length=None) for name, path in files.items()}
    pairs = _flight_pairs(frames)
    facts = {
        "seats": frames["planes"].select(pl.int_range(pl.len()).alias("planes"), "seats"),
        "delays": frames["flights"].select(pl.int_range(pl.len()).alias("flights"), "dep_delay"),
    }
    connection, paths = in_duckdb({"pairs": pairs, **facts}), in_parquet({"pairs": pairs, **facts}, folder)
    rng = np.random.default_rng(2)
    some = np.sort(rng.choice(len(pairs), 1000, replace=False))
    some_weather = np.sort(rng.choice(len(frames["weather"]), 1000, replace=False))
    table = pl.scan_parquet(paths["pairs"])

    def back(name: str, i: Any, sql: str, condition: pl.Expr, **given: object) -> Question:
        def from_duckdb() -> Answer:
            asked = {
                of: f"SELECT DISTINCT {of} FROM pairs WHERE {sql} AND {of} IS NOT NULL ORDER BY {of}" for of in NAMES
            }
            return _present({of: column(connection, query, **given) for of, query in asked.items()})

        def from_parquet() -> Answer:
            found = table.filter(condition).collect().lazy()
            return _present({of: _unique(found.drop_nulls(of), of) for of in NAMES})

        return Question(f"flights: {name}", aim, lambda: view.rows(i), from_duckdb, from_parquet)

    def ahead(name: str, source: str, rows: Any, sql: str, condition: pl.Expr, **given: object) -> Question:
        query = f"SELECT DISTINCT out FROM pairs WHERE {sql} ORDER BY out"
        return Question(
            f"flights: {name}", aim,
            lambda: {"out": view.affected_rows(source, rows)},
            lambda: {"out": column(connection, query, **given)},
            lambda: {"out": _unique(table.filter(condition), "out")},
        )  # fmt: skip

    def where(name: str, source: str, predicate: str, fact: str) -> Question:
        query = f"SELECT DISTINCT out FROM pairs JOIN {fact} USING ({source}) WHERE {predicate} ORDER BY out"
        facts = pl.scan_parquet(paths[fact]).filter(pl.sql_expr(predicate))
        return Question(
            f"flights: {name}", aim,
            lambda: {"out": view.affected_rows(source, where=predicate)},
            lambda: {"out": column(connection, query)},
            lambda: {"out": _unique(table.join(facts, on=source), "out")},
        )  # fmt: skip

    def seats_cell() -> Answer:
        return {name: cells[:, 0] for name, cells in view.cells((1000, 6), "direct").items()}

    connection.register("chosen", pl.DataFrame({"out": some, "weather": some_weather}).to_arrow())
    out, planes, airports, weather = (pl.col(name) for name in ("out", "planes", "airports", "weather"))
    dest = int(pairs["airports"].drop_nulls().mode()[0])
    hour = int(pairs["weather"].drop_nulls().mode()[0])
    return [
        back("one row back", 1000, "out = $number", out == 1000, number=1000),
        back("1,000 rows back", some, "out IN (SELECT out FROM chosen)", out.is_in(some.tolist())),
        Question("flights: one row back, any kind", aim, lambda: view.rows(1000, "any")),
        Question("flights: one cell back, any kind", aim, lambda: view.cells((1000, 0), "any")),
        back("100,000 rows in a row, back", slice(50_000, 150_000), "out BETWEEN 50000 AND 149999",
             out.is_between(50_000, 149_999)),
        back("all rows back", slice(None), "true", pl.lit(True)),
        Question(
            "flights: one cell back (a plane's seats)", aim, seats_cell,
            lambda: {"planes": column(connection, "SELECT planes FROM pairs WHERE out = 1000")},
            lambda: {"planes": _unique(table.filter(out == 1000), "planes")},
        ),
        ahead("one flight forward", "flights", 1000, "flights = $number", pl.col("flights") == 1000, number=1000),
        ahead("one plane forward", "planes", 5, "planes = $number", planes == 5, number=5),
        ahead("the busiest airport forward", "airports", dest, "airports = $number", airports == dest, number=dest),
        ahead("one hour's weather forward", "weather", hour, "weather = $number", weather == hour, number=hour),
        ahead("1,000 hours' weather forward", "weather", some_weather, "weather IN (SELECT weather FROM chosen)",
              weather.is_in(some_weather.tolist())),
        ahead("all weather forward", "weather", None, "weather IS NOT NULL", weather.is_not_null()),
        where("planes with seats > 300 forward", "planes", "seats > 300", "seats"),
        where("flights with dep_delay > 120 forward", "flights", "dep_delay > 120", "delays"),
    ]  # fmt: skip


def _flight_pairs(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The row of each source behind each row of the join, by row numbers that are carried along; null where there is none."""
    numbered = {
        name: frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(name)) for name, frame in frames.items()
    }
    found = numbered["flights"].select("flights", "tailnum", "origin", "dest", "time_hour")
    keys = {"planes": ["tailnum"], "weather": ["origin", "time_hour"]}
    found = found.join(
        numbered["airports"].select("airports", dest=pl.col("faa")), on="dest", how="left", maintain_order="left"
    )
    for name, on in keys.items():
        found = found.join(numbered[name].select(name, *on), on=on, how="left", maintain_order="left")
    return found.select(pl.int_range(pl.len(), dtype=pl.Int64).alias("out"), *NAMES)


def _unique(found: pl.LazyFrame, name: str) -> np.ndarray:
    return found.select(pl.col(name).unique().sort()).collect()[name].to_numpy()


def _unraveled(numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.column_stack(np.unravel_index(numbers, shape))


def _present(found: Answer) -> Answer:
    return {name: rows for name, rows in found.items() if len(rows)}
