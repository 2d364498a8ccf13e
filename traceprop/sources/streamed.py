"""Files that are not held in memory: checked in one stream at the call, and read again by every pass over their rows."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from traceprop.errors import ChangedSourceError, ChangedSourceWarning, SourceError
from traceprop.ir import ArrayType, Dim, Field, TableType
from traceprop.ir.location import user_location, warn_at
from traceprop.sources.blocks import Block, digest_of, marks, opened, read_blocks, row_blocks
from traceprop.sources.columns import Column
from traceprop.sources.csv_scan import Scan, scan, scan_more, texts
from traceprop.sources.files import stem
from traceprop.sources.keys import check_key
from traceprop.sources.predicate import mentioned
from traceprop.sources.source import Location, Source, check_id

if TYPE_CHECKING:
    import polars as pl

_QUOTE, _NEWLINE = b'"\n'


class StreamedSource(Source):
    """A source whose rows are read when they are wanted. What it keeps is what it takes to find them again.

    `value()` and `frame()` read all rows, for those who can hold them.
    """

    path: str

    @abstractmethod
    def read(self, rows: int, columns: Collection[str] | None = None) -> Iterator[Any]:
        """All rows in order, `rows` at a time, as `value()` would hold them; the last part may be shorter.

        Columns that are not in `columns` are there, and empty: nobody looks at them. Raises `ChangedSourceError` that names
        the file where it is no longer what it was.
        """

    def value(self) -> Any:
        return joined(list(self.read(1 << 16)), self.empty())

    @abstractmethod
    def empty(self) -> Any:
        """No rows of it."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """About how many bytes all rows take in memory."""

    def columns_of(self, names: Sequence[str]) -> pl.DataFrame:
        """All rows of some columns."""
        import polars as pl

        frames = [self._as_frame(part).select(names) for part in self.read(1 << 16, names)]
        return pl.concat(frames) if frames else self._as_frame(self.empty()).select(names)

    def _as_frame(self, part: Any) -> pl.DataFrame:
        import polars as pl

        if isinstance(part, np.ndarray):
            return pl.DataFrame(part, schema=list(self.columns or ()), orient="row")
        frame: pl.DataFrame = part
        return frame

    def frame(self) -> pl.DataFrame:
        return self._as_frame(self.value())

    def rows_where(self, predicate: str) -> np.ndarray:
        from traceprop.sources.predicate import rows_where

        names = mentioned(predicate, self.columns or ())
        return rows_where(self.columns_of(names) if names else self.frame(), predicate, self.id)

    def _only(self, column: str) -> pl.DataFrame:
        return self.columns_of([column]) if column in (self.columns or ()) else self._as_frame(self.empty())

    def keys(self, rows: Any) -> np.ndarray:
        if self.key is None:
            return super().keys(rows)
        return self._only(self.key).get_column(self.key)[np.asarray(rows, dtype=np.int64)].to_numpy()


def joined(parts: Sequence[Any], empty: Any) -> Any:
    """Parts under one another."""
    if not parts:
        return empty
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import polars as pl

    return pl.concat(parts, rechunk=True)


def rebatched(parts: Iterator[Any], rows: int) -> Iterator[Any]:
    """The same rows, so many at a time."""
    held: list[Any] = []
    count = 0
    for part in parts:
        while count + len(part) >= rows:
            take = rows - count
            held.append(part[:take])
            yield joined(held, None)
            held, count, part = [], 0, part[take:]
        if len(part):
            held.append(part)
            count += len(part)
    if held:
        yield joined(held, None)


class StreamedCsv(StreamedSource):
    """A CSV file by blocks of whole rows. Its structure and cells are checked as those of any CSV file."""

    def __init__(
        self,
        path: str | Path,
        source_id: str | None = None,
        na_values: str | Sequence[str] = (),
        key: str | None = None,
    ) -> None:
        self._na_values = ["", *([na_values] if isinstance(na_values, str) else na_values)]
        self.path = str(path)
        self.id = check_id(source_id) if source_id is not None else stem(path)
        self._marks = marks(self.path)
        self._blocks: list[Block] = []
        self._check()
        self.key = None
        if key is not None:
            self.key = check_key(self._only(key), key, self.path, lambda row: f"line {self._lines([row])[0][0]}")

    def _check(self) -> None:
        whole = hashlib.blake2b(digest_size=16)
        offset = row = lines = 0
        header: list[str] | None = None
        with opened(self.path) as file:
            for content in row_blocks(self.path, file):
                if header is None and not content.strip():
                    break
                found = scan(self.path, content) if header is None else scan_more(self.path, content, header, lines)
                if header is None:
                    header = found.header
                    self.columns = tuple(header)
                    self._begin()
                data = int(found.starts[0]) if found.n_rows else len(content)
                self._look(found, row)
                self._blocks.append(
                    Block(offset, len(content), row, found.n_rows, lines, data, found.blank_rows, digest_of(content))
                )
                whole.update(content)
                offset, row, lines = offset + len(content), row + found.n_rows, lines + len(found.newlines)
        if header is None:
            raise SourceError(f"{self.path} is empty; a CSV file begins with a line of column names")
        self.n_rows = row
        self._digest = whole.hexdigest()
        self._size = offset

    @abstractmethod
    def _begin(self) -> None:
        """The header is known."""

    @abstractmethod
    def _look(self, found: Scan, row: int) -> None:
        """Another block is there to be checked; `row` is the number of its first row."""

    @abstractmethod
    def _typed(self, frame: pl.DataFrame) -> Any:
        """Texts as they are held."""

    def read(self, rows: int, columns: Collection[str] | None = None) -> Iterator[Any]:
        return rebatched(self._read(columns), rows)

    def _read(self, columns: Collection[str] | None) -> Iterator[Any]:
        names = self.columns or ()
        wanted = None if columns is None else [k for k, name in enumerate(names) if name in columns]
        for block, content in read_blocks(self.path, self._blocks):
            if block.rows:
                yield self._typed(self._texts(block, content, wanted))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The stretches of whole rows in which the file was checked."""
        return tuple(self._blocks)

    def rows_in(self, block: Block, content: bytes) -> Any:
        """The rows of a block, whose bytes are `content`."""
        return self._typed(self._texts(block, content, None))

    def without_rows(self, path: str) -> Self:
        """What knows the columns and their types, for blocks that are read elsewhere: it travels light."""
        light = copy(self)
        light.__dict__.pop("signature", None)
        light.path, light._blocks = path, []
        return light

    def _texts(self, block: Block, content: bytes, wanted: list[int] | None) -> pl.DataFrame:
        import polars as pl

        header = list(self.columns or ())
        if wanted is not None and not wanted:
            return pl.DataFrame({"\0": np.zeros(block.rows, np.uint8)})  # which says how many rows there are
        if block.blank:
            found = self._scan(block, content).strings(self._na_values)
            return found if wanted is None else found.select([header[k] for k in wanted])
        return texts(self.path, content[block.data :], header, block.rows, self._na_values, wanted)

    def _scan(self, block: Block, content: bytes) -> Scan:
        if not block.offset:
            return scan(self.path, content)
        return scan_more(self.path, content, list(self.columns or ()), block.lines)

    @property
    def content_hash(self) -> str:
        return self._digest

    def changed(self) -> str | None:
        if self._marks is not None and marks(self.path) == self._marks:
            return None
        try:
            for _ in read_blocks(self.path, self._blocks):
                pass
        except ChangedSourceError:
            return f"{self.path} has changed since it was read, or is gone"
        return None

    def describe_rows(self, rows: Sequence[int] | np.ndarray) -> list[Location]:
        """Path, line and text of rows; only the blocks that hold them are read.

        Where the file has changed since it was checked, a `ChangedSourceWarning` says so, and line and text are `None`.
        """
        asked = np.asarray(rows, dtype=np.int64)
        try:
            found = self._lines(asked)
        except ChangedSourceError as error:
            warn_at(user_location(), f"{error}: no line is shown for the rows of {self.id!r}", ChangedSourceWarning)
            return [Location(self.id, self.path, row, None, None) for row in asked.tolist()]
        return [
            Location(self.id, self.path, row, line, text)
            for row, (line, text) in zip(asked.tolist(), found, strict=True)
        ]

    def _lines(self, rows: Sequence[int] | np.ndarray) -> list[tuple[int, str]]:
        asked = np.asarray(rows, dtype=np.int64)
        firsts = np.array([block.row for block in self._blocks])
        which = np.searchsorted(firsts, asked, side="right") - 1
        where = {}
        for k in np.unique(which).tolist():
            ((block, content),) = read_blocks(self.path, [self._blocks[k]], to_the_end=False)
            wanted = np.unique(asked[which == k])
            places = zip(wanted.tolist(), *self._in_block(block, content, wanted - block.row), strict=True)
            where |= {row: (line, text) for row, line, text in places}
        return [where[row] for row in asked.tolist()]

    def _in_block(self, block: Block, content: bytes, rows: np.ndarray) -> tuple[list[int], list[str]]:
        """The lines and texts of rows of a block, which was checked before."""
        if block.blank:
            found = self._scan(block, content)
            return found.lines(rows).tolist(), [found.text(row) for row in rows.tolist()]
        data = np.frombuffer(content, dtype=np.uint8)
        newlines = np.flatnonzero(data == _NEWLINE)
        ends = newlines
        if b'"' in content:
            ends = newlines[np.searchsorted(np.flatnonzero(data == _QUOTE), newlines) % 2 == 0]
        ends = np.append(ends[ends >= block.data], len(content))
        starts, stops = np.append(block.data, ends + 1)[rows], ends[rows]
        texts = [content[a:b].decode().rstrip("\r") for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
        return (np.searchsorted(newlines, starts) + 1 + block.lines).tolist(), texts


class StreamedCsvTable(StreamedCsv):
    """A CSV file as a table: whole numbers, numbers, booleans and text, told apart by what all of a column holds."""

    def _begin(self) -> None:
        self._found = [Column() for _ in self.columns or ()]

    def _look(self, found: Scan, row: int) -> None:
        for column, cells in zip(self._found, found.strings(self._na_values).get_columns(), strict=True):
            column.look(cells)

    @property
    def dtypes(self) -> dict[str, Any]:
        """The polars type of every column."""
        return {name: column.dtype for name, column in zip(self.columns or (), self._found, strict=True)}

    def type(self, rows: Dim) -> TableType:
        fields = [
            Field(name, column.name, column.nullable)
            for name, column in zip(self.columns or (), self._found, strict=True)
        ]
        return TableType(tuple(fields), rows)

    def empty(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame(schema=self.dtypes)

    @property
    def nbytes(self) -> int:
        return sum(
            self._size // len(self._found) if column.name == "str" else 8 * self.n_rows for column in self._found
        )

    def _typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        rows = frame.height
        columns = [
            column.cast(frame.get_column(name))
            if name in frame.columns
            else pl.Series(name, [None], column.dtype).new_from_index(0, rows)
            for name, column in zip(self.columns or (), self._found, strict=True)
        ]
        return pl.DataFrame(columns)


class StreamedCsvArray(StreamedCsv):
    """A CSV file of numbers as a float64 array (rows, columns); an empty cell is NaN."""

    def _begin(self) -> None:
        pass

    def _look(self, found: Scan, row: int) -> None:
        from traceprop.sources.csv import _numbers

        _numbers(found)

    def type(self, rows: Dim) -> ArrayType:
        return ArrayType("f64", (rows, len(self.columns or ())))

    def empty(self) -> np.ndarray:
        return np.empty((0, len(self.columns or ())))

    @property
    def nbytes(self) -> int:
        return 8 * self.n_rows * len(self.columns or ())

    def _typed(self, frame: pl.DataFrame) -> np.ndarray:
        import polars as pl

        rows = np.full((frame.height, len(self.columns or ())), np.nan)
        cells = (
            frame.select(pl.all().str.strip_chars().replace("", None).cast(pl.Float64))
            if "\0" not in frame.columns
            else frame
        )
        for k, name in enumerate(self.columns or ()):
            if name in cells.columns:
                rows[:, k] = cells.get_column(name).to_numpy()
        return rows
