"""The payloads `table.…`: what the dataframe engine does for a program. Text columns are polars Series, others arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.ir.location import user_location, warn_at
from traceprop.runtime.taken import AbstractTaken, Chosen, Numbered

if TYPE_CHECKING:
    import polars as pl


def column(frame: pl.DataFrame, position: int, width: int | None, dtype: str) -> Any:
    """One column as an array (text: as a Series); a family of columns as a matrix."""
    if width is not None:
        return np.ascontiguousarray(frame[:, position : position + width].to_numpy())
    series = frame.to_series(position)
    if dtype == "str":
        return series
    if dtype == "f64" and series.dtype.is_integer():
        return series.cast(_polars().Float64).to_numpy()
    return series.to_numpy().astype("timedelta64[D]") if dtype == "days" else series.to_numpy()


def select(frame: pl.DataFrame, ranges: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """Runs of columns, each given by its first position and how many."""
    columns = [frame.to_series(k) for start, width in ranges for k in range(start, start + width)]
    return _polars().DataFrame(columns) if columns else frame.select([])


def take(frame: pl.DataFrame, positions: Any) -> pl.DataFrame:
    """Rows by position: numbers in an array, or as the engine has them."""
    return positions.of(frame) if isinstance(positions, AbstractTaken) else frame[positions]


def concat(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Tables under one another; number columns take the wider type."""
    return _polars().concat(frames, how="vertical_relaxed", rechunk=True)


def with_columns(parts: Sequence[Any], names: Sequence[str]) -> pl.DataFrame:
    """Tables and arrays side by side; the arrays take `names` in order."""
    pl = _polars()
    named = iter(names)
    frames = [part if isinstance(part, pl.DataFrame) else _named(part, next(named)) for part in parts]
    return pl.concat(frames, how="horizontal")


def _named(part: Any, name: str) -> pl.DataFrame:
    pl = _polars()
    if isinstance(part, np.ndarray) and part.ndim == 2:
        return pl.DataFrame(part, schema=[f"{name}_{k}" for k in range(part.shape[1])])
    return pl.DataFrame({name: _series(part)})


def all_valid(frame: pl.DataFrame) -> np.ndarray:
    """Per row, whether no cell is null or NaN."""
    pl = _polars()
    missing = [
        pl.col(name).is_null() | pl.col(name).is_nan() if dtype.is_float() else pl.col(name).is_null()
        for name, dtype in frame.schema.items()
    ]
    if not missing:
        return np.ones(frame.height, dtype=bool)
    return ~frame.select(pl.any_horizontal(missing)).to_series().to_numpy()


def vocabulary(values: Any) -> Any:
    """The distinct values, sorted, without null and NaN."""
    series = _series(values).unique().drop_nulls().sort()
    if series.dtype.is_float():
        series = series.filter(series.is_not_nan())
    return series if series.dtype == _polars().String else series.to_numpy()


def one_hot(values: Any, words: Any, family: str) -> pl.DataFrame:
    """One 0/1 column per word, named `family_word`; a value that is no word gives zeros and a warning."""
    pl = _polars()
    series, known = _series(values), _series(words)
    found = places(series, known)
    if found.null_count():
        unseen = series.filter(found.is_null() & series.is_not_null())
        if series.dtype.is_float():
            unseen = unseen.filter(unseen.is_not_nan())
        if len(unseen):
            values_seen = ", ".join(map(repr, unseen.unique(maintain_order=True).head(3).to_list()))
            message = f"column {family!r}: {values_seen} was not among the fitting rows; its one-hot cells are zero"
            warn_at(user_location(), message)
    if found.null_count():
        found = found.cast(pl.Int64).fill_null(len(known))
    numbers = found.to_numpy()
    return pl.DataFrame({f"{family}_{word}": (numbers == k).view(np.uint8) for k, word in enumerate(known.to_list())})


def places(series: pl.Series, known: pl.Series) -> pl.Series:
    """For each cell its position among known ones, which differ from one another; null where it is none of them."""
    pl = _polars()
    if series.dtype == known.dtype == pl.String and not known.null_count():
        return series.cast(pl.Enum(known), strict=False).to_physical()  # twice as fast as looking texts up
    numbers = pl.Series(range(len(known)), dtype=pl.Int64)
    return series.replace_strict(known, numbers, default=None, return_dtype=pl.Int64)


def to_numpy(frame: pl.DataFrame, dtype: Any) -> np.ndarray:
    """All columns as one matrix, column by column in memory, as a dataframe's values are; null is NaN."""
    matrix = np.empty((frame.height, frame.width), dtype=dtype, order="F")
    for k, series in enumerate(frame.iter_columns()):
        matrix[:, k] = series.to_numpy()
    return matrix


def argsort(keys: Sequence[Any], descending: bool = False) -> np.ndarray:
    """The stable permutation that sorts by some columns, the first before the others; nulls and NaN last."""
    return np.asarray(taken_argsort(keys, descending))


def taken_argsort(keys: Sequence[Any], descending: bool = False) -> Numbered:
    """The same, for rows to be taken by."""
    pl = _polars()
    columns = [present(key).alias(str(k)) for k, key in enumerate(keys)]
    order = pl.arg_sort_by(
        [column.name for column in columns], descending=descending, nulls_last=True, maintain_order=True
    )
    return Numbered(pl.DataFrame(columns).select(order.alias("order")).to_series())


def taken_filter(mask: Any) -> Chosen:
    """The rows for which a mask is true, to be taken."""
    return Chosen(np.asarray(mask))


def _comparison(name: str) -> Any:
    def compare(left: Any, right: Any) -> np.ndarray:
        pl = _polars()
        shapes = (np.shape(left), np.shape(right))
        if sorted(map(len, shapes)) not in ([0, 1], [1, 1]) or (shapes[0] != shapes[1] and () not in shapes):
            return _compared_wide(name, left, right)
        left, right = (x.item() if isinstance(x, np.ndarray) and not x.ndim else x for x in (left, right))
        left, right = (
            x
            if isinstance(x, (str, pl.Series))
            else pl.Series(np.asarray(x).tolist(), dtype=None if np.size(x) else pl.String)
            for x in (left, right)
        )
        result = getattr(left if isinstance(left, pl.Series) else pl.Series([left] * len(right)), name)(right)
        return result.fill_null(name == "__ne__").to_numpy()

    compare.__doc__ = "Compares text cell by cell; a null equals nothing."
    return compare


def _compared_wide(name: str, left: Any, right: Any) -> np.ndarray:
    """Text that is broadcast: as arrays of objects, in which a null equals nothing."""
    left, right = np.broadcast_arrays(np.asarray(left, dtype=object), np.asarray(right, dtype=object))
    there = np.not_equal(left, None) & np.not_equal(right, None)
    found = np.full(left.shape, name == "__ne__")
    found[there] = getattr(left[there].astype(str), name)(right[there].astype(str))
    return found


equal, not_equal = _comparison("__eq__"), _comparison("__ne__")
less, less_equal = _comparison("__lt__"), _comparison("__le__")
greater, greater_equal = _comparison("__gt__"), _comparison("__ge__")


def _series(values: Any) -> pl.Series:
    pl = _polars()
    if isinstance(values, pl.Series):
        return values
    array = np.asarray(values)
    return pl.Series(array.astype("timedelta64[us]") if array.dtype.kind == "m" else array)  # polars counts no days


def _polars() -> Any:
    import polars

    return polars


def present(values: Any) -> pl.Series:
    """A column as a Series in which NaN is null, too."""
    series = _series(values)
    return series.fill_nan(None) if series.dtype.is_float() else series


def array(series: pl.Series) -> Any:
    """A column as programs hold it: text as a Series, everything else as an array, in which null is NaN or NaT."""
    return series if series.dtype == _polars().String else series.to_numpy()


PAYLOADS: dict[str, Callable[..., Any]] = {
    **{
        f.__name__: f
        for f in (
            argsort,
            taken_argsort,
            taken_filter,
            column,
            select,
            take,
            concat,
            with_columns,
            all_valid,
            vocabulary,
            one_hot,
            to_numpy,
        )
    },
    "equal": equal,
    "not_equal": not_equal,
    "less": less,
    "less_equal": less_equal,
    "greater": greater,
    "greater_equal": greater_equal,
}
