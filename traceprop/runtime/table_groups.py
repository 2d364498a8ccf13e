"""The payloads `table.…` of grouping: group numbers, and what the rows of each group fold to. A missing cell counts nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.runtime.table import _polars, _series, array, present
from traceprop.runtime.table_rows import key_frame

if TYPE_CHECKING:
    import polars as pl

_CODE = "\0code"


def group(keys: Any) -> np.ndarray:
    """The number of each row's group; groups are numbered in the order of their keys, nulls last."""
    frame = key_frame(keys)
    known = frame.unique().sort(frame.columns, nulls_last=True).with_row_index(_CODE)
    found = frame.join(known, on=frame.columns, how="left", nulls_equal=True, maintain_order="left")
    return found.get_column(_CODE).to_numpy().astype(np.int64)


def count_groups(codes: np.ndarray) -> int:
    """How many groups the numbers of `group` are."""
    return int(codes.max(initial=-1)) + 1


def group_keys(frame: pl.DataFrame, codes: np.ndarray, groups: int) -> pl.DataFrame:
    """The first row of each group, in the order of the groups."""
    coded = frame.with_columns(_polars().Series(_CODE, codes)).unique(_CODE, keep="first", maintain_order=True)
    return coded.sort(_CODE).drop(_CODE)


def _fold(name: str, expression: Callable[[Any], Any]) -> Callable[[Any, np.ndarray, int], Any]:
    def fold(values: Any, codes: np.ndarray, groups: int) -> Any:
        pl = _polars()
        series = _series(values) if name in ("len", "first", "last") else present(values)
        if name == "sum" and (series.dtype.is_signed_integer() or series.dtype == pl.Boolean):
            series = series.cast(pl.Int64)  # as NumPy sums them; polars keeps 32 bits
        elif name == "sum" and series.dtype.is_unsigned_integer():
            series = series.cast(pl.UInt64)
        frame = pl.DataFrame({_CODE: codes, "cells": series}).filter(pl.col(_CODE).is_between(0, groups - 1))
        folded = frame.group_by(_CODE, maintain_order=True).agg(expression(pl.col("cells")).alias("folded"))
        every = pl.DataFrame({_CODE: np.arange(groups)}).join(folded, on=_CODE, how="left", maintain_order="left")
        column = every.get_column("folded")
        return array(column.fill_null(0) if name in _ZERO else column)

    fold.__doc__ = f"The {name} of each group, in the order of the groups."
    return fold


_ZERO = ("sum", "count", "len", "n_unique")


FOLDS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda cells: cells.sum(),
    "mean": lambda cells: cells.mean().cast(_polars().Float64),
    "std": lambda cells: cells.std().cast(_polars().Float64),
    "var": lambda cells: cells.var().cast(_polars().Float64),
    "median": lambda cells: cells.median().cast(_polars().Float64),
    "min": lambda cells: cells.min(),
    "max": lambda cells: cells.max(),
    "first": lambda cells: cells.first(),
    "last": lambda cells: cells.last(),
    "count": lambda cells: cells.count().cast(_polars().Int64),
    "len": lambda cells: _polars().len().cast(_polars().Int64),
    "n_unique": lambda cells: cells.drop_nulls().n_unique().cast(_polars().Int64),
}
PAYLOADS: dict[str, Callable[..., Any]] = {
    "group": group,
    "count_groups": count_groups,
    "group_keys": group_keys,
    **{f"group_{name}": _fold(name, expression) for name, expression in FOLDS.items()},
}
