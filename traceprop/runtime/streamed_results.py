"""Results that come a batch at a time, put together: in memory while they are small, else in a file that is mapped into it."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError, MissingExtraError
from traceprop.runtime.partials import stacked
from traceprop.runtime.stream_inputs import size_of
from traceprop.sources.memory import available

IN_MEMORY = 0.125
"""The share of available memory that one result may take."""


class Spool:
    """Batches of one result under one another."""

    def __init__(self, axis: int, room: int | None = None) -> None:
        self._axis = axis
        self._room = int(available() * IN_MEMORY) if room is None else room
        self._pieces: list[Any] = []
        self._size = 0
        self._file: NpyFile | None = None

    def add(self, piece: Any) -> None:
        """The next batch. Raises `ExecutionError` for a table that memory does not hold well."""
        if self._file is not None:
            self._file.add(piece)
            return
        self._pieces.append(piece)
        self._size += size_of(piece)
        if self._size > self._room:
            if not isinstance(piece, np.ndarray) or self._axis or piece.dtype.kind == "O":
                raise ExecutionError(
                    f"the result takes more than {self._room / 1e9:.1f} GB: go through it with .batches(), or write it with "
                    ".to_parquet(path)"
                )
            handle, name = tempfile.mkstemp(prefix="traceprop-", suffix=".npy")
            os.close(handle)
            self._file = NpyFile(name)
            for held in self._pieces:
                self._file.add(held)
            self._pieces = []

    def abandon(self) -> None:
        """Nobody wants it any more: its file is gone."""
        if self._file is not None:
            self._file.abandon()
            Path(self._file.path).unlink(missing_ok=True)

    def whole(self) -> Any:
        """All batches as one value."""
        if self._file is None:
            filled = [piece for piece in self._pieces if np.shape(piece)[self._axis]]
            return stacked(filled or self._pieces[:1], self._axis)
        name = self._file.path
        self._file.close()
        mapped = np.load(name, mmap_mode="r")
        if os.name == "posix":  # what is mapped stays until nobody maps it any more
            os.unlink(name)
        else:
            weakref.finalize(mapped, lambda: Path(name).unlink(missing_ok=True))
        return mapped


class NpyFile:
    """A `.npy` file that grows. NumPy leaves room in its header for more rows, so that it is written again in place."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._file = open(self.path, "wb")  # noqa: SIM115
        self._rows = 0
        self._kind: tuple[np.dtype[Any], tuple[int, ...]] | None = None
        self._data = 0

    def add(self, piece: np.ndarray) -> None:
        """More rows."""
        if self._kind is None:
            self._kind = (piece.dtype, piece.shape[1:])
            self._header()
            self._data = self._file.tell()
        self._rows += len(piece)
        np.ascontiguousarray(piece).tofile(self._file)

    def _header(self) -> None:
        assert self._kind is not None
        dtype, across = self._kind
        described = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (self._rows, *across),
        }
        np.lib.format.write_array_header_1_0(self._file, described)

    def close(self) -> None:
        """Writes how many rows there are."""
        self._file.flush()
        self._file.seek(0)
        self._header()
        assert self._file.tell() == self._data
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Closes the file as it is."""
        self._file.close()


def write_npy(path: str | os.PathLike[str], batches: Iterable[Any]) -> None:
    """Batches of an array, at least one, as a `.npy` file, which is there whole or not at all."""
    with replaced(path) as name:
        file = NpyFile(name)
        try:
            for piece in batches:
                file.add(_plain(piece))
            file.close()
        except BaseException:
            file.abandon()
            raise


def _plain(piece: Any) -> np.ndarray:
    cells = np.asarray(piece)
    if cells.dtype.kind == "O":
        raise ExecutionError("text has no place in a .npy file that others can read; write it with .to_parquet(path)")
    return cells


def write_parquet(path: str | os.PathLike[str], batches: Iterable[Any]) -> None:
    """Batches of a table, or of an array, at least one, as a Parquet file, which is there whole or not at all.

    Columns of an array are called 0, 1, …
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("to_parquet of batches needs pyarrow: pip install 'traceprop[pandas]'") from None
    with replaced(path) as name:
        writer = None
        try:
            for piece in batches:
                table = _table(piece)
                writer = writer or pq.ParquetWriter(name, table.schema)
                writer.write_table(table.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()


def _table(piece: Any) -> Any:
    import polars as pl

    if isinstance(piece, np.ndarray):
        columns = piece.reshape(len(piece), -1)
        piece = pl.DataFrame({str(k): np.ascontiguousarray(columns[:, k]) for k in range(columns.shape[1])})
    elif isinstance(piece, pl.Series):
        piece = piece.to_frame("0")
    return piece.to_arrow()


class replaced:
    """A name for a new file beside `path`; at the end it takes its place, synced, and after an error it is gone."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> str:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, self._name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".part")
        os.close(handle)
        return self._name

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            Path(self._name).unlink(missing_ok=True)
            return
        with open(self._name, "rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0o077)
        os.umask(mask)
        os.chmod(self._name, 0o666 & ~mask)
        os.replace(self._name, self.path)
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
