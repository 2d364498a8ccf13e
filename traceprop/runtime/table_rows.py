"""The payloads `table.…` that bring rows together, pick some, or add empty ones: row numbers travel along in polars."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.ir.location import user_location, warn_at
from traceprop.runtime.table import _polars, _series, present

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
        return found.to_series(0).to_numpy().astype(np.int64)
    last = other.height - 1
    other = other.with_row_index(f"{_ROW}2")
    if how == "left":
        other = other.head(last)
    found = one.join(other, on=keys, how=how, maintain_order="left_right")
    pairs = found.select(pl.col(f"{_ROW}1"), pl.col(f"{_ROW}2").fill_null(last).cast(pl.UInt32))
    return pairs.to_numpy().astype(np.int64)


def pad(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The table with rows of nulls under it."""
    return _polars().concat([frame, frame.clear(rows)])


def distinct(keys: Any) -> np.ndarray:
    """The position of the first row of each distinct key, in order."""
    frame = key_frame(keys)
    found = frame.with_row_index(_ROW).unique(subset=frame.columns, keep="first", maintain_order=True)
    return found.get_column(_ROW).to_numpy().astype(np.int64)


def match(cells: Any, words: Any) -> np.ndarray:
    """For each cell its position among the words; for others `len(words)`, with a warning unless they are missing."""
    pl = _polars()
    series, known = _series(cells), _series(words)
    found = series.replace_strict(
        known, pl.Series(range(len(known)), dtype=pl.Int64), default=len(known), return_dtype=pl.Int64
    )
    unseen = series.filter(found == len(known)).drop_nulls()
    unseen = unseen.drop_nans() if unseen.dtype.is_float() else unseen
    if len(unseen):
        some = ", ".join(map(repr, unseen.unique(maintain_order=True).head(3).to_list()))
        warn_at(user_location(), f"{some} was not among the fitting rows; it is encoded as a missing value")
    return found.to_numpy()


def sample(rows: Any, count: int, seed: int) -> np.ndarray:
    """`count` different positions of the first axis, in the order in which they are drawn."""
    if count > len(rows):
        raise ValueError(f"{count} rows cannot be drawn from {len(rows)}")
    return np.random.default_rng(seed).choice(len(rows), count, replace=False).astype(np.int64)


PAYLOADS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (join, pad, distinct, match, sample)
}
