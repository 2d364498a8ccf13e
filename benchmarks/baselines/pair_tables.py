"""Lineage as most systems keep it: a table of (output row, source row) pairs, in DuckDB and in Parquet files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import polars as pl


def parquet_bytes(out: np.ndarray, of: np.ndarray, folder: Path) -> int:
    """The bytes of a Parquet file (zstd) of two int64 columns, as polars writes it."""
    path = folder / "pairs.parquet"
    pl.DataFrame({"out": out, "of": of}).write_parquet(path, compression="zstd")
    return path.stat().st_size


def in_duckdb(tables: Mapping[str, pl.DataFrame], indexed: bool = True) -> duckdb.DuckDBPyConnection:
    """A connection to a database in memory that holds the tables, with an index on every column of theirs."""
    connection = duckdb.connect()
    for name, frame in tables.items():
        connection.register("given", frame.to_arrow())
        connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM given')
        connection.unregister("given")
        for column in frame.columns if indexed else ():
            connection.execute(f'CREATE INDEX "{name}_{column}" ON "{name}" ("{column}")')
    return connection


def in_parquet(tables: Mapping[str, pl.DataFrame], folder: Path) -> dict[str, Path]:
    """Files that hold the tables, in a folder of their own."""
    own = Path(tempfile.mkdtemp(dir=folder))
    paths = {name: own / f"{name}.parquet" for name in tables}
    for name, frame in tables.items():
        frame.write_parquet(paths[name], compression="zstd")
    return paths


def column(connection: duckdb.DuckDBPyConnection, sql: str, **given: object) -> np.ndarray:
    """The first column of what a query finds, as int64."""
    found = connection.execute(sql, given) if given else connection.execute(sql)
    return np.asarray(next(iter(found.fetchnumpy().values())), np.int64)
