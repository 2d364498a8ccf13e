"""CSV files as sources: checked whole, read by polars, and every row known by its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import SourceError
from traceprop.ir import ArrayType, Dim, TableType
from traceprop.ir.forks import check
from traceprop.sources.csv_scan import Scan, scan
from traceprop.sources.files import digest, read_bytes, stem, without_bom
from traceprop.sources.frame import fields_of
from traceprop.sources.keys import check_key
from traceprop.sources.source import Location, Source, check_id
from traceprop.sources.watched import WatchedCsv

if TYPE_CHECKING:
    import polars as pl


class _CsvSource(Source):
    """A CSV file, read and checked whole when the source is made; the bytes are not kept, only their hash."""

    _na_values: Sequence[str] = ("",)

    def __init__(self, path: str | Path, source_id: str | None = None, key: str | None = None) -> None:
        self.path = str(path)
        self.id = check_id(source_id) if source_id is not None else stem(path)
        check("polars", f"reading {self.path}")
        content = without_bom(read_bytes(self.path))
        self._digest = digest(content)
        found = scan(self.path, content)
        self._load(found)
        self.key = check_key(self.frame(), key, self.path, lambda row: f"line {found.line(row)}") if key else None

    def _load(self, found: Scan) -> None:
        raise NotImplementedError

    def frame(self) -> pl.DataFrame:
        raise NotImplementedError

    @property
    def content_hash(self) -> str:
        return self._digest

    @cached_property
    def _file(self) -> WatchedCsv:
        keys = None if self.key is None else partial(self.frame().get_column, self.key)
        return WatchedCsv(self.path or "", self._digest, self._na_values, self.key, keys)

    def changed(self) -> str | None:
        return self._file.now().change

    def describe_rows(self, rows: Sequence[int] | np.ndarray) -> list[Location]:
        """Path, line and text of rows.

        Where the file has changed since it was read, a `ChangedSourceWarning` says so: with a key, rows are found by it and
        line and text are those of now; without, both are `None`.
        """
        return self._file.locate(self.id, rows)


class CsvTableSource(_CsvSource):
    """A CSV file as a table: whole numbers, numbers, booleans and text, told apart by what the column holds."""

    def __init__(
        self,
        path: str | Path,
        source_id: str | None = None,
        na_values: str | Sequence[str] = (),
        key: str | None = None,
    ) -> None:
        self._na_values = ["", *([na_values] if isinstance(na_values, str) else na_values)]
        super().__init__(path, source_id, key)

    def _load(self, found: Scan) -> None:
        text = found.strings(list(self._na_values))
        self._hold(text.select(_typed(column) for column in text.get_columns()))

    def _hold(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self.n_rows = frame.height
        self.columns = tuple(frame.columns)
        self._fields = fields_of(frame)

    def as_types(self, types: Mapping[str, Any]) -> None:
        """The columns in this order and these polars types, which hold all their cells. The file must be what it was."""
        frame = self._frame.select(list(types))
        differing = {name: dtype for name, dtype in types.items() if frame.schema[name] != dtype}
        if differing:
            content = without_bom(read_bytes(self.path or ""))
            if digest(content) != self._digest:
                raise SourceError(f"{self.path} changed while it was read")
            text = scan(self.path or "", content).strings(list(self._na_values))
            frame = frame.with_columns(text.get_column(name).cast(dtype) for name, dtype in differing.items())
        self._hold(frame)

    def value(self) -> pl.DataFrame:
        return self._frame

    def type(self, rows: Dim) -> TableType:
        return TableType(self._fields, rows)

    def frame(self) -> pl.DataFrame:
        return self._frame


def _typed(column: pl.Series) -> pl.Series:
    """The narrowest of int64, float64 and bool that holds every cell; else text. Leading or trailing blanks stay text."""
    import polars as pl

    if column.null_count() == len(column):
        return column
    first = column[column.is_not_null().arg_max() or 0]
    single = pl.Series([first])  # what does not hold the first cell does not hold them all, and most columns are text
    for dtype in (pl.Int64, pl.Float64):
        if single.cast(dtype, strict=False).null_count() == 0:
            cast = column.cast(dtype, strict=False)
            if cast.null_count() == column.null_count():
                return cast
    if first.lower() in ("true", "false"):
        lowered = column.str.to_lowercase()
        if lowered.drop_nulls().is_in(["true", "false"]).all():
            return (lowered == "true").alias(column.name)
    return column


class CsvArraySource(_CsvSource):
    """A CSV file of numbers as a float64 array (rows, columns); an empty cell is NaN."""

    def _load(self, found: Scan) -> None:
        self._array = _numbers(found)
        self._array.flags.writeable = False
        self.n_rows = found.n_rows
        self.columns = tuple(found.header)

    def value(self) -> np.ndarray:
        return self._array

    def type(self, rows: Dim) -> ArrayType:
        return ArrayType("f64", (rows, len(self.columns or ())))

    def frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(self._array, schema=list(self.columns or ()), orient="row")


def _numbers(found: Scan) -> np.ndarray:
    """Every cell as float64. Raises `SourceError` that names the line, the column and the text of the first that is none."""
    import polars as pl

    text = found.strings([""])
    trimmed = text.select(pl.all().str.strip_chars().replace("", None))
    numbers = trimmed.select(pl.all().cast(pl.Float64, strict=False))
    if sum(numbers.null_count().row(0)) > sum(trimmed.null_count().row(0)):
        bad = numbers.select(pl.all().is_null()).to_numpy() & ~trimmed.select(pl.all().is_null()).to_numpy()
        row, column = map(int, np.argwhere(bad)[0])
        raise SourceError(
            f"{found.path}, line {found.line(row)}, column {found.header[column]!r}: {text[row, column]!r} is not a number. "
            "tp.from_csv takes numbers only; tp.read_csv reads text columns too (and na_values= names what means missing)"
        )
    return np.ascontiguousarray(numbers.fill_null(float("nan")).to_numpy())
