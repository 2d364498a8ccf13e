"""Gradients of many samples in append-only blocks, on disk or in memory, written and read a block at a time."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from traceprop.errors import CorruptError, StoreError
from traceprop.runtime.progress import progress
from traceprop.stores.gradient_block import COLUMNS, DTYPES, Block, checksum, scaled
from traceprop.stores.gradient_factors import FactorLayout, Factors
from traceprop.stores.gradient_folder import GradientFolder, MemoryShelf

BLOCK_BYTES = 1 << 24
LARGEST_BLOCK = 1 << 16
_RECORD = np.dtype((np.void, COLUMNS.itemsize))
"""A row of the columns as bytes, which are copied at once where fields are copied one by one."""


class GradientBlocks:
    """A store of gradients, one row per logged gradient, with the sample, epoch, step and loss of each.

        with tp.training_context(X_train=X, y_train=y, store="run/gradients") as ctx: ...
        blocks = tp.stores.GradientBlocks("run/gradients")          # in another process, also while the first still writes
        tp.attribution_engine(blocks).attribute(test_gradient)

    A block is there whole or not at all. One process at a time appends, any number read; a reader sees every block that
    was whole when it began. After a crash the store ends with the last whole block, and goes on from there. Blocks are
    mapped into memory, and checked against their checksums when they are first read.

    Parameters
    ----------
    path
        A folder, which the first append makes; None keeps the blocks in memory.
    dtype
        "float16" (each row with a scale, so that small gradients keep 11 bits), "float32" or "float64"; None for that of
        the folder, or float32.
    block_rows
        Rows per block; None for about 16 MiB.
    about
        What JSON holds, kept with a new store.

    Raises
    ------
    StoreError
        The folder is of something else, or its gradients are of another type.
    CorruptError
        Its description is damaged. Damaged blocks are named when they are reached, or all of them by `check`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        dtype: str | None = None,
        block_rows: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if dtype is not None and dtype not in DTYPES:
            raise StoreError(f"dtype is one of {', '.join(map(repr, DTYPES))}, not {dtype!r}")
        if block_rows is not None and block_rows < 1:
            raise StoreError(f"block_rows is at least 1, not {block_rows}")
        self._shelf: GradientFolder | MemoryShelf = MemoryShelf() if path is None else GradientFolder(path)
        self.path = self._shelf.path
        self.place = self._shelf.place
        self._asked = block_rows
        self._width: int | None = None
        self._dtype = np.dtype(dtype or "float32")
        self._layout: FactorLayout | None = None
        self._features: np.ndarray | None = None
        self._about = dict(about or {})
        self._settled = False
        self._read_description()
        if self._settled and dtype is not None and self._dtype != dtype:
            raise StoreError(f"{self.place} are {self._dtype}; they cannot go on as {dtype}")
        self._buffer: np.ndarray | None = None
        self._columns: np.ndarray | None = None
        self._filled = 0

    @property
    def width(self) -> int | None:
        """How many numbers a gradient has, however it is stored; None before the first."""
        if self._width is None:
            self._read_description()
        return self._width if self._layout is None else self._layout.size

    @property
    def factors(self) -> Factors | None:
        """What makes gradients of the rows, where these are factors; None where they are gradients."""
        if self.width is None or self._layout is None:
            return None
        if self._layout.given and self._features is None:
            self._features = self._shelf.features(self._about.get("features"))
        return Factors(self._layout, self._features)

    @property
    def dtype(self) -> str:
        """The type in which gradients are stored."""
        return self._dtype.name

    @property
    def about(self) -> dict[str, Any]:
        """What was said of the gradients when the store was made: how they were projected, for instance."""
        return self._about

    def __len__(self) -> int:
        """Give the number of rows: whole blocks, and what this object has yet to write."""
        return self._shelf.rows() + self._filled

    def __repr__(self) -> str:
        return f"<GradientBlocks {self.place}: {len(self)} rows of {self.width} {self._dtype}>"

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(self, gradients: Any, sample: Any, epoch: Any = 0, step: Any = 0, loss: Any = np.nan) -> None:
        """Append gradients (m, p) of samples (m,). They are written once they fill a block; `flush` does so earlier.

        `epoch`, `step` and `loss`: one for all, or (m,).

        Raises
        ------
        StoreError
            Another width than before, numbers that are not finite, another process that is writing, a full disk.
        """
        rows = np.asarray(gradients)
        rows = rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)
        if rows.ndim != 2 or not rows.shape[1]:
            raise StoreError(f"gradients are an array (m, p), not of shape {rows.shape}")
        _ = self.width  # another process may have begun
        if self._width is not None and rows.shape[1] != self._width:
            raise StoreError(
                f"a gradient of {rows.shape[1]} numbers does not go to those of {self._width} in {self.place}"
            )
        if not np.isfinite(rows).all():
            raise StoreError("a gradient is NaN or infinite: has the training diverged?")
        columns = np.empty(len(rows), dtype=COLUMNS)
        for name, values in (("sample", sample), ("epoch", epoch), ("step", step), ("loss", loss)):
            columns[name] = values
        self._settle(rows.shape[1])
        for first in range(0, len(rows), LARGEST_BLOCK):
            stored, columns["scale"][first : first + LARGEST_BLOCK] = scaled(
                rows[first : first + LARGEST_BLOCK], self._dtype
            )
            if stored.dtype.itemsize < rows.dtype.itemsize and not np.isfinite(stored).all():
                raise StoreError(f"a gradient is too large for {self._dtype}; dtype='float64' holds it")
            self._take(stored, columns[first : first + LARGEST_BLOCK])

    def flush(self) -> None:
        """Write what was appended as a block, and return once it would survive a loss of power."""
        if not self._filled:
            return
        assert self._buffer is not None
        assert self._columns is not None
        full = self._filled == len(self._buffer)
        keep = self.path is None and not full
        stored, columns = self._buffer[: self._filled], self._columns[: self._filled]
        self._shelf.put(*((stored.copy(), columns.copy()) if keep else (stored, columns)))
        self._filled = 0
        if self.path is None and full:  # the block holds the buffer now
            self._buffer = self._columns = None

    def close(self) -> None:
        """Write what was appended, and let another process append. Reading goes on."""
        self.flush()
        self._buffer = self._columns = None
        self._shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self, **about: Any) -> None:
        """Say something of the gradients before the first is appended. Raises StoreError where it was said otherwise."""
        if not self._settled:
            self._about.update(about)
            return
        for name, value in about.items():
            if self._about.get(name) != value:
                raise StoreError(f"{self.place} were begun with {name} {self._about.get(name)!r}, not {value!r}")

    def keep_factors(self, layout: FactorLayout, features: np.ndarray | None) -> None:
        """Say before the first append that rows are factors, and what features (n, …) the samples have.

        `append` then takes what `layout.pack` gives. The features are kept once, as float32 or as the ids that they are.

        Raises
        ------
        StoreError
            The store holds gradients, or factors of another layout or of other features.
        """
        if layout.given and features is not None:
            self._features = features
        told = None
        if self._features is not None and layout.given and self.path is not None:
            whole = self._features.dtype.kind in "iu"
            self._features = np.ascontiguousarray(self._features, dtype=None if whole else np.float32)
            told = checksum(self._features)
        self.describe(factors=layout.told(), features=told)
        if not self._settled:
            self._layout = layout
            if told is not None and isinstance(self._shelf, GradientFolder):
                assert self._features is not None
                self._shelf.keep_features(self._features)

    def attach(self, name: str, content: bytes) -> None:
        """Put a small file beside the blocks, whole or not at all; in memory there is no such place, and nothing happens."""
        if isinstance(self._shelf, GradientFolder):
            self._shelf.replace(name, content)

    # -- reading ------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks, mapped, and last what this object has yet to write.

        Raises
        ------
        CorruptError
            A block is damaged or missing; it is named, and not returned.
        """
        factors = self.factors
        for block in self._shelf.blocks():
            yield block if factors is None else replace(block, factors=factors)
        if self._filled:
            assert self._buffer is not None
            assert self._columns is not None
            yield Block(self._shelf.rows(), self._columns[: self._filled], self._buffer[: self._filled], factors)

    def columns(self) -> np.ndarray:
        """Records of all rows, with the fields sample, epoch, step, loss and scale."""
        pending = [] if self._columns is None else [self._columns[: self._filled]]
        return np.concatenate([np.empty(0, dtype=COLUMNS), *self._shelf.columns(), *pending])

    def gradients(self) -> np.ndarray:
        """All rows in one array, float32 or float64: as much memory as they are large."""
        if not len(self):
            return np.empty((0, self.width or 0), dtype=np.float32)
        return np.concatenate([block.gradients() for block in self])

    def check(self) -> int:
        """Read everything; give the number of blocks. Raises CorruptError that names all that are damaged."""
        if problems := list(self._shelf.problems()):
            shown = "\n".join(f"- {problem}" for problem in problems[:20])
            raise CorruptError(f"{self.place} are damaged in {len(problems)} places:\n{shown}")
        _ = self.factors  # the features beside them too
        return sum(1 for _ in self._shelf.columns())

    def size(self) -> int:
        """The bytes that the whole blocks take."""
        return self._shelf.size()

    @classmethod
    def merge(cls, path: str | os.PathLike[str], shards: Iterable[Any]) -> GradientBlocks:
        """Put shards, stores or their folders, one after the other into a new folder, and open it.

        Shards are of the same training data: sample numbers stay what they are, and owners are those of the first. The
        folder appears when it is complete.

        Raises
        ------
        StoreError
            There is something at `path`; the shards differ in width, type, projection or training data.
        """
        opened = [shard if isinstance(shard, GradientBlocks) else cls(shard) for shard in shards]
        opened = [shard for shard in opened if len(shard)]
        target = Path(path).absolute()
        if not opened:
            raise StoreError("there is nothing to merge: the shards hold no gradients")
        if target.exists():
            raise StoreError(f"{target} is there already; merge makes a new folder")
        first = opened[0]
        for shard in opened[1:]:
            for what in ("width", "dtype", "about"):
                if getattr(shard, what) != getattr(first, what):
                    raise StoreError(
                        f"{shard.place} cannot be merged with {first.place}: {what} is {getattr(shard, what)!r}, "
                        f"not {getattr(first, what)!r}"
                    )
            if _owners(shard) != _owners(first):
                raise StoreError(f"{shard.place} are of other training data than {first.place}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            with cls(part, first.dtype, about=first.about) as merged:
                if (factors := first.factors) is not None:
                    merged.keep_factors(factors.layout, factors.features)
                with progress("rows of gradients", sum(map(len, opened))) as advance:
                    for shard in opened:
                        for block in shard:
                            merged._settle(block.stored.shape[1])
                            merged._take(block.stored, block.columns)
                            advance(len(block))
                _copy_owners(first, merged)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return cls(target)

    # -- plumbing -----------------------------------------------------------------------------------------------------

    def _read_description(self) -> None:
        found = self._shelf.description()
        if found is not None:
            try:
                self._width, self._dtype = int(found["width"]), np.dtype(found["dtype"])
                self._about = dict(found["about"])
                told = self._about.get("factors")
                self._layout = None if told is None else FactorLayout.read(told)
                if self._layout is not None and self._layout.width != self._width:
                    raise ValueError(f"factors of {self._layout.width} numbers in rows of {self._width}")
            except (KeyError, TypeError, ValueError) as error:
                raise CorruptError(f"{self.place} are damaged: gradients.json lacks something ({error})") from None
            self._settled = True

    def _settle(self, width: int) -> None:
        """Write the description once the first gradient tells the width; another process may have done so meanwhile."""
        if self._settled:
            return
        if isinstance(self._shelf, GradientFolder):
            self._shelf.open_to_write()
        asked, about = self._dtype, self._about
        self._read_description()
        if self._settled and (self._width != width or self._dtype != asked or self._about != about):
            raise StoreError(
                f"{self.place} were begun by another process with gradients of another kind; open them again"
            )
        if not self._settled:
            self._width = width
            self._shelf.describe(width, self._dtype.name, self._about)
            self._settled = True

    def _take(self, stored: np.ndarray, columns: np.ndarray) -> None:
        """Copy rows into the buffer, and write it whenever it is full."""
        done = 0
        while done < len(stored):
            if self._buffer is None or self._columns is None:
                row = self._dtype.itemsize * stored.shape[1]
                rows = self._asked or min(LARGEST_BLOCK, max(1, BLOCK_BYTES // row))
                self._buffer = np.empty((rows, stored.shape[1]), dtype=self._dtype)
                self._columns = np.empty(rows, dtype=COLUMNS)
            count = min(len(stored) - done, len(self._buffer) - self._filled)
            here, there = slice(self._filled, self._filled + count), slice(done, done + count)
            self._buffer[here] = stored[there]
            self._columns.view(_RECORD)[here] = columns.view(_RECORD)[there]
            self._filled += count
            done += count
            if self._filled == len(self._buffer):
                self.flush()


def _owners(blocks: GradientBlocks) -> bytes | None:
    place = None if blocks.path is None else blocks.path / "owners.json"
    return place.read_bytes() if place is not None and place.exists() else None


def _copy_owners(source: GradientBlocks, target: GradientBlocks) -> None:
    owners = _owners(source)
    if owners is None or source.path is None or target.path is None:
        return
    if (source.path / "lineage").is_dir():
        shutil.copytree(source.path / "lineage", target.path / "lineage")
    target.attach("owners.json", owners)
