"""Rows of a file as pieces that any process reads by itself: ranges of a CSV file's bytes, ranges of a Parquet file's rows.

A piece carries the hash of what it must hold. Whoever reads it gets the same cells as the process that cut it, or an error
that names the file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import ChangedSourceError, SourceError
from traceprop.sources.again import how_read, read_again
from traceprop.sources.blocks import Block, read_blocks
from traceprop.sources.conform import ConformedSource, polars_dtype
from traceprop.sources.csv import _numbers
from traceprop.sources.csv_scan import Scan, scan
from traceprop.sources.files import digest, is_remote, read_bytes, read_range, without_bom
from traceprop.sources.frame import traceable
from traceprop.sources.source import Source
from traceprop.sources.streamed import StreamedCsv, StreamedSource, joined

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class CsvPiece:
    """Some rows of a CSV file: the bytes from `first` up to `last`, whose hash is `content_hash`.

    `types`: the columns' types by name, or `None` for an array of numbers.
    """

    path: str
    header: tuple[str, ...]
    types: tuple[str, ...] | None
    na_values: tuple[str, ...]
    first: int
    last: int
    content_hash: str

    def value(self) -> Any:
        """The rows: a polars DataFrame or a float64 array. Raises `ChangedSourceError` or `SourceError` naming the file."""
        content = _reading(self.path, lambda: read_range(self.path, self.first, self.last))
        if digest(content) != self.content_hash:
            raise _changed(self.path)
        found = self._scan(content)
        if self.types is None:
            return _numbers(found)
        text = found.strings(list(self.na_values))
        return text.select(_as_typed(text.get_column(n), t) for n, t in zip(self.header, self.types, strict=True))

    def _scan(self, content: bytes) -> Scan:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(self.header)
        return scan(self.path, line.getvalue().encode() + content)


@dataclass(frozen=True)
class ParquetPiece:
    """Some rows of a Parquet file: `rows` of them from `first` on, whose hash is `content_hash`."""

    path: str
    types: tuple[tuple[str, str], ...]
    first: int
    rows: int
    content_hash: str = ""

    def sealed(self) -> ParquetPiece:
        """The piece with the hash of what it holds now."""
        return replace(self, content_hash=rows_digest(self._read()))

    def value(self) -> pl.DataFrame:
        """The rows. Raises `ChangedSourceError` or `SourceError` naming the file."""
        frame = self._read()
        if rows_digest(frame) != self.content_hash:
            raise _changed(self.path)
        return frame

    def _read(self) -> pl.DataFrame:
        import polars as pl

        def read() -> pl.DataFrame:
            return pl.scan_parquet(self.path).select([n for n, _ in self.types]).slice(self.first, self.rows).collect()

        try:
            found = traceable(_reading(self.path, read), self.path)
            return found.select(pl.col(name).cast(polars_dtype(dtype)) for name, dtype in self.types)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _changed(self.path, f" ({str(error).splitlines()[0]})") from None


@dataclass(frozen=True, eq=False)
class BlocksPiece:
    """Some rows of a CSV file that was checked block by block: those from `first` on in `blocks`, `rows` of them.

    `last`: whether nothing may stand behind them. `reader` knows the columns and their types; it holds no rows.
    """

    path: str
    reader: StreamedCsv
    blocks: tuple[Block, ...]
    first: int
    rows: int
    last: bool

    def value(self) -> Any:
        """The rows. Raises `ChangedSourceError` naming the file."""
        parts = [
            self.reader.rows_in(block, content)
            for block, content in read_blocks(self.path, self.blocks, to_the_end=self.last)
            if block.rows
        ]
        return joined(parts, self.reader.empty())[self.first : self.first + self.rows]


@dataclass(frozen=True)
class ReadWhole:
    """Some rows of a file that has to be read from its beginning (a `.gz`): each process reads it once."""

    path: str
    how: str
    first: int
    rows: int
    content_hash: str

    def value(self) -> Any:
        """The rows. Raises `ChangedSourceError` or `SourceError` naming the file."""
        whole = _reading(self.path, lambda: _whole(self.path, self.how, self.content_hash))
        return whole[self.first : self.first + self.rows]


Piece = CsvPiece | ParquetPiece | BlocksPiece | ReadWhole

_cut: weakref.WeakKeyDictionary[Source, dict[tuple[int, ...], list[Piece]]] = weakref.WeakKeyDictionary()


def pieces(source: Source, edges: Sequence[int]) -> list[Piece] | None:
    """The rows between neighbouring `edges` (the first is 0, the last the number of rows), to be read from the source's file.

    `None` for a source that is no file, or not as the file has it. Raises `ChangedSourceError` where the file is not what
    it was when it was read.
    """
    how = None if isinstance(source, ConformedSource) else how_read(source)
    if how is None or source.path is None:
        return None
    known = _cut.setdefault(source, {})
    if tuple(edges) not in known:
        known[tuple(edges)] = _pieces(source, how, list(edges))
    return known[tuple(edges)]


def _pieces(source: Source, how: dict[str, Any], edges: list[int]) -> list[Piece]:
    path = source.path or ""
    remote = is_remote(path)
    place = path if remote else os.path.abspath(path)
    if isinstance(source, StreamedCsv):
        return _of_blocks(source, place, edges)
    if how["as"] == "parquet" and not remote:
        types = tuple(how["types"].items())
        return [
            ParquetPiece(place, types, lo, hi - lo).sealed()
            if isinstance(source, StreamedSource)
            else ParquetPiece(place, types, lo, hi - lo, rows_digest(source.value()[lo:hi]))
            for lo, hi in itertools.pairwise(edges)
        ]
    if how["as"] == "parquet" or path.endswith(".gz"):
        text = json.dumps(how)
        return [ReadWhole(place, text, lo, hi - lo, source.content_hash) for lo, hi in itertools.pairwise(edges)]
    raw = read_bytes(path)
    content = without_bom(raw)
    if digest(content) != source.content_hash:
        raise _changed(path)
    mark = len(raw) - len(content)
    found = scan(path, content)
    ends = np.append(found.starts, len(content))
    types = None if how["as"] == "csv numbers" else tuple(how["types"].values())
    cut: list[Piece] = []
    for lo, hi in itertools.pairwise(edges):
        first, last = int(ends[lo]), int(ends[hi])
        header = tuple(found.header if types is None else how["types"])
        na_values = tuple(how.get("na_values", ("",)))
        cut.append(CsvPiece(place, header, types, na_values, mark + first, mark + last, digest(content[first:last])))
    return cut


def _of_blocks(source: StreamedCsv, place: str, edges: list[int]) -> list[Piece]:
    blocks = source.blocks
    firsts = np.array([block.row for block in blocks])
    reader = source.without_rows(place)
    cut: list[Piece] = []
    for lo, hi in itertools.pairwise(edges):
        start = max(0, int(np.searchsorted(firsts, lo, side="right")) - 1)
        stop = max(start + 1, int(np.searchsorted(firsts, hi, side="left")))
        mine = blocks[start:stop]
        cut.append(BlocksPiece(place, reader, mine, lo - mine[0].row, hi - lo, stop == len(blocks)))
    return cut


def rows_digest(frame: pl.DataFrame) -> str:
    """A hash of a table's cells, and of their types."""
    content = frame.hash_rows(seed=0).to_numpy().tobytes() if frame.width else b""
    return hashlib.blake2b(repr(frame.schema).encode() + content, digest_size=16).hexdigest()


def _as_typed(column: pl.Series, dtype: str) -> pl.Series:
    """Text as what the whole column was found to hold."""
    if dtype == "bool":
        return (column.str.to_lowercase() == "true").alias(column.name)
    return column.cast(polars_dtype(dtype))


@lru_cache(maxsize=2)
def _whole(path: str, how: str, content_hash: str) -> Any:
    found = read_again(path, "piece", json.loads(how))
    if found.content_hash != content_hash:
        raise _changed(path)
    return found.value()


def _reading(path: str, read: Any) -> Any:
    try:
        return read()
    except (SourceError, FileNotFoundError) as error:
        raise SourceError(
            f"{error}. The file is read where its rows are worked on, so every worker needs it at that path; "
            "tp.from_dataframe and tp.from_numpy send rows that are in memory instead"
        ) from None


def _changed(path: str, why: str = "") -> ChangedSourceError:
    return ChangedSourceError(
        f"{path} has changed since it was read{why}; read it again (tp.read_csv, tp.read_parquet)"
    )
