"""Rows by a SQL condition over the columns of a table: an expression, and nothing that reaches beyond the table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from traceprop.errors import LineageError

if TYPE_CHECKING:
    import polars as pl

# Everything that a condition is made of. What is not here (comments, dollar quotes, prefixed strings, several statements)
# has no use in a condition, and is what could hide the words below from a check.
_TOKEN = re.compile(
    r"""\s+ | '(?:[^']|'')*' | "(?:[^"]|"")*" | (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? | [^\W\d]\w*
    | -(?!-) | /(?!\*) | [+*%(),.<>=!~|&^:]""",
    re.VERBOSE,
)
_WORD = re.compile(r"[^\W\d]\w*")
_REACHING = frozenset({"select", "with", "values", "table", "unnest", "columns"})


def rows_where(frame: pl.DataFrame, predicate: str, source_id: str) -> np.ndarray:
    """int64 array of the rows for which a SQL condition over the columns holds; a null is not true.

    Texts that are dates compare with columns of dates. Raises `LineageError` with the predicate, and the columns where it
    names an unknown one, for what is no condition on rows; sub-queries and functions that read files are none.
    """
    import polars as pl

    check_predicate(predicate, source_id)
    try:
        mask = _asked(frame, predicate)
    except pl.exceptions.PolarsError as error:
        raise LineageError(_explained(predicate, frame.columns, str(error), source_id)) from None
    if mask.dtype == pl.Null:
        mask = mask.cast(pl.Boolean)
    if mask.dtype != pl.Boolean:
        raise LineageError(f"where={predicate!r} is no condition on rows of {source_id!r}: it gives {mask.dtype}")
    if len(mask) != frame.height:
        raise LineageError(
            f"where={predicate!r} is no condition on rows of {source_id!r}: it gives {len(mask)} for {frame.height} rows"
        )
    return np.flatnonzero(mask.fill_null(False).to_numpy())


def _asked(frame: pl.DataFrame, predicate: str) -> pl.Series:
    """The condition row by row: as an expression; where that does not do, as SQL, which knows texts that are dates."""
    import polars as pl

    expression = pl.sql_expr(predicate)
    try:
        mask = frame.select(expression.alias("mask")).to_series()
        if len(mask) == frame.height:
            return mask
    except pl.exceptions.ColumnNotFoundError:
        raise
    except pl.exceptions.PolarsError as error:
        first = error
    else:
        first = None
    try:  # one expression was read above, so that between brackets it is still one
        with pl.SQLContext(rows=frame.lazy()) as context:
            return context.execute(f"SELECT (\n{predicate}\n) AS mask FROM rows", eager=True).to_series()  # noqa: S608
    except pl.exceptions.PolarsError as error:
        raise first or error from None


def check_predicate(predicate: str, source_id: str) -> None:
    """Raises `LineageError` for what is more than an expression over columns."""
    if not isinstance(predicate, str) or not predicate.strip():
        raise LineageError(f"where= is a condition such as 'age > 90', not {predicate!r}")
    at, before = 0, ""
    while at < len(predicate):
        found = _TOKEN.match(predicate, at)
        if found is None:
            raise LineageError(
                f"where={predicate!r} cannot be asked of {source_id!r}: {predicate[at : at + 2]!r} at character {at + 1} is "
                "no part of a condition (there are columns, numbers, 'texts', AND, OR, NOT, IN, LIKE, BETWEEN, IS NULL and "
                "functions)"
            )
        token = found.group()
        if token.lower() in _REACHING or token.lower().startswith(("read_", "scan_")):
            raise LineageError(
                f"where={predicate!r} cannot be asked of {source_id!r}: {token} would reach beyond the source's own rows "
                "(a column of that name stands in double quotes)"
            )
        if token[0] in "'\"" and _WORD.fullmatch(before) and before.lower() not in ("date", "timestamp"):
            raise LineageError(
                f"where={predicate!r} cannot be asked of {source_id!r}: put a blank between {before} and {token}"
            )
        at, before = found.end(), token


def _explained(predicate: str, columns: list[str], error: str, source_id: str) -> str:
    reason = error.strip().splitlines()[0].split("; valid columns")[0] if error.strip() else "it cannot be read"
    missing = re.search(r'unable to find column "(.*)"', reason)
    near = difflib.get_close_matches(missing.group(1).lower(), {c.lower(): c for c in columns}, n=1) if missing else []
    meant = next((f"; did you mean {c!r}?" for c in columns if near and c.lower() == near[0]), "")
    return f"where={predicate!r} cannot be asked of {source_id!r} ({reason}{meant}); its columns: {', '.join(columns)}"


def mentioned(predicate: str, columns: Sequence[str]) -> list[str]:
    """The columns that a condition may speak of: those whose names are among its words, in any spelling that SQL allows."""
    words = {word.lower() for word in _WORD.findall(predicate)}
    quoted = {part.replace('""', '"') for part in re.findall(r'"((?:[^"]|"")*)"', predicate)}
    return [name for name in columns if name.lower() in words or name in quoted]
