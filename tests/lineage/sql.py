"""The same questions in plain SQL: DuckDB tables of the same files, whose `rowid` is the row's number in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np


class Answers:
    """A DuckDB connection over some files. `result` numbers the rows of a query as the pipeline orders them."""

    def __init__(self, folder: Path, names: Iterable[str], null: str = "") -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        for name in names:
            self.connection.execute(
                f'CREATE TABLE "{name}" AS SELECT * FROM read_csv(?, header=true, nullstr=?, sample_size=100000)',
                [str(folder / f"{name}.csv.gz"), null],
            )

    def result(self, select: str, order: str) -> Answers:
        """Keeps a query as the table `result`, its rows numbered from 0 in some order as column `i`."""
        numbered = f"SELECT row_number() OVER (ORDER BY {order}) - 1 AS i, * FROM ({select})"
        self.connection.execute(f"CREATE OR REPLACE TABLE result AS {numbered}")
        return self

    def numbers(self, query: str, *values: Any) -> list[int]:
        """One column of a query without nulls, sorted, each number once."""
        found = self.connection.execute(query, list(values)).fetchnumpy()
        (column,) = found.values()
        return np.unique(np.ma.compressed(column)).tolist()

    def pairs(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """All (row of the result, row of a source), where the result has that source's row."""
        query = f"SELECT i, {column} FROM result WHERE {column} IS NOT NULL ORDER BY ALL"
        found = self.connection.execute(query).fetchnumpy()
        rows, sources = found.values()
        return rows, sources

    def height(self, table: str = "result") -> int:
        (count,) = self.connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
        return int(count)


def same(found: Mapping[str, np.ndarray], wanted: Mapping[str, list[int]]) -> None:
    """The rows per source are those wanted, and sources without any are left out."""
    assert {name: rows.tolist() for name, rows in found.items()} == {
        name: rows for name, rows in wanted.items() if rows
    }


def same_pairs(found: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> None:
    """(row of the result, row of a source), pair by pair."""
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
