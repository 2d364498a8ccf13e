"""The payloads `table.…` that work cell by cell, and the statistics of a column that some of them apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.runtime.table import _polars, _series, array, present
from traceprop.sources.conform import polars_dtype

if TYPE_CHECKING:
    import polars as pl

Columns = Sequence[str]


# -- statistics of a column ---------------------------------------------------------------------------------------------


def mean(values: Any) -> Any:
    """The mean of the cells that are not missing; NaN where none is."""
    found = present(values).mean()
    return np.float64(np.nan if found is None else found)


def median(values: Any) -> Any:
    """The median of the cells that are not missing; NaN where none is."""
    found = present(values).median()
    return np.float64(np.nan if found is None else found)


def mode(values: Any) -> Any:
    """The most frequent cell, the smallest of several; missing cells do not count, and where no other is, it is missing."""
    series = present(values).drop_nulls()
    if not len(series):
        return None if series.dtype == _polars().String else array(series.clear(1))[0]
    return array(series.mode().sort())[0]


# -- whole columns ------------------------------------------------------------------------------------------------------


def fill_null(frame: pl.DataFrame, value: Any, names: Columns, dtypes: Columns) -> pl.DataFrame:
    """One column with a value in place of missing cells; a missing value leaves them."""
    column = present(frame.to_series(0)).cast(polars_dtype(dtypes[0].rstrip("?")))
    plain = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
    if plain is None or plain != plain:
        return frame.select(column.alias(names[0]))
    return frame.select(column.fill_null(_polars().lit(plain).cast(column.dtype)).alias(names[0]))


def cast(frame: pl.DataFrame, names: Columns, dtypes: Columns) -> pl.DataFrame:
    """Columns of other types. Raises `ValueError` that names the column and a cell that has no such value."""
    columns = []
    for series, name, dtype in zip(frame.get_columns(), names, dtypes, strict=True):
        wanted = dtype.rstrip("?")
        have = present(series) if wanted[0] in "iub" or wanted == "str" else series
        made = _converted(have, wanted)
        lost = made.is_null() & have.is_not_null()
        if lost.any():
            row = int(lost.arg_max() or 0)
            raise ValueError(
                f"column {name!r}, row {row}: {have[row]!r} is no {wanted}; clean it, or filter such rows out"
            )
        columns.append(made.alias(name))
    return _polars().DataFrame(columns)


def _converted(series: pl.Series, dtype: str) -> pl.Series:
    pl = _polars()
    if series.dtype == pl.String and dtype == "date":
        return series.str.to_date(strict=False)
    if series.dtype == pl.String and dtype == "datetime":
        return series.str.to_datetime(time_unit="us", strict=False)
    if series.dtype == pl.String and dtype == "bool":
        return series.replace_strict(["true", "false"], [True, False], default=None, return_dtype=pl.Boolean)
    return series.cast(polars_dtype(dtype), strict=False)


def bin(frame: pl.DataFrame, names: Columns, dtypes: Columns, edges: Sequence[float]) -> pl.DataFrame:
    """For every cell how many edges are not above it; a missing cell stays missing."""
    pl = _polars()
    column = present(frame.to_series(0)).cast(pl.Float64)
    places = np.searchsorted(np.asarray(edges, dtype=float), column.fill_null(0.0).to_numpy(), side="right")
    found = pl.DataFrame({"bin": places.astype(np.int64), "there": column.is_not_null()})
    return found.select(pl.when("there").then("bin").alias(names[0]))


def encoded(frame: pl.DataFrame, found: np.ndarray, prior: Any, names: Columns, dtypes: Columns) -> pl.DataFrame:
    """What was found for each category, and the prior for a missing one."""
    pl = _polars()
    known = present(frame.to_series(0)).is_not_null().to_numpy()
    return pl.DataFrame({names[0]: np.where(known, found[:, 0], prior)})


# -- conditions ---------------------------------------------------------------------------------------------------------


def is_null(values: Any) -> np.ndarray:
    """Whether a cell is null, NaN or NaT."""
    return present(values).is_null().to_numpy()


def isin(values: Any, words: Sequence[Any]) -> np.ndarray:
    """Whether a cell is one of some values; a missing cell is none."""
    pl = _polars()
    series = present(values)
    if not words:
        return np.zeros(len(series), dtype=bool)
    known = pl.Series(list(words))
    if series.dtype != known.dtype and not (series.dtype.is_numeric() and known.dtype.is_numeric()):
        known = known.cast(series.dtype)
    elif series.dtype != known.dtype:
        series, known = series.cast(pl.Float64), known.cast(pl.Float64)
    return series.is_in(known.implode()).fill_null(False).to_numpy()


# -- text and dates -----------------------------------------------------------------------------------------------------


def _text(name: str) -> Any:
    def apply(values: Any, **options: Any) -> Any:
        found = getattr(_series(values).str, name)(**options)
        pl = _polars()
        if found.dtype == pl.Boolean:
            return found.fill_null(False).to_numpy()
        return found if found.dtype == pl.String else found.cast(pl.Float64).to_numpy()

    apply.__doc__ = f"polars' `str.{name}` of a text column."
    return apply


def _date(name: str) -> Any:
    def apply(values: Any) -> np.ndarray:
        return getattr(_series(values).dt, name)().cast(_polars().Float64).to_numpy()

    apply.__doc__ = f"polars' `dt.{name}` of a date column; NaN where there is no date."
    return apply


def _read_as(name: str, **given: Any) -> Any:
    def apply(values: Any, format: str | None, strict: bool) -> np.ndarray:
        series = _series(values)
        found = getattr(series.str, name)(format, strict=False, **given)
        lost = found.is_null() & series.is_not_null()
        if strict and lost.any():
            row = int(lost.arg_max() or 0)
            like = f" of the form {format!r}" if format else ""
            raise ValueError(
                f"row {row}: {series[row]!r} is no {name.removeprefix('to_')}{like}; strict=False leaves it out"
            )
        return found.to_numpy()

    apply.__doc__ = f"polars' `str.{name}` of a text column; NaT where there is none."
    return apply


def text_split(values: Any, by: str, part: int) -> pl.Series:
    """The part of a text between two separators, by its number; null where there are fewer."""
    return _series(values).str.split(by).list.get(part, null_on_oob=True)


def mapped(values: Any, words: tuple[Any, ...], meanings: tuple[Any, ...]) -> Any:
    """Each cell's meaning; null (NaN among numbers) where it has none."""
    pl = _polars()
    series = _series(values)
    known = pl.Series(words).cast(series.dtype)
    found = series.replace_strict(known, pl.Series(meanings), default=None)
    return found if found.dtype == pl.String else found.cast(pl.Float64).to_numpy()


def date_truncate(values: Any, every: str) -> np.ndarray:
    """The beginning of the unit of the calendar that a date lies in."""
    return _series(values).dt.truncate(every).to_numpy()


def date_offset_by(values: Any, by: str) -> np.ndarray:
    """Dates moved by units of the calendar."""
    return _series(values).dt.offset_by(by).to_numpy()


def date_format(values: Any, format: str) -> pl.Series:
    """Dates as text."""
    return _series(values).dt.to_string(format)


TEXT = {
    "lower": "to_lowercase", "upper": "to_uppercase", "strip": "strip_chars", "len": "len_chars", "contains": "contains",
    "starts_with": "starts_with", "ends_with": "ends_with", "replace": "replace_all", "slice": "slice",
    "strip_start": "strip_chars_start", "strip_end": "strip_chars_end", "count": "count_matches", "extract": "extract",
    "pad_start": "pad_start", "pad_end": "pad_end", "zfill": "zfill", "title": "to_titlecase", "find": "find",
}  # fmt: skip
DATES = "year month day week weekday ordinal_day quarter days_in_month is_leap_year hour minute second".split()
PAYLOADS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (mean, median, mode, fill_null, cast, bin, encoded, is_null, isin)},
    **{f"text_{name}": _text(method) for name, method in TEXT.items()},
    **{f"date_{name}": _date(name) for name in DATES},
    **{function.__name__: function for function in (date_truncate, date_offset_by, date_format, text_split, mapped)},
    "text_to_date": _read_as("to_date"),
    "text_to_datetime": _read_as("to_datetime", time_unit="us"),
}
