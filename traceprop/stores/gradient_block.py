"""One block of gradients: rows of one width with the columns that say whose they are, in memory or in a folder.

    gradients.npy    (rows, width), float16, float32 or float64
    columns.npy      a record per row: sample, epoch, step, loss, scale
    block.json       where the block stands among the others, and checksums of all three

The folder is written under another name, synced, and moved into place: it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from traceprop.errors import CorruptError
from traceprop.passes.attribution.factors import LayerFactors, PlainGradients
from traceprop.passes.kernels.half import widened
from traceprop.stores.durable import sync_folder, write_synced
from traceprop.stores.gradient_factors import Factors

COLUMNS = np.dtype([("sample", "<i8"), ("epoch", "<i4"), ("step", "<i8"), ("loss", "<f4"), ("scale", "<f4")])
"""Scale: what a stored row is multiplied by to give the gradient; a power of two, and 1 but for float16."""
DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Block:
    """Gradients of some rows in the order in which they were logged.

    Attributes
    ----------
    start
        How many rows of the store stand before this block.
    columns
        Records (rows,) of type `COLUMNS`.
    stored
        (rows, width): the gradients, or what makes them, each divided by its scale.
    factors
        What makes gradients of stored rows that are factors; None where they are gradients.
    """

    start: int
    columns: np.ndarray
    stored: np.ndarray
    factors: Factors | None = None

    def __len__(self) -> int:
        return len(self.stored)

    def gradients(self, first: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `first` to `stop` as float32, or float64 where they are stored so; read-only where nothing is computed."""
        rows = self.rows(first, stop)
        return rows if self.factors is None else self.factors.gradients(rows, self.columns["sample"][first:stop])

    def rows(self, first: int = 0, stop: int | None = None) -> np.ndarray:
        """What is stored of rows `first` to `stop`, times its scale."""
        rows = self.stored[first:stop]
        if rows.dtype != np.float16:
            return rows
        return widened(rows, self.columns["scale"][first:stop])

    def layers(self, first: int = 0, stop: int | None = None) -> list[LayerFactors]:
        """Rows `first` to `stop` by layers; gradients that are no factors are one layer."""
        rows = self.rows(first, stop)
        if self.factors is None:
            return [PlainGradients(rows)]
        return self.factors.layers(rows, self.columns["sample"][first:stop])

    def pieces(self, rows: int) -> Iterator[tuple[np.ndarray, Callable[[], np.ndarray]]]:
        """Yield the samples of at most `rows` rows, fewer where factors are long, and what gives their gradients."""
        step = max(1, rows if self.factors is None else min(rows, self.factors.step))
        for first in range(0, len(self), step):
            yield self.columns["sample"][first : first + step], partial(self.gradients, first, first + step)

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (samples, gradients) of all rows, as many at a time as may be written out."""
        for samples, given in self.pieces(len(self)):
            yield samples, given()

    def products(self, vector: np.ndarray) -> np.ndarray:
        """Dot products of all rows' gradients with one: (rows,)."""
        rows = self.rows()
        if self.factors is None:
            found: np.ndarray = rows @ vector.astype(rows.dtype)
            return found
        return self.factors.products(rows, self.columns["sample"], vector)


def scaled(gradients: np.ndarray, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Give gradients (m, p) as they are stored, and a scale per row.

    float16 has five bits of exponent: rows are divided by a power of two, so that their largest number is near 1 and
    nothing overflows. Numbers below 6e-8 of the largest become 0.
    """
    ones = np.ones(len(gradients), dtype=np.float32)
    if dtype != np.float16:
        with np.errstate(over="ignore"):  # the store looks
            return gradients.astype(dtype, copy=False), ones
    _, exponents = np.frexp(np.abs(gradients).max(axis=1).astype(np.float64))
    scale = np.ldexp(ones, np.clip(exponents, -126, 127))
    return (gradients / scale[:, None].astype(gradients.dtype)).astype(np.float16), scale


def write_block(parts: Path, folder: Path, number: int, start: int, stored: np.ndarray, columns: np.ndarray) -> None:
    """Write one block as `folder`, by way of `parts`, so that it survives a crash; an error leaves nothing behind."""
    part = parts / folder.name
    entry = {
        "number": number,
        "start": start,
        "rows": len(stored),
        "width": stored.shape[1],
        "dtype": stored.dtype.name,
        "gradients": checksum(stored),
        "columns": checksum(columns),
    }
    try:
        part.mkdir()
        for name, array in (("gradients.npy", stored), ("columns.npy", columns)):
            write_array(part / name, array)
        write_synced(part / "block.json", sealed(entry))
        sync_folder(part)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(folder.parent)


class StoredBlock:
    """A block in a folder. Its manifest is read at once; its arrays are mapped when asked for, and checked the first time."""

    def __init__(self, folder: Path, place: str) -> None:
        self.folder = folder
        self.what = f"block {folder.name} of {place}"
        entry = unsealed(folder / "block.json", self.what)
        try:
            self.number, self.start, self.rows = (int(entry[key]) for key in ("number", "start", "rows"))
            self.width, self.dtype = int(entry["width"]), np.dtype(entry["dtype"])
            self._checksums = {name: str(entry[name]) for name in ("gradients", "columns")}
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{self.what} is damaged: its block.json lacks something ({error})") from None
        if self.number != int(folder.name):
            raise CorruptError(f"{self.what} is damaged: its folder holds block {self.number}")
        self._checked: set[str] = set()

    def columns(self) -> np.ndarray:
        """Records (rows,), mapped from the file."""
        return self._mapped("columns", (self.rows,), COLUMNS)

    def block(self) -> Block:
        """The block, mapped from its files. Raises CorruptError that names it where its bytes are not those written."""
        return Block(self.start, self.columns(), self._mapped("gradients", (self.rows, self.width), self.dtype))

    def _mapped(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # whatever NumPy makes of bytes that are no array
            raise CorruptError(f"{self.what} is damaged: {path.name} cannot be read ({error})") from None
        if found.shape != shape or found.dtype != dtype:
            raise CorruptError(
                f"{self.what} is damaged: {path.name} is {found.dtype} {found.shape}, not {dtype} {shape}"
            )
        if name not in self._checked:
            if checksum(found) != self._checksums[name]:
                raise CorruptError(f"{self.what} is damaged: the checksum of {path.name} differs")
            self._checked.add(name)
        return np.asarray(found)


def checksum(array: np.ndarray) -> str:
    """A hash of an array's bytes in C order."""
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.blake2b(flat, digest_size=16).hexdigest()


def sealed(entry: dict[str, Any]) -> bytes:
    """A JSON file of one object that knows whether it is whole."""
    seal = hashlib.blake2b(json.dumps(entry, sort_keys=True).encode(), digest_size=16).hexdigest()
    return (json.dumps({**entry, "seal": seal}, indent=1) + "\n").encode()


def unsealed(path: Path, what: str) -> dict[str, Any]:
    """Read what `sealed` wrote. Raises CorruptError that says `what` is damaged."""
    try:
        entry = json.loads(path.read_bytes())
        seal = entry.pop("seal")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CorruptError(f"{what} is damaged: {path.name} cannot be read ({error})") from None
    found: dict[str, Any] = entry
    if hashlib.blake2b(json.dumps(found, sort_keys=True).encode(), digest_size=16).hexdigest() != seal:
        raise CorruptError(f"{what} is damaged: {path.name} was changed")
    return found


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a new file that survives a loss of power."""
    with path.open("xb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
