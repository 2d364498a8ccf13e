"""New rows brought to the types that a fitted pipeline knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import SourceError
from traceprop.ir import ArrayType, Dim, TableType, Type
from traceprop.ir.types import numpy_dtype
from traceprop.sources.array import ArraySource
from traceprop.sources.frame import FrameSource
from traceprop.sources.source import Location, Source

if TYPE_CHECKING:
    import polars as pl


def polars_dtype(name: str) -> Any:
    """The polars dtype of an IR dtype name."""
    import polars as pl

    special = {
        "bool": pl.Boolean,
        "str": pl.String,
        "date": pl.Date,
        "datetime": pl.Datetime("us"),
        "days": pl.Duration("us"),  # polars counts no whole days; a column of them comes out as such again
        "duration": pl.Duration("us"),
        "object": pl.Object,
    }
    if name in special:
        return special[name]
    kind = {"i": "Int", "u": "UInt", "f": "Float"}[name[0]]
    return getattr(pl, f"{kind}{name[1:]}")


class ConformedSource(Source):
    """The rows of another source in other column types; they keep their id, path and lines."""

    def __init__(self, base: Source, value: Any, type: Type) -> None:
        self._base = base
        self._value = value
        self._type = type
        self.id = base.id
        self.path = base.path
        self.n_rows = base.n_rows
        self.columns = tuple(f.name for f in type.fields) if isinstance(type, TableType) else base.columns
        self.key = base.key
        self.lineage = base.lineage
        if base.lineage is not None and base.columns is not None and self.columns is not None:
            self.lineage = base.lineage.columns_taken([base.columns.index(name) for name in self.columns])

    def value(self) -> Any:
        return self._value

    def type(self, rows: Dim) -> Type:
        return TableType(self._type.fields, rows) if isinstance(self._type, TableType) else self._base.type(rows)

    def frame(self) -> pl.DataFrame:
        return self._base.frame()

    @property
    def content_hash(self) -> str:
        return self._base.content_hash

    def check_unchanged(self) -> None:
        self._base.check_unchanged()

    def changed(self) -> str | None:
        return self._base.changed()

    def describe_rows(self, rows: Sequence[int] | np.ndarray) -> list[Location]:
        return self._base.describe_rows(rows)


def conformed(source: Source, type: Type) -> Source:
    """The source with columns picked and cast to `type`. Raises `SourceError` that names a missing or unfit column."""
    if isinstance(type, TableType):
        fits = source.columns is not None and _cells(source.type(0)) == _cells(type)
        return source if fits else ConformedSource(source, _cast_frame(source, type), type)
    have = source.type(source.n_rows)
    if not isinstance(have, ArrayType) or have.dims[1:] != type.dims[1:]:
        raise SourceError(f"the new rows are {have}, where the fitted pipeline takes {type}")
    if have.dtype == type.dtype:
        return source
    wanted = str if type.dtype == "str" else numpy_dtype(type.dtype)
    return ConformedSource(source, source.value().astype(wanted), type)


def _cells(type: Type) -> list[tuple[str, str]] | None:
    return [(field.name, field.dtype) for field in type.fields] if isinstance(type, TableType) else None


def _cast_frame(source: Source, type: TableType) -> Any:
    import polars as pl

    frame = source.frame()
    columns = []
    for field in type.fields:
        if field.name not in frame.columns:
            raise SourceError(
                f"the new rows in {source.id!r} have no column {field.name!r}; they have {', '.join(frame.columns)}"
            )
        column = frame.get_column(field.name)
        cast = column.cast(polars_dtype(field.dtype), strict=False)
        if cast.null_count() > column.null_count():
            row = int((cast.is_null() & column.is_not_null()).arg_max() or 0)
            raise SourceError(
                f"{source.id!r}, row {row}, column {field.name!r}: {column[row]!r} is not {field.dtype}, as in the fitting rows"
            )
        columns.append(cast)
    return pl.DataFrame(columns)


def empty_like(type: Type, source_id: str) -> Source:
    """A source of that type without rows, for a parameter that was given none."""
    source: Source
    if isinstance(type, TableType):
        import polars as pl

        source = FrameSource(pl.DataFrame(schema={f.name: polars_dtype(f.dtype) for f in type.fields}), source_id)
    else:
        source = ArraySource(np.empty((0, *type.dims[1:]), numpy_dtype(type.dtype)), source_id)
    source.placeholder = True
    return source
