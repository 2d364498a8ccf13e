"""Parquet files that are not held in memory: their rows are read again by every pass over them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traceprop.errors import ChangedSourceError, SourceError
from traceprop.ir import Dim, Field, TableType
from traceprop.sources.blocks import marks, opened
from traceprop.sources.files import is_remote, stem
from traceprop.sources.frame import fields_of, traceable
from traceprop.sources.keys import check_key
from traceprop.sources.source import check_id
from traceprop.sources.streamed import StreamedSource, rebatched

if TYPE_CHECKING:
    import polars as pl

_ROWS = 1 << 16


class StreamedParquet(StreamedSource):
    """A Parquet file on this machine, read so many rows at a time. Which columns have nulls is counted at the call."""

    def __init__(
        self,
        path: str | Path,
        source_id: str | None = None,
        key: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        import polars as pl

        self.path = str(path)
        if is_remote(self.path):
            raise SourceError(f"{path} is elsewhere; a Parquet file that is not held in memory must be on this machine")
        self.id = check_id(source_id) if source_id is not None else stem(path)
        self._marks = marks(self.path)
        self._digest = _digest(self.path)
        try:
            schema = pl.read_parquet_schema(self.path)
            unknown = [name for name in columns or () if name not in schema]
            if unknown:
                raise SourceError(f"{path} has no column {unknown[0]!r}; its columns: {', '.join(schema)}")
            self._names = list(columns or schema)
            empty = pl.scan_parquet(self.path).select(self._names).head(0).collect()
            counts = pl.scan_parquet(self.path).select(
                pl.len().alias("\0rows"), *(pl.col(name).null_count() for name in self._names)
            )
            found = counts.collect(engine="streaming").row(0, named=True)
        except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
            raise SourceError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        self._empty = traceable(empty, self.path)
        self.n_rows = int(found["\0rows"])
        self.columns = tuple(self._names)
        fields = fields_of(self._empty)
        self._fields = tuple(Field(f.name, f.dtype, found[f.name] > 0) for f in fields)
        self.key = None
        if key is not None:
            self.key = check_key(self._only(key), key, self.path, lambda row: f"row {row}")

    def type(self, rows: Dim) -> TableType:
        return TableType(self._fields, rows)

    def empty(self) -> pl.DataFrame:
        return self._empty

    @property
    def nbytes(self) -> int:
        return sum((32 if field.dtype == "str" else 8) * self.n_rows for field in self._fields)

    @property
    def content_hash(self) -> str:
        return self._digest

    def changed(self) -> str | None:
        if marks(self.path) == self._marks:
            return None
        try:
            same = _digest(self.path) == self._digest
        except SourceError:
            return f"{self.path} is gone, or cannot be read now"
        return None if same else f"{self.path} has changed since it was read"

    def check_unchanged(self) -> None:
        change = self.changed()
        if change is not None:
            raise ChangedSourceError(f"{change}: read it again")

    def read(self, rows: int, columns: Collection[str] | None = None) -> Iterator[Any]:
        self.check_unchanged()
        for part in rebatched(self._read(columns), rows):
            yield part
            if marks(self.path) != self._marks:
                self.check_unchanged()

    def _read(self, columns: Collection[str] | None) -> Iterator[pl.DataFrame]:
        import polars as pl

        wanted = [name for name in self._names if columns is None or name in columns]
        every = pl.scan_parquet(self.path)
        for start in range(0, self.n_rows, _ROWS):
            count = min(_ROWS, self.n_rows - start)
            if not wanted:
                yield self._empty.clear(count)
                continue
            try:
                part = every.select(wanted).slice(start, count).collect()
            except (pl.exceptions.PolarsError, OSError) as error:
                raise ChangedSourceError(f"{self.path} cannot be read any more: {str(error).splitlines()[0]}") from None
            held = {series.name: series for series in traceable(part, self.path).get_columns()}
            yield pl.DataFrame(
                [
                    held.get(name, pl.Series(name, [None], dtype).new_from_index(0, count)).cast(dtype)
                    for name, dtype in self._empty.schema.items()
                ]
            )


def _digest(path: str) -> str:
    found = hashlib.blake2b(digest_size=16)
    with opened(path) as file:
        while chunk := file.read(1 << 22):
            found.update(chunk)
    return found.hexdigest()
