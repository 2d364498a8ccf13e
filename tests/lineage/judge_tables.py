"""The judge, for functions of tables: values as polars has them, and lineage that is what changed cells show."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

import traceprop as tp
from tests.lineage.judge import Cells, Place, Verdict, first_sentence, moved, named
from traceprop.ir import constants_of, parse

DRAWS, ENOUGH, CHANGES = 40, 5, 4
NAMES = ("t", "u")
COLUMNS = ["k", "x", "s", "d", "e"]


@dataclass(frozen=True)
class TableCase:
    """A function of one or two tables, the same in polars, and why draws do not see all that is read."""

    apply: Callable[..., Any]
    plain: Callable[..., Any]
    blind: str = ""


def _cell(rng: np.random.Generator, column: int) -> Any:
    if rng.random() < 0.15:
        return None
    match column:
        case 0:
            return int(rng.integers(0, 3))
        case 1:
            return float(rng.choice([-2.5, 0.0, 1.0, 1.5, 7.0]) if rng.random() < 0.5 else rng.normal())
        case 2:
            return str(rng.choice(["ash oak", "oak", "elm", "Oak ash", "elm elm"]))
        case 3:
            return date(2020, 1, 1) + timedelta(days=int(rng.integers(0, 700)))
    return datetime(2020, 1, 1) + timedelta(seconds=int(rng.integers(0, 50_000_000)))


SCHEMA = {"k": pl.Int64, "x": pl.Float64, "s": pl.String, "d": pl.Date, "e": pl.Datetime("us")}


def _frame(rows: list[list[Any]]) -> pl.DataFrame:
    return pl.DataFrame([list(row) for row in rows], schema=SCHEMA, orient="row")


def cells_of(result: Any) -> np.ndarray:
    """A table, or an array, as an array of Python's values; NaN is None, numbers are rounded to nine digits."""
    if isinstance(result, pl.Series):
        found = np.empty(len(result), object)
        found[:] = [_same(cell) for cell in result]
        return found
    if isinstance(result, pl.DataFrame):
        rows = [[_same(cell) for cell in row] for row in result.iter_rows()]
        found = np.empty((result.height, result.width), object)
        for i, row in enumerate(rows):
            found[i] = row
        return found
    array = np.asarray(result)
    found = np.empty(array.shape, object)
    found[...] = np.vectorize(_same, otypes=[object])(array.astype(object)) if array.size else array
    return found


def _same(cell: Any) -> Any:
    if isinstance(cell, (bool, np.bool_)):
        return float(cell)
    if isinstance(cell, (int, float, np.number)):
        return None if cell != cell else float(f"{float(cell):.9g}")
    return cell


def judge_tables(case: TableCase) -> Verdict:
    """The verdict on a case."""
    rng = np.random.default_rng(11)
    count = case.apply.__code__.co_argcount
    traced = tp.trace(
        eval(f"lambda {', '.join(NAMES[:count])}: apply({', '.join(NAMES[:count])})", {"apply": case.apply})
    )
    told: dict[Place, Cells] = {}
    shown: dict[Place, Cells] = {}
    exact = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(DRAWS):
            if number >= ENOUGH and (case.blind or named(told) == shown):
                break
            tables = [[[_cell(rng, c) for c in range(len(COLUMNS))] for _ in range(rows)] for rows in (5, 4)[:count]]
            frames = [_frame(rows) for rows in tables]
            want = cells_of(case.plain(*frames))
            try:
                lazy = traced(*frames)
            except Exception as error:
                return Verdict("refused", first_sentence(error))
            try:
                got = cells_of(lazy.compute())
                assert got.shape == want.shape, f"shape {got.shape} where polars gives {want.shape}"
                assert np.array_equal(got, want), "other values than polars"
            except Exception as error:
                return Verdict("wrong", first_sentence(error))
            view = tp.provenance(lazy)
            exact &= view.exact
            for place in np.ndindex(want.shape):
                for source, cells in view.cells(place).items():
                    told.setdefault((0, source, place), set()).update(map(tuple, cells.tolist()))
            for k, rows in enumerate(tables):
                for i in range(len(rows)):
                    for j in range(len(COLUMNS)):
                        for _ in range(CHANGES):
                            again = [[list(row) for row in each] for each in tables]
                            again[k][i][j] = _cell(rng, j)
                            after = cells_of(case.plain(*map(_frame, again)))
                            if after.ndim == want.ndim and after.shape[1:] == want.shape[1:]:
                                for hit in moved(want, after):
                                    shown.setdefault((0, NAMES[k], hit), set()).add((i, j))
    for place, cells in shown.items():
        if not cells <= told.get(place, set()):
            return Verdict(
                "wrong", f"cell {place[2]} does not name {sorted(cells - told.get(place, set()))[:4]} of {place[1]}"
            )
    program = traced.ir(*frames)
    if parse(str(program), constants_of(program)) != program:
        return Verdict("wrong", "its program's text does not read back")
    if not exact:
        return Verdict("inexact", "view.exact is False")
    if not case.blind and named(told) != shown:
        extra = sum(len(cells - shown.get(place, set())) for place, cells in told.items())
        return Verdict(
            "inexact", f"names {extra} of {sum(map(len, told.values()))} pairs of cells that no draw shows to matter"
        )
    return Verdict("exact")
