"""Sources as a store keeps them: what they were, not what they held."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import LineageError, SourceError
from traceprop.ir import ArrayType, Dim, Field, TableType, Type
from traceprop.sources import Location, Source
from traceprop.sources.again import how_read, lines_of, read_again
from traceprop.sources.files import is_remote
from traceprop.sources.watched import WatchedCsv, WatchedFile
from traceprop.stores.blobs import Blob, array_blob, keys_blob

if TYPE_CHECKING:
    import polars as pl

PARTS = ("lines", "keys")
"""What of a source is large enough to be a blob."""


def described(source: Source, blob: Callable[[Blob], int]) -> dict[str, Any]:
    """What is kept of a source; `blob` gives numbers to what is large."""
    if isinstance(source, StoredSource):
        return source.described_again(blob)
    entry: dict[str, Any] = {
        "id": source.id,
        "rows": source.n_rows,
        "type": _type_entry(source.type(source.n_rows)),
        "columns": None if source.columns is None else list(source.columns),
        "hash": source.content_hash,
        "world": source.world,
        "placeholder": source.placeholder,
        "key": source.key,
    }
    if source.path is not None:
        here = source.path if is_remote(source.path) else os.path.abspath(source.path)
        entry |= {"path": source.path, "absolute": here, "read": how_read(source)}
        lines = lines_of(source)
        if lines is not None:
            entry["lines"] = blob(array_blob(lines))
    if source.key is not None:
        entry["keys"] = blob(keys_blob(source.frame().get_column(source.key)))
    return entry


def _type_entry(type: Type) -> dict[str, Any]:
    """A type as JSON, without its number of rows."""
    if isinstance(type, TableType):
        return {"fields": [[field.name, field.dtype, field.nullable, field.width] for field in type.fields]}
    return {"dtype": type.dtype, "across": list(type.dims[1:]), "single": not type.dims}


class StoredSource(Source):
    """A source as it was when the run was saved: its rows, lines and keys are known, its cells are in its file.

    `load` opens one of the entry's blobs, and `saved` gives it unopened.
    """

    def __init__(
        self,
        entry: Mapping[str, Any],
        load: Callable[[str], Any],
        saved: Callable[[str], Blob],
        lineage: Callable[[], Any],
        run: str,
    ) -> None:
        self._entry = dict(entry)
        self._load = load
        self._saved = saved
        self._lineage = lineage
        self._run = run
        self.id = entry["id"]
        self.path = entry.get("path")
        self.n_rows = entry["rows"]
        self.columns = None if entry["columns"] is None else tuple(entry["columns"])
        self.world = entry["world"]
        self.placeholder = entry["placeholder"]
        self.key = entry["key"]

    def described_again(self, blob: Callable[[Blob], int]) -> dict[str, Any]:
        """The entry of this source in the header of another run."""
        kept = {name: value for name, value in self._entry.items() if name != "lineage"}
        return kept | {name: blob(self._saved(name)) for name in PARTS if name in kept}

    @cached_property
    def lineage(self) -> Any:  # type: ignore[override]
        """The view of the saved result that this is."""
        return self._lineage() if "lineage" in self._entry else None

    @property
    def content_hash(self) -> str:
        return str(self._entry["hash"])

    def type(self, rows: Dim) -> Type:
        kept = self._entry["type"]
        if "fields" in kept:
            return TableType(tuple(Field(*field) for field in kept["fields"]), rows)
        return ArrayType(kept["dtype"], () if kept["single"] else (rows, *kept["across"]))

    # -- cells --------------------------------------------------------------------------------------------------------

    def value(self) -> Any:
        where = f"which are in {self.path}" if self.path else "which were in memory"
        raise LineageError(f"{self._run} holds the lineage of {self.id!r}, not its cells, {where}")

    def frame(self) -> pl.DataFrame:
        if self.columns is None:
            raise LineageError(f"{self.id!r} is an array without column names, so rows must be given by number")
        return self._reread.frame()

    @cached_property
    def _reread(self) -> Source:
        """The file, read again. Raises `LineageError` that names it where it is gone, or is not what it was."""
        how = self._entry.get("read")
        if how is None:
            raise LineageError(
                f"the cells of {self.id!r} were in memory when {self._run} was saved, and a store keeps lineage, not cells: "
                "give rows by number"
            )
        try:
            found = read_again(self._path(), self.id, how)
        except SourceError as error:
            raise LineageError(
                f"the cells of {self.id!r} are in {self.path}, which cannot be read now: {error}"
            ) from error
        if found.content_hash != self.content_hash:
            raise LineageError(
                f"the cells of {self.id!r} are in {self.path}, which has changed since {self._run} was saved: give rows by number"
            )
        return found

    def keys(self, rows: Any) -> np.ndarray:
        if "keys" not in self._entry:
            return super().keys(rows)
        found: np.ndarray = self._load("keys")[np.asarray(rows, dtype=np.int64)].to_numpy()
        return found

    # -- the file -----------------------------------------------------------------------------------------------------

    def _path(self) -> str:
        """Where the file is: where it was, else under the name by which it was called, from this folder."""
        absolute, called = self._entry["absolute"], self.path or ""
        return called if not os.path.exists(absolute) and os.path.exists(called) else absolute

    @cached_property
    def _file(self) -> WatchedFile | None:
        how = self._entry.get("read")
        if how is None:
            return None
        if how["as"] == "parquet":
            return WatchedFile(self._path(), self.content_hash)
        keys = None if self.key is None else lambda: self._load("keys")
        return WatchedCsv(self._path(), self.content_hash, how.get("na_values", ("",)), self.key, keys)

    def changed(self) -> str | None:
        return None if self._file is None else self._file.now().change

    def describe_rows(self, rows: Sequence[int] | np.ndarray) -> list[Location]:
        """Path, line and text of rows.

        Without the file the line is the one that it was, and there is no text. A file that has changed is told of as
        everywhere: see `CsvTableSource.describe_rows`.
        """
        if not isinstance(self._file, WatchedCsv):
            return super().describe_rows(rows)
        if self._file.now().scan is not None or os.path.exists(self._file.path):
            return [found._replace(path=self.path) for found in self._file.locate(self.id, rows)]
        lines = np.asarray(self._load("lines"))[np.asarray(rows, dtype=np.int64)] if "lines" in self._entry else None
        return [
            Location(self.id, self.path, int(row), None if lines is None else int(lines[k]), None)
            for k, row in enumerate(rows)
        ]
