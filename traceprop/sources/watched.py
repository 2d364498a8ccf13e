"""Files as they were when they were read, and what can be said of their rows now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import ChangedSourceWarning, SourceError
from traceprop.ir.location import user_location, warn_at
from traceprop.sources.csv_scan import Scan, scan
from traceprop.sources.files import digest, read_bytes, stamp, without_bom
from traceprop.sources.keys import found_by_key
from traceprop.sources.source import Location

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Now:
    """A file as it is now. `change` says how it differs from what was read; `None` where it does not."""

    change: str | None
    scan: Scan | None = None


class WatchedFile:
    """A file, and the hash of what was read from it."""

    def __init__(self, path: str, content_hash: str) -> None:
        self.path = path
        self.content_hash = content_hash
        self._seen: tuple[Any, Now] | None = None

    def now(self) -> Now:
        """The file now; it is read again only where it may have been written to."""
        mark = stamp(self.path)
        if self._seen is None or mark is None or self._seen[0] != mark:
            self._seen = (mark, self._look())
        return self._seen[1]

    def _look(self) -> Now:
        try:
            content = self._content()
        except SourceError:
            return Now(f"{self.path} is gone, or cannot be read now")
        return self._compared(content, digest(content) == self.content_hash)

    def _content(self) -> bytes:
        return read_bytes(self.path)

    def _compared(self, content: bytes, same: bool) -> Now:
        return Now(None if same else f"{self.path} has changed since it was read")


class WatchedCsv(WatchedFile):
    """A CSV file, whose rows have lines: by number while the file is what it was, else by key.

    `key` and `keys` name the key column and give its cells as they were read, one per row.
    """

    def __init__(
        self,
        path: str,
        content_hash: str,
        na_values: Sequence[str] = ("",),
        key: str | None = None,
        keys: Callable[[], pl.Series] | None = None,
    ) -> None:
        super().__init__(path, content_hash)
        self.na_values = list(na_values)
        self.key = key
        self.keys = keys
        self._cells: tuple[Scan, pl.Series] | None = None

    def _content(self) -> bytes:
        return without_bom(super()._content())

    def _compared(self, content: bytes, same: bool) -> Now:
        change = super()._compared(content, same).change
        try:
            return Now(change, scan(self.path, content))
        except SourceError as error:
            return Now(f"{change}, and is no CSV file now ({error})")

    def locate(self, source_id: str, rows: Sequence[int] | np.ndarray) -> list[Location]:
        """Where rows stand now. A row that cannot be told has neither line nor text, and a `ChangedSourceWarning` says why."""
        now = self.now()
        rows = np.asarray(rows, dtype=np.int64)
        positions = rows if now.change is None else self._by_key(source_id, rows, now)
        if now.scan is None:
            return [Location(source_id, self.path, row, None, None) for row in rows.tolist()]
        lines = now.scan.lines(np.maximum(positions, 0)) if now.scan.n_rows else np.zeros(len(rows), dtype=np.int64)
        return [
            Location(source_id, self.path, row, line, now.scan.text(at))
            if at >= 0
            else Location(source_id, self.path, row, None, None)
            for row, at, line in zip(rows.tolist(), positions.tolist(), lines.tolist(), strict=True)
        ]

    def _by_key(self, source_id: str, rows: np.ndarray, now: Now) -> np.ndarray:
        lost = np.full(len(rows), -1)
        if now.scan is None or self.key is None or self.keys is None or self.key not in now.scan.header:
            advice = "" if self.key is not None or now.scan is None else " (with key= they would be found by their key)"
            _warn(f"{now.change}: no line is shown for the rows of {source_id!r}{advice}")
            return lost
        if self._cells is None or self._cells[0] is not now.scan:
            self._cells = (now.scan, now.scan.strings(self.na_values).get_column(self.key))
        found = found_by_key(self.keys()[rows], self._cells[1])
        gone = int((found < 0).sum())
        missing = f"; {gone} of {len(rows)} are there no more" if gone else ""
        _warn(f"{now.change}: the rows of {source_id!r} are found by {self.key!r}, on the lines of now{missing}")
        return found


def _warn(message: str) -> None:
    warn_at(user_location(), message, ChangedSourceWarning)
