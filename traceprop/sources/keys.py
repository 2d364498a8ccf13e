"""Keys: a column that says which row is which, wherever in the file it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from traceprop.errors import SourceError

if TYPE_CHECKING:
    import polars as pl


def check_key(frame: pl.DataFrame, key: str | None, name: str, place: Callable[[int], str]) -> str | None:
    """The key, if every row has its own. Raises `SourceError` that names the file, the place of a row, and the value.

    `place`: what to call a row, such as `line 5`.
    """
    if key is None:
        return None
    if key not in frame.columns:
        raise SourceError(f"{name} has no column {key!r} to be its key; its columns: {', '.join(frame.columns)}")
    values = frame.get_column(key)
    missing = values.is_null() | values.is_nan().fill_null(True) if values.dtype.is_float() else values.is_null()
    if missing.any():
        raise SourceError(
            f"{name}, {place(int(missing.arg_max() or 0))}: there is no {key!r}, and a key is in every row"
            + (f" ({missing.sum()} rows have none)" if missing.sum() > 1 else "")
        )
    again = ~values.is_first_distinct()
    if again.any():
        row = int(again.arg_max() or 0)
        first = int((values == values[row]).arg_max() or 0)
        raise SourceError(
            f"{name}, {place(row)}: {key}={values[row]!r} is there already, in {place(first)}; a key names one row"
        )
    return key


def found_by_key(wanted: pl.Series, cells: pl.Series) -> np.ndarray:
    """For each wanted key, the position at which it stands among `cells`: int64; -1 for one that is not there, or twice.

    `cells` may be texts: they are read as the keys' type.
    """
    import polars as pl

    have = cells.cast(wanted.dtype, strict=False) if wanted.dtype != pl.Boolean else cells.str.to_lowercase() == "true"
    once = have.is_unique() & have.is_not_null()
    known = pl.DataFrame({"key": have, "position": np.arange(len(have))}).filter(once)
    asked = pl.DataFrame({"key": wanted}).join(known, on="key", how="left", maintain_order="left")
    return asked.get_column("position").fill_null(-1).to_numpy().astype(np.int64)
