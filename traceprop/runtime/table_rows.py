"""The payloads `table.…` that bring rows together, pick some, or add empty ones: row numbers travel along in polars."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.ir.location import user_location, warn_at
from traceprop.runtime.table import _polars, _series, places, present
from traceprop.runtime.taken import Numbered, Pairs

if TYPE_CHECKING:
    import polars as pl

_ROW = "\0row"


def key_frame(keys: Any) -> pl.DataFrame:
    """Keys as a table whose columns are called 0, 1, …; a NaN is as missing as a null (the engine finds some NaNs unequal)."""
    pl = _polars()
    columns = keys.get_columns() if isinstance(keys, pl.DataFrame) else [keys]
    return pl.DataFrame([present(column).alias(str(k)) for k, column in enumerate(columns)])


def join(left: Any, right: Any, how: str) -> np.ndarray:
    """int64: pairs of positions (K, 2) for `inner` and `left`, left positions (K,) for `semi` and `anti`."""
    return np.asarray(taken_join(left, right, how))


def taken_join(left: Any, right: Any, how: str) -> Pairs | Numbered:
    """The same, for rows to be taken by."""
    pl = _polars()
    one, other = key_frame(left), key_frame(right)
    for name in one.columns:
        dtypes = (one.schema[name], other.schema[name])
        if dtypes[0] != dtypes[1] and all(dtype.is_numeric() for dtype in dtypes):
            common = pl.Float64 if any(dtype.is_float() for dtype in dtypes) else pl.Int64
            one, other = one.with_columns(pl.col(name).cast(common)), other.with_columns(pl.col(name).cast(common))
    keys = one.columns
    one = one.with_row_index(f"{_ROW}1")
    if how in ("semi", "anti"):
        found = one.join(other, on=keys, how=how, maintain_order="left")
        return Numbered(found.to_series(0))
    last = other.height - 1
    other = other.with_row_index(f"{_ROW}2")
    if how == "left":
        other = other.head(last)
    found = one.join(other, on=keys, how=how, maintain_order="left_right")
    matched = found.get_column(f"{_ROW}2")
    return Pairs(found.get_column(f"{_ROW}1"), matched.fill_null(last) if how == "left" else matched)


def pad(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The table with rows of nulls under it."""
    return _polars().concat([frame, frame.clear(rows)])


def distinct(keys: Any) -> np.ndarray:
    """The position of the first row of each distinct key, in order."""
    return np.asarray(taken_distinct(keys))


def taken_distinct(keys: Any) -> Numbered:
    """The same, for rows to be taken by."""
    frame = key_frame(keys)
    found = frame.with_row_index(_ROW).unique(subset=frame.columns, keep="first", maintain_order=True)
    return Numbered(found.get_column(_ROW))


def match(cells: Any, words: Any) -> np.ndarray:
    """For each cell its position among the words; for others `len(words)`, with a warning unless they are missing."""
    series, known = _series(cells), _series(words)
    found = places(series, known)
    if found.null_count():
        unseen = series.filter(found.is_null()).drop_nulls()
        unseen = unseen.drop_nans() if unseen.dtype.is_float() else unseen
        if len(unseen):
            some = ", ".join(map(repr, unseen.unique(maintain_order=True).head(3).to_list()))
            warn_at(user_location(), f"{some} was not among the fitting rows; it is encoded as a missing value")
    return found.cast(_polars().Int64).fill_null(len(known)).to_numpy()


def sample(rows: Any, count: int, seed: int) -> np.ndarray:
    """`count` different positions of the first axis, in the order in which they are drawn."""
    if count > len(rows):
        raise ValueError(f"{count} rows cannot be drawn from {len(rows)}")
    return np.random.default_rng(seed).choice(len(rows), count, replace=False).astype(np.int64)


PAYLOADS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (join, taken_join, pad, distinct, taken_distinct, match, sample)
}
