"""The structure of a CSV file, found in a few vectorised sweeps over its bytes.

polars reads values well but names no lines, and fills short rows silently. So the rows are found here first: newlines
outside quotes end them, and every row must have as many fields as the header.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from traceprop.errors import SourceError

if TYPE_CHECKING:
    import polars as pl

_QUOTE, _COMMA, _NEWLINE, _RETURN = b'",\n\r'


@dataclass(eq=False)
class Scan:
    """Where each row begins and ends: `starts`, `stops` int64 (n_rows,) offsets into `content`, header left out.

    `before`: how many lines of the file stand before `content`, which may be a part of it.
    """

    path: str
    content: bytes
    header: list[str]
    starts: np.ndarray
    stops: np.ndarray
    newlines: np.ndarray
    blank_rows: bool
    before: int = 0

    @property
    def n_rows(self) -> int:
        return len(self.starts)

    def line(self, row: int) -> int:
        """The 1-based line on which a row begins."""
        return _line_of(self.newlines, self.starts[row], self.before)

    def lines(self, rows: np.ndarray) -> np.ndarray:
        """The 1-based lines on which rows begin: int64, one per row."""
        return np.searchsorted(self.newlines, self.starts[rows]).astype(np.int64) + 1 + self.before

    def text(self, row: int) -> str:
        """The row as it stands in the file."""
        return self.content[self.starts[row] : self.stops[row]].decode().rstrip("\r")

    def strings(self, na_values: list[str]) -> pl.DataFrame:
        """All cells as text; those in `na_values` as null."""
        content = self.content[self.starts[0] :] if self.n_rows else b""
        if self.blank_rows:
            content = _without_blank_rows(self.content, self.starts, self.stops)
        return texts(self.path, content, self.header, self.n_rows, na_values)


def texts(
    path: str, content: bytes, header: list[str], n_rows: int, na_values: list[str], columns: list[int] | None = None
) -> pl.DataFrame:
    """Rows without a header as text; cells in `na_values` are null. `columns`: only these, by position and in file order."""
    import polars as pl

    schema = dict.fromkeys(header, pl.String)
    if n_rows == 0:
        return pl.DataFrame(
            schema=schema if columns is None else dict.fromkeys((header[k] for k in columns), pl.String)
        )
    try:
        frame = pl.read_csv(
            io.BytesIO(content), has_header=False, schema=schema, null_values=na_values, columns=columns
        )
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if frame.height != n_rows:
        raise SourceError(f"{path}: {n_rows} rows were found but {frame.height} were read; is it quoted oddly?")
    return frame


def _without_blank_rows(content: bytes, starts: np.ndarray, stops: np.ndarray) -> bytes:
    """The content of the rows alone, a newline behind each."""
    data = np.frombuffer(content + b"\n", dtype=np.uint8)
    lengths = stops - starts + 1
    offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    kept = data[np.arange(lengths.sum()) + offsets].copy()
    kept[np.cumsum(lengths) - 1] = _NEWLINE
    return kept.tobytes()


def scan(path: str, content: bytes) -> Scan:
    """Finds the rows. Raises `SourceError` for what is not a CSV file of UTF-8 text with a header and even rows."""
    if not content.strip():
        raise SourceError(f"{path} is empty; a CSV file begins with a line of column names")
    found = _rows(path, content, 0)
    starts, stops = found.starts, found.stops
    header = _header(path, content[starts[0] : stops[0]].decode().rstrip("\r"), len(starts) - 1)
    _check_even(found, header)
    return Scan(path, content, header, starts[1:], stops[1:], found.newlines, found.blank)


def scan_more(path: str, content: bytes, header: list[str], before: int) -> Scan:
    """Finds the rows of a part of a file, which begins with a row and ends with one; `before`: the lines that stand before."""
    found = _rows(path, content, before)
    _check_even(found, header)
    return Scan(path, content, header, found.starts, found.stops, found.newlines, found.blank, before)


@dataclass(eq=False)
class _Found:
    """All rows, the header among them; where newlines stand, and the commas outside of quotes."""

    path: str
    starts: np.ndarray
    stops: np.ndarray
    newlines: np.ndarray
    commas: np.ndarray
    blank: bool
    before: int


def _rows(path: str, content: bytes, before: int) -> _Found:
    _check_text(path, content, before)
    data = np.frombuffer(content, dtype=np.uint8)
    newlines = np.flatnonzero(data == _NEWLINE)
    ends, commas = newlines, np.flatnonzero(data == _COMMA)
    quotes = np.flatnonzero(data == _QUOTE) if b'"' in content else np.empty(0, dtype=np.int64)
    if len(quotes):
        if len(quotes) % 2:
            line = _line_of(newlines, _open_quote(quotes, newlines), before)
            raise SourceError(f"{path}, line {line}: a quoted cell begins and never ends")
        _check_quotes(path, data, quotes, newlines, before)
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        commas = commas[np.searchsorted(quotes, commas) % 2 == 0]
    if b"\r" in content:
        _check_returns(path, data, quotes, newlines, before)
    if len(data) and (len(ends) == 0 or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    last = np.maximum(ends - 1, 0)
    trimmed = ends - (data[last] == _RETURN)
    filled = trimmed > starts
    return _Found(path, starts[filled], ends[filled], newlines, commas, not filled.all(), before)


def _check_even(rows: _Found, header: list[str]) -> None:
    """Every row has as many cells as the header."""
    edges = np.searchsorted(rows.commas, np.append(rows.starts, rows.stops[-1:])) if len(rows.starts) else np.zeros(1)
    found = np.diff(edges) + 1  # no comma stands between two rows
    uneven = np.flatnonzero(found != len(header))
    if len(uneven):
        row = uneven[0]
        raise SourceError(
            f"{rows.path}, line {_line_of(rows.newlines, rows.starts[row], rows.before)}: {found[row]} cells where the header "
            f"has {len(header)} columns ({', '.join(header[:6])}{', …' if len(header) > 6 else ''})"
        )


def _open_quote(quotes: np.ndarray, newlines: np.ndarray) -> int:
    """Of an odd number of quotes, the first that spans a line's end; the last quote where none does."""
    opening, closing = quotes[:-1:2], quotes[1::2]
    across = np.flatnonzero(np.searchsorted(newlines, opening) != np.searchsorted(newlines, closing))
    return int(opening[across[0]] if len(across) else quotes[-1])


def _check_quotes(path: str, data: np.ndarray, quotes: np.ndarray, newlines: np.ndarray, lines: int) -> None:
    """Quotes enclose whole cells; one that is part of a cell stands twice."""
    opening, closing = quotes[::2], quotes[1::2]
    before = data[np.maximum(opening - 1, 0)]
    behind = data[np.minimum(closing + 1, len(data) - 1)]
    doubled = np.concatenate(
        (opening[1:] == closing[:-1] + 1, [False])
    )  # a closing and an opening quote: one inside a cell
    begins = (opening == 0) | np.isin(before, (_COMMA, _NEWLINE)) | np.concatenate(([False], doubled[:-1]))
    ends = (closing == len(data) - 1) | np.isin(behind, (_COMMA, _NEWLINE, _RETURN)) | doubled
    wrong = np.concatenate((opening[~begins], closing[~ends]))
    if len(wrong):
        raise SourceError(
            f"{path}, line {_line_of(newlines, wrong.min(), lines)}: a quote amid a cell; "
            "put the whole cell in quotes, and double those inside it"
        )


def _check_returns(path: str, data: np.ndarray, quotes: np.ndarray, newlines: np.ndarray, lines: int) -> None:
    """A carriage return outside quotes goes with a line feed."""
    returns = np.flatnonzero(data == _RETURN)
    if len(returns):
        returns = returns[np.searchsorted(quotes, returns) % 2 == 0]
        alone = returns[data[np.minimum(returns + 1, len(data) - 1)] != _NEWLINE]
        if len(alone):
            raise SourceError(
                f"{path}, line {_line_of(newlines, alone[0], lines)}: a carriage return without a line feed; "
                "save the file with line ends LF or CR LF"
            )


def _line_of(newlines: np.ndarray, offset: int, before: int = 0) -> int:
    return int(np.searchsorted(newlines, offset)) + 1 + before


def _check_text(path: str, content: bytes, before: int) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        start = content.rfind(b"\n", 0, error.start) + 1
        line = content.count(b"\n", 0, error.start) + 1 + before
        column = content.count(b",", start, error.start) + 1
        raise SourceError(
            f"{path}, line {line}, column {column}: byte 0x{content[error.start]:02x} is not UTF-8 text; "
            "save the file as UTF-8"
        ) from None
    if (zero := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, zero) + 1 + before
        raise SourceError(f"{path}, line {line}: a zero byte; is this a CSV file?")


def _header(path: str, line: str, n_rows: int) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([line], strict=True))]
    except (csv.Error, StopIteration) as error:
        raise SourceError(f"{path}, line 1: the header cannot be read: {error}") from None
    seen: set[str] = set()
    for position, name in enumerate(names, 1):
        if not name:
            raise SourceError(f"{path}, line 1, column {position}: the header has no name there; name every column")
        if name in seen:
            raise SourceError(f"{path}, line 1, column {position}: the name {name!r} stands twice in the header")
        seen.add(name)
    if names != [str(k) for k in range(len(names))] and all(map(_is_number, names)):
        raise SourceError(
            f"{path}, line 1: {', '.join(names[:4])} … are numbers, not column names; "
            f"put a header line before the {n_rows + 1} rows"
        )
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
