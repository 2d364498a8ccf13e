"""What every source can be asked: its rows, where they stand, and which of them a predicate or a key names."""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from traceprop.errors import LineageError, SourceError
from traceprop.ir import Dim, Type, symbol
from traceprop.sources.predicate import rows_where

if TYPE_CHECKING:
    import polars as pl


class Location(NamedTuple):
    """Where a source row stands. `line` is the 1-based line of the file, `text` that line; both `None` for arrays."""

    source_id: str
    path: str | None
    row: int
    line: int | None
    text: str | None


@functools.lru_cache(maxsize=4096)
def _one_of(type: Type) -> Type:
    """The same object for equal types, so that they compare by identity."""
    return type


class Source(ABC):
    """Rows with identity, numbered from 0. A source is held by reference: what it held at the call must hold at the run."""

    id: str
    path: str | None = None
    n_rows: int
    columns: tuple[str, ...] | None = None
    world: str = "numpy"
    """The library that the data came from: `"numpy"`, `"jax"` or `"torch"`."""
    generator: str | None = None
    """For an array of words that are JAX's typed random keys, the generator that they are for."""
    placeholder: bool = False
    """Stands for a source that was not given; it has no rows."""
    key: str | None = None
    """The column that identifies the rows, wherever in the file they stand."""
    _signature: tuple[Any, ...] | None = None
    lineage: Any = None
    """The `traceprop.lineage.View` of the saved result that this is, cell for cell; `None` for a first source."""

    @abstractmethod
    def value(self) -> Any:
        """The concrete data: a NumPy array or a polars DataFrame. Not to be written to."""

    def concrete(self) -> Any:
        """The data for a run. Raises `ChangedSourceError` where it is not what it was when the source was made."""
        self.check_unchanged()
        return self.value()

    def native(self, world: str) -> Any:
        """The data for a run of a program of some library: its own array where that is what the source was made of."""
        return self.concrete()

    @abstractmethod
    def type(self, rows: Dim) -> Type:
        """The IR type, with `rows` for the number of rows."""

    @abstractmethod
    def frame(self) -> pl.DataFrame:
        """The data as a table, for predicates. Raises `LineageError` where it has no columns."""

    @property
    def signature(self) -> tuple[Any, ...]:
        """What of the source a trace is for; its number of rows apart, unless that is one, which NumPy broadcasts."""
        if self._signature is None:
            kind = self._kind()
            self._signature = (kind, self.n_rows == 1, self.id, self.world, self.generator)
        return self._signature

    def _kind(self) -> Type:
        return _one_of(self.type(symbol("N")))

    @property
    @abstractmethod
    def content_hash(self) -> str:
        """A hash of what the source holds: of the bytes for a file, of the values for an array or a table in memory."""

    def same_as(self, other: Source) -> bool:
        """Whether both are one source, made twice: of one id and one content."""
        return self is other or (
            self.id == other.id and self.n_rows == other.n_rows and self.content_hash == other.content_hash
        )

    def chain(self) -> list[Source]:
        """The source itself, and the first sources behind it where it continues a chain."""
        return [self] if self.lineage is None else [self, *self.lineage.first_sources()]

    def check_unchanged(self) -> None:
        """Raises `ChangedSourceError` where the data is not what it was when the source was made."""
        return

    def changed(self) -> str | None:
        """How the source's file differs from what was read, in a sentence; `None` where it does not, or there is none."""
        return None

    def describe_rows(self, rows: Sequence[int] | np.ndarray) -> list[Location]:
        """Where rows stand, down to the line of the file."""
        return [Location(self.id, self.path, int(row), None, None) for row in rows]

    def rows_where(self, predicate: str) -> np.ndarray:
        """int64 array of the rows for which a SQL predicate over the columns holds: `"age > 90"`.

        A null is not true, names with blanks stand in double quotes, and texts that are dates compare with dates. Raises
        `LineageError` with the predicate where it is no condition on rows or names an unknown column.
        """
        return rows_where(self.frame(), predicate, self.id)

    def keys(self, rows: Any) -> np.ndarray:
        """The keys of rows, in their order. Raises `LineageError` for a source without a key."""
        if self.key is None:
            raise LineageError(
                f"{self.id!r} has no key: its rows go by number (read it with key=, the name of a column)"
            )
        return self.frame().get_column(self.key)[np.asarray(rows, dtype=np.int64)].to_numpy()

    def rows_with_key(self, column: str, value: Any) -> np.ndarray:
        """int64 array of the rows with `value` in `column`; empty where there are none."""
        import polars as pl

        frame = self.frame()
        if column not in frame.columns:
            raise LineageError(f"{self.id!r} has no column {column!r}; its columns: {', '.join(frame.columns)}")
        series = frame.get_column(column)
        wanted: Any = str(value) if series.dtype == pl.String else value
        if series.dtype != pl.String and isinstance(value, str):
            wanted = pl.Series([value]).cast(series.dtype, strict=False)[0]
        if wanted is None:
            return np.flatnonzero(series.is_null().to_numpy())
        return np.flatnonzero((series == wanted).fill_null(False).to_numpy())


def check_id(source_id: str) -> str:
    """A source id is a non-empty string."""
    if not isinstance(source_id, str) or not source_id:
        raise SourceError(f"source_id must be a non-empty string, not {source_id!r}")
    return source_id


_array_numbers = itertools.count()


def next_array_id() -> str:
    """`array-<n>`, for arrays that nobody named."""
    return f"array-{next(_array_numbers)}"


def reset_array_ids() -> None:
    """Starts the numbers of unnamed arrays at 0 again."""
    global _array_numbers
    _array_numbers = itertools.count()
