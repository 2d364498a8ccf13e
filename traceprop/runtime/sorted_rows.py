"""Rows put into order on disk: by ranges of the first key, each of which is sorted when it is read."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from traceprop.errors import MissingExtraError
from traceprop.ir import Param
from traceprop.passes.optimize.partition import Statistic
from traceprop.runtime.table import argsort, present
from traceprop.sources.streamed import rebatched

_POSITION, _KEY = "position", "key"  # the others have a colon


class SortedRows:
    """What a sort on disk is given, part after part, and gives back in order: positions, and the values that were taken.

    Rows with equal first keys are in one range, in their order, so that sorting ranges by all keys, stably, sorts the whole.
    Rows whose first key is missing come last. The files are gone with this object.
    """

    def __init__(self, statistic: Statistic, splitters: Any) -> None:
        try:
            import pyarrow as pa
        except ImportError:
            raise MissingExtraError(
                "a sort in batches puts rows on disk with pyarrow: pip install 'traceprop[pandas]'"
            ) from None
        assert statistic.op is not None
        self.statistic = statistic
        self.params = statistic.spilled
        self._keys = len(statistic.op.operands)
        self._descending = bool(statistic.op.attrs.get("descending"))
        self._splitters = splitters
        self._count = len(splitters) + 2
        self._folder = Path(tempfile.mkdtemp(prefix="traceprop-sort-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._arrow = pa
        self._writers: dict[int, Any] = {}
        self._rows = np.zeros(self._count, dtype=np.int64)
        self._seen = 0
        self._empty: list[Any] = []

    @property
    def n_rows(self) -> int:
        return self._seen

    def add(self, operands: Sequence[Any], sizes: Mapping[str, int]) -> None:
        """The keys of a part, and its values."""
        import polars as pl

        keys, values = operands[: self._keys], operands[self._keys :]
        self._empty = self._empty or [np.empty(0, np.int64), *(value[:0] for value in values)]
        rows = len(keys[0])
        positions = np.arange(self._seen, self._seen + rows)
        self._seen += rows
        columns = [pl.Series(_POSITION, positions)]
        columns += [present(key).alias(f"{_KEY}{k}") for k, key in enumerate(keys)]
        columns += [column for k, value in enumerate(values) for column in _columns(value, k)]
        first = columns[1]
        there = first.is_not_null().to_numpy()
        which = np.where(there, 0, self._count - 1)
        if len(self._splitters) and there.any():
            which[there] = self._splitters.search_sorted(first.drop_nulls(), side="right").to_numpy()
        frame = pl.DataFrame(columns)
        for number in np.unique(which).tolist():
            self._write(number, frame.filter(pl.Series(which == number)))

    def _write(self, number: int, frame: Any) -> None:
        import polars as pl

        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if number not in self._writers:
            self._writers[number] = self._arrow.ipc.new_stream(os.fspath(self._folder / str(number)), table.schema)
        self._writers[number].write_table(table)
        self._rows[number] += frame.height

    def finish(self) -> None:
        """All parts were given."""
        for writer in self._writers.values():
            writer.close()

    def empty(self, param: Param) -> Any:
        """No rows of what a parameter stands for."""
        return self._empty[self.params.index(param)]

    def read(self, rows: int, params: Sequence[Param]) -> Iterator[list[Any]]:
        """All rows in order, so many at a time: a value per parameter."""
        wanted = [self.params.index(param) for param in params]
        for frame in rebatched(self._ranges(), rows):
            yield [self._value(frame, k) for k in wanted]

    def _ranges(self) -> Iterator[Any]:
        """The ranges in order, each sorted."""
        import polars as pl

        ordered = list(range(self._count - 1))
        for number in [*(reversed(ordered) if self._descending else ordered), self._count - 1]:
            if not self._rows[number]:
                continue
            with self._arrow.OSFile(os.fspath(self._folder / str(number))) as file:
                frame = pl.from_arrow(self._arrow.ipc.open_stream(file).read_all())
            keys = [frame.get_column(f"{_KEY}{k}") for k in range(self._keys)]
            yield frame[argsort(keys, descending=self._descending)]
            del frame, keys

    def _value(self, frame: Any, k: int) -> Any:
        import polars as pl

        if k == 0:
            return frame.get_column(_POSITION).to_numpy()
        like, lead = self._empty[k], f"{k - 1}:"
        columns = [column for column in frame.get_columns() if column.name.startswith(lead)]
        if isinstance(like, pl.DataFrame):
            return pl.DataFrame([column.alias(name) for column, name in zip(columns, like.columns, strict=True)])
        if isinstance(like, pl.Series):
            return columns[0].alias(like.name)
        cells = np.empty((frame.height, len(columns)), dtype=like.dtype)
        for n, column in enumerate(columns):
            cells[:, n] = column.to_numpy()
        return cells.reshape(frame.height, *like.shape[1:])


def _columns(value: Any, k: int) -> list[Any]:
    """A value as columns of a table, under names of their own."""
    import polars as pl

    if isinstance(value, pl.DataFrame):
        return [column.alias(f"{k}:{n}") for n, column in enumerate(value.get_columns())]
    if isinstance(value, pl.Series):
        return [value.alias(f"{k}:0")]
    flat = value.reshape(len(value), int(np.prod(value.shape[1:])))
    return [pl.Series(f"{k}:{n}", np.ascontiguousarray(flat[:, n])) for n in range(flat.shape[1])]
