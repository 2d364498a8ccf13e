"""The folder behind a store of gradients: one writer appends blocks, any number of readers see those that are whole.

gradients.json     what the folder is: width and type of the gradients, how they were projected or made into factors
features.npy       of factors whose first layer read the samples' features: these
blocks/00000000/   see `gradient_block`
parts/             a block that is being written
writer.lock        held by the process that appends, and let go of when it ends, however it ends
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from traceprop.errors import CorruptError, NewerVersionError, StoreError
from traceprop.runtime.progress import progress
from traceprop.stores.durable import sync_folder, write_synced
from traceprop.stores.gradient_block import Block, StoredBlock, checksum, sealed, unsealed, write_array, write_block

FORMAT, VERSION = "traceprop gradients", 1


class GradientFolder:
    """Blocks on disk, in the order in which they were written."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.place = f"the gradients {os.fspath(path)}"
        self._blocks = self.path / "blocks"
        self._parts = self.path / "parts"
        self._known: list[StoredBlock] = []
        self._lock: Any = None
        self.description()

    def description(self) -> dict[str, Any] | None:
        """What the first block settled: width, dtype and about; None before. Raises for a folder of something else."""
        mark = self.path / "gradients.json"
        if not mark.exists():
            ours = {"blocks", "parts", "writer.lock", "owners.json", "lineage", "steps", "features.npy"}
            if self.path.is_file() or (self.path.is_dir() and not set(os.listdir(self.path)) <= ours):
                raise StoreError(f"{self.path} is something else: there is no gradients.json in it")
            return None
        entry = unsealed(mark, self.place)
        if entry.get("format") != FORMAT or not isinstance(entry.get("version"), int):
            raise StoreError(f"{mark} is of something else")
        if entry["version"] > VERSION:
            raise NewerVersionError(
                f"{self.place} were written by a newer traceprop (version {entry['version']}, this one knows up to {VERSION})"
            )
        return entry

    # -- writing ------------------------------------------------------------------------------------------------------

    def open_to_write(self) -> None:
        """Become the one writer. Raises StoreError where another process, or another object of this one, is."""
        if self._lock is not None:
            return
        with self._explained():
            for folder in (self._blocks, self._parts):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path / "writer.lock", self.place)
            for left in self._parts.iterdir():  # by a writer that was killed: there is no other
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def describe(self, width: int, dtype: str, about: dict[str, Any]) -> None:
        """Settle what the folder holds."""
        entry = {"format": FORMAT, "version": VERSION, "width": width, "dtype": dtype, "about": about}
        self.replace("gradients.json", sealed(entry))

    def replace(self, name: str, content: bytes) -> None:
        """Put a file into the folder, or another in its place, whole or not at all."""
        self.open_to_write()
        with self._explained():
            part = self._parts / f"{name}-{secrets.token_hex(4)}"
            write_synced(part, content)
            part.replace(self.path / name)
            sync_folder(self.path)

    def keep_features(self, features: np.ndarray) -> None:
        """Put the samples' features beside the blocks, whole or not at all."""
        self.open_to_write()
        with self._explained():
            part = self._parts / f"features-{secrets.token_hex(4)}"
            write_array(part, features)
            part.replace(self.path / "features.npy")
            sync_folder(self.path)

    def features(self, told: Any) -> np.ndarray:
        """The samples' features, mapped. Raises CorruptError where they are not those that `told` is the checksum of."""
        what = f"{self.place} are damaged: features.npy"
        try:
            found = np.load(self.path / "features.npy", mmap_mode="r", allow_pickle=False)
        except Exception as error:  # whatever NumPy makes of bytes that are no array
            raise CorruptError(f"{what} cannot be read ({error})") from None
        if checksum(found) != told:
            raise CorruptError(f"{what} has another checksum")
        return np.asarray(found)

    def put(self, stored: np.ndarray, columns: np.ndarray) -> None:
        """Append a block."""
        self.open_to_write()
        known = self.known()
        number = known[-1].number + 1 if known else 0
        with self._explained():
            write_block(self._parts, self._blocks / f"{number:08d}", number, self.rows(), stored, columns)

    def close(self) -> None:
        """Stop being the writer."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- reading ------------------------------------------------------------------------------------------------------

    def known(self) -> list[StoredBlock]:
        """The blocks that are there now. Raises CorruptError for one whose manifest is damaged, or that is missing."""
        if not self._blocks.is_dir():
            return []
        for name in sorted(os.listdir(self._blocks))[len(self._known) :]:
            found = self._opened(name, len(self._known))
            rows = self._known[-1].start + self._known[-1].rows if self._known else 0
            if found.start != rows:
                raise CorruptError(f"{found.what} is damaged: it begins at row {found.start}, not {rows}")
            self._known.append(found)
        return self._known

    def _opened(self, name: str, number: int) -> StoredBlock:
        if name != f"{number:08d}":
            raise CorruptError(f"block {number:08d} of {self.place} is missing: after the one before it comes {name}")
        return StoredBlock(self._blocks / name, self.place)

    def rows(self) -> int:
        """How many rows all blocks have."""
        known = self.known()
        return known[-1].start + known[-1].rows if known else 0

    def blocks(self) -> Iterator[Block]:
        """The blocks, mapped, each checked when this object first reads it."""
        for stored in list(self.known()):
            yield stored.block()

    def columns(self) -> list[np.ndarray]:
        """The columns of each block."""
        return [stored.columns() for stored in self.known()]

    def problems(self) -> Iterator[str]:
        """Read everything; tell what is damaged, each with the block's name."""
        names = sorted(os.listdir(self._blocks)) if self._blocks.is_dir() else []
        present = set(names)
        with progress("blocks of gradients", len(names)) as advance:
            for number in range(int(names[-1]) + 1 if names and names[-1].isdigit() else 0):
                name = f"{number:08d}"
                if name not in present:
                    yield f"block {name} of {self.place} is missing"
                    continue
                try:
                    StoredBlock(self._blocks / name, self.place).block()
                except CorruptError as error:
                    yield str(error)
                advance(1)

    def size(self) -> int:
        """Bytes on disk."""
        files = (file for file in self.path.rglob("*") if file.is_file()) if self.path.is_dir() else ()
        return sum(file.stat().st_size for file in files)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"writing {self.path}: {error.strerror or error}; the blocks before are whole") from error


class MemoryShelf:
    """Blocks in memory."""

    place = "the gradients in memory"
    path = None

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def description(self) -> dict[str, Any] | None:
        return None

    def describe(self, width: int, dtype: str, about: dict[str, Any]) -> None:
        return

    def features(self, told: Any) -> np.ndarray:
        raise StoreError("the features that the layers read are not beside the factors")

    def put(self, stored: np.ndarray, columns: np.ndarray) -> None:
        self._blocks.append(Block(self.rows(), columns, stored))

    def rows(self) -> int:
        return self._blocks[-1].start + len(self._blocks[-1]) if self._blocks else 0

    def blocks(self) -> Iterator[Block]:
        yield from list(self._blocks)

    def columns(self) -> list[np.ndarray]:
        return [block.columns for block in self._blocks]

    def problems(self) -> Iterator[str]:
        yield from ()

    def size(self) -> int:
        return sum(block.stored.nbytes + block.columns.nbytes for block in self._blocks)

    def close(self) -> None:
        return


def _locked(path: Path, place: str) -> int:
    """A handle that holds the lock of a file until it is closed, or its process ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        import fcntl
    except ImportError:  # no such locks on this system: one writer is then the user's promise
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StoreError(f"{place} are being written by another process, and have one writer at a time") from None
    return handle
