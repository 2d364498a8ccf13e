"""Chains: a saved result that another program begins with goes back to what it was made from, cell for cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from traceprop.errors import SourceError
from traceprop.ir import TableType
from traceprop.ir.opset import gather, reshape
from traceprop.ir.opset import slice as take_columns
from traceprop.sources import Source
from traceprop.tracing.lazy import Lazy, emit

if TYPE_CHECKING:
    from traceprop.lineage.view import View


def behind(given: Source | Lazy) -> Source | Lazy:
    """Where an input goes back to: a first source, or the lazy value that a call computed.

    Saved results on the way have the shape of what they were saved from, so cells of the one are cells of the other.
    """
    while True:
        source = given if isinstance(given, Source) else given.source
        if source is None:
            return given
        if source.lineage is None:
            return source
        given = source.lineage.value


def as_saved(view: View, source: Source) -> Lazy:
    """The value of a view in the shape in which a source holds it.

    Axis 0 stays; cells along the others may be laid out otherwise (a cube saved as a CSV file), in row-major order. Where
    both have column names, these tell the columns. Raises `SourceError` with both shapes where they are not of one size.
    """
    value = view.value
    made, read = value.concrete_shape(), shape_of(source)
    if made == read:
        return _in_order(value, source)
    rows_differ = (made[:1] or (1,)) != (read[:1] or (1,))
    if rows_differ or math.prod(made[1:]) != math.prod(read[1:]):
        what = "rows" if rows_differ else "cells in a row"
        raise SourceError(
            f"lineage= is of a result of shape {_shown(made)}, but {source.path or source.id!r} has the shape {_shown(read)}: "
            f"not as many {what}, so it is not that result as it was saved"
        )
    if isinstance(value.type, TableType):  # of one column, which an array without a second axis holds
        return emit(take_columns, [value], {"column": value.type.fields[0].name})  # type: ignore[no-any-return]
    return emit(reshape, [value], {"shape": read})  # type: ignore[no-any-return]


def _in_order(value: Lazy, source: Source) -> Lazy:
    """A table with its columns where the source has them. Raises `SourceError` for columns that it does not have."""
    if not isinstance(value.type, TableType) or source.columns is None:
        return value
    fields = value.type.fields
    made = [field.name for field in fields]
    if any(field.width is not None for field in fields) or made == list(source.columns):
        return value
    if set(made) != set(source.columns):
        raise SourceError(
            f"lineage= is of a result with the columns {', '.join(made)}, but {source.path or source.id!r} has the columns "
            f"{', '.join(source.columns)}"
        )
    return emit(take_columns, [value], {"columns": tuple(source.columns)})  # type: ignore[no-any-return]


def columns_taken(value: Lazy, positions: Sequence[int]) -> Lazy:
    """Some columns of a two-dimensional value, by number."""
    if list(positions) == list(range(value.concrete_shape()[1])):
        return value
    if isinstance(value.type, TableType):
        if any(field.width is not None for field in value.type.fields):
            raise SourceError("columns of a saved result with one-hot families cannot be picked by number")
        names = tuple(value.type.fields[k].name for k in positions)
        return emit(take_columns, [value], {"columns": names})  # type: ignore[no-any-return]
    return emit(gather, [value, np.asarray(positions)], {"axis": 1})  # type: ignore[no-any-return]


def cut(value: Lazy, ends: Sequence[int]) -> list[Lazy]:
    """Pieces of a value along axis 0. Raises `SourceError` where they are not all of it."""
    rows = (*value.concrete_shape(), 1)[0]
    if rows != (ends[-1] if len(ends) else 0):
        raise SourceError(f"lineage= is of a result of {rows} rows, but the files have {ends[-1]}")
    starts = [0, *ends[:-1]]
    if isinstance(value.type, TableType):
        return [
            emit(gather, [value, np.arange(a, b)], {"axis": 0}, "table.take") for a, b in zip(starts, ends, strict=True)
        ]
    return [value[a:b] for a, b in zip(starts, ends, strict=True)]  # type: ignore[index]


def shape_of(source: Source) -> tuple[int, ...]:
    """The shape of what a source holds."""
    return tuple(int(size) for size in source.type(source.n_rows).dims)


def _shown(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
