"""A table in memory as a source: pandas, polars, Arrow, or anything with `__arrow_c_stream__`."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import ChangedSourceError, SourceError
from traceprop.ir import Dim, Field, TableType
from traceprop.ir.forks import check
from traceprop.sources.array import content_fingerprint
from traceprop.sources.keys import check_key
from traceprop.sources.source import Source, check_id, next_array_id

if TYPE_CHECKING:
    import polars as pl


def fields_of(frame: pl.DataFrame) -> tuple[Field, ...]:
    """The IR's fields of a polars frame. Raises `SourceError` for column types that the IR doesn't have."""
    return tuple(Field(series.name, _dtype_name(series, "the table"), series.null_count() > 0) for series in frame)


def traceable(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The frame in types that the IR has: categories as text, times with a zone as UTC, decimals as numbers where no digit
    is lost.

    Raises `SourceError` that names the table and the column where there is no such type.
    """
    import polars as pl

    columns = []
    for series in frame.get_columns():
        if series.dtype.base_type() in (pl.Categorical, pl.Enum, pl.Null):
            series = series.cast(pl.String)
        elif series.dtype.base_type() is pl.Decimal:
            series = _number(series, name)
        elif isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        if isinstance(series.dtype, (pl.Datetime, pl.Duration)):
            series = _microseconds(series, name)
        _dtype_name(series, name)
        columns.append(series)
    return pl.DataFrame(columns) if columns else frame


def _dtype_name(series: pl.Series, name: str) -> str:
    import polars as pl

    names = {
        pl.Boolean: "bool", pl.String: "str", pl.Categorical: "str", pl.Enum: "str",
        pl.Int8: "i8", pl.Int16: "i16", pl.Int32: "i32", pl.Int64: "i64",
        pl.UInt8: "u8", pl.UInt16: "u16", pl.UInt32: "u32", pl.UInt64: "u64",
        pl.Float32: "f32", pl.Float64: "f64", pl.Date: "date", pl.Datetime: "datetime", pl.Duration: "duration", pl.Null: "str",
    }  # fmt: skip
    found = names.get(series.dtype.base_type())
    if found is None:
        raise SourceError(
            f"{name}: column {series.name!r} holds {series.dtype}, which cannot be traced; cast it, or leave it out "
            "(tp.read_parquet takes columns=[…])"
        )
    return found


def _microseconds(series: pl.Series, name: str) -> pl.Series:
    """Times in the one unit that programs count in. Raises `SourceError` where a cell has nanoseconds that would be lost."""
    made = series.dt.cast_time_unit("us")
    lost = ~made.dt.cast_time_unit("ns").eq_missing(series.dt.cast_time_unit("ns"))
    if getattr(series.dtype, "time_unit", "us") == "ns" and lost.any():
        row = int(lost.arg_max() or 0)
        raise SourceError(
            f"{name}, row {row}: column {series.name!r} holds {series[row]}, with nanoseconds; programs count in microseconds: "
            "round the column, or keep it as whole numbers"
        )
    return made


def _number(series: pl.Series, name: str) -> pl.Series:
    """Decimals as float64. Raises `SourceError` where one has more digits than that holds."""
    import polars as pl

    numbers = series.cast(pl.Float64)
    if not numbers.cast(series.dtype, strict=False).eq_missing(series).all():
        row = int((~numbers.cast(series.dtype, strict=False).eq_missing(series)).arg_max() or 0)
        raise SourceError(
            f"{name}, row {row}: column {series.name!r} holds {series.dtype}, and {series[row]} has more digits than a "
            "float64; cast the column to text or to whole numbers, or leave it out"
        )
    return numbers


def to_polars(table: Any) -> pl.DataFrame:
    """A polars frame of any table that Python's dataframe libraries exchange; a pandas index is left out."""
    import polars as pl

    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    module = type(table).__module__.split(".", 1)[0]
    try:
        if module == "pandas":
            frame = pl.from_pandas(table, nan_to_null=True)
        elif hasattr(table, "__arrow_c_stream__"):
            frame = pl.DataFrame(table)
        else:
            raise SourceError(
                f"{type(table).__name__} is no table; give a pandas, polars or Arrow table, or a CSV path"
            )
    except pl.exceptions.DuplicateError as error:
        raise SourceError(f"the table has two columns of one name: {error}") from None
    except (ValueError, TypeError) as error:  # Arrow's, for columns of mixed types
        if isinstance(error, SourceError):
            raise
        names = [str(name) for name in getattr(table, "columns", ())]
        twice = [name for n, name in enumerate(names) if name in names[:n]]
        raise SourceError(
            f"the table has two columns called {twice[0]!r}; name each column"
            if twice
            else f"a column of the table cannot be read: {error}"
        ) from None
    return frame


def _shared(frame: pl.DataFrame, table: Any) -> list[np.ndarray]:
    """The numbers that are still in pandas' memory, where a user may write to them; polars' and Arrow's never change."""
    if type(table).__module__.split(".", 1)[0] != "pandas":
        return []
    shared = []
    for series, (_, column) in zip(frame, table.items(), strict=True):
        array = column.array
        cells = next(
            (found for name in ("_ndarray", "_data") if (found := getattr(array, name, None)) is not None), None
        )
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf" and series.dtype.is_numeric():
            apart = series.null_count() == 0 and not np.may_share_memory(series.to_numpy(), cells)
            if not apart:
                shared.append(cells)
    return shared


class FrameSource(Source):
    """Rows of an in-memory table, in its order.

    Nothing is copied that need not be: writing to a pandas table between call and run is an error then, as it is for arrays.
    """

    def __init__(
        self, table: Any, source_id: str | None = None, path: str | None = None, key: str | None = None
    ) -> None:
        name = path or (f"the table {source_id!r}" if source_id is not None else "the table")
        check("polars", f"taking in {name}")
        self._hold(traceable(to_polars(table), name))
        self._shared = [(cells, content_fingerprint(cells)) for cells in _shared(self._frame, table)]
        self.id = check_id(source_id) if source_id is not None else next_array_id()
        self.path = path
        self.key = check_key(self._frame, key, name, lambda row: f"row {row}")

    def _hold(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self.n_rows = frame.height
        self.columns = tuple(frame.columns)
        self._fields = fields_of(frame)

    @cached_property
    def content_hash(self) -> str:
        content = self._frame.hash_rows(seed=0).to_numpy().tobytes()
        return hashlib.blake2b(repr(self._frame.schema).encode() + content, digest_size=16).hexdigest()

    def value(self) -> pl.DataFrame:
        return self._frame

    def check_unchanged(self) -> None:
        for cells, fingerprint in self._shared:
            if content_fingerprint(cells) != fingerprint:
                raise ChangedSourceError(
                    f"the table {self.id!r} was written to between the call and the run; pass a copy, or compute the result "
                    "before writing to the table"
                )

    def type(self, rows: Dim) -> TableType:
        return TableType(self._fields, rows)

    def frame(self) -> pl.DataFrame:
        return self._frame
