"""Several files that are one table: the same columns, in types that hold the cells of all; each file stays a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from traceprop.errors import SourceError
from traceprop.sources.csv import CsvTableSource
from traceprop.sources.parquet import ParquetSource
from traceprop.sources.source import Source

if TYPE_CHECKING:
    import polars as pl


def csv_together(
    paths: Sequence[str], ids: Sequence[str], na_values: str | Sequence[str] = (), key: str | None = None
) -> list[CsvTableSource]:
    """CSV files; a column has the narrowest type that holds its cells in all of them.

    Raises `SourceError` for files whose columns have other names.
    """
    parts = [CsvTableSource(path, id, na_values, key) for path, id in zip(paths, ids, strict=True)]
    _check_columns(parts)
    types = {
        name: _common_of_texts([part.frame().get_column(name) for part in parts]) for name in parts[0].columns or ()
    }
    for part in parts:
        part.as_types(types)
    return parts


def parquet_together(
    paths: Sequence[str], ids: Sequence[str], key: str | None = None, columns: Sequence[str] | None = None
) -> list[ParquetSource]:
    """Parquet files; numbers of several widths get one that holds them all.

    Raises `SourceError` for files whose columns have other names, or types that are not alike.
    """
    parts = [ParquetSource(path, id, key, columns) for path, id in zip(paths, ids, strict=True)]
    _check_columns(parts)
    types = {name: _common_of_files(parts, name) for name in parts[0].columns or ()}
    for part in parts:
        part.as_types(types)
    return parts


def _check_columns(parts: Sequence[Source]) -> None:
    first = parts[0]
    for part in parts[1:]:
        missing = [name for name in first.columns or () if name not in (part.columns or ())]
        more = [name for name in part.columns or () if name not in (first.columns or ())]
        if missing or more:
            what = f"no column {missing[0]!r}" if missing else f"a column {more[0]!r}"
            raise SourceError(
                f"{part.path} has {what}, unlike {first.path}; files that are one table have the same columns "
                f"({', '.join(first.columns or ())})"
            )


def _common_of_texts(columns: Sequence[pl.Series]) -> Any:
    import polars as pl

    types = {column.dtype for column in columns if column.null_count() < len(column)}
    if types == {pl.Int64, pl.Float64}:
        return pl.Float64()
    return types.pop() if len(types) == 1 else pl.String()


def _common_of_files(parts: Sequence[ParquetSource], name: str) -> Any:
    import polars as pl

    columns = [(part, part.frame().get_column(name)) for part in parts]
    filled = [(part, column.dtype) for part, column in columns if column.null_count() < len(column)] or [
        (part, column.dtype) for part, column in columns[:1]
    ]
    first, common = filled[0]
    for part, dtype in filled[1:]:
        if dtype != common:
            if not (dtype.is_numeric() and common.is_numeric()):
                raise SourceError(
                    f"{part.path}: column {name!r} holds {dtype}, but {common} in {first.path}; files that are one table "
                    "hold the same"
                )
            empty = [pl.DataFrame(schema={name: each}) for each in (common, dtype)]
            common = pl.concat(empty, how="vertical_relaxed").schema[name]
    return common
