"""A file read a block at a time, each of whole rows, with what is needed to read any of them again."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from traceprop.errors import ChangedSourceError, SourceError
from traceprop.sources.files import _BOM, _file_system, is_remote

BLOCK = 1 << 23
"""Bytes that are read at once."""
LONGEST = 1 << 28
"""Bytes that one row may have."""

_QUOTE, _NEWLINE = b'"'[0], b"\n"[0]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole rows of a file: where their bytes stand (of the text, unzipped and without a mark), and what they hash to.

    `data`: how many of the bytes stand before the first row. `blank`: whether there are lines without anything.
    """

    offset: int
    length: int
    row: int
    rows: int
    lines: int
    data: int
    blank: bool
    digest: bytes


def digest_of(content: bytes) -> bytes:
    """The hash by which a block is known again."""
    return hashlib.blake2b(content, digest_size=16).digest()


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file's bytes as a stream, unzipped where its name ends in `.gz`. Raises `SourceError` that says what is wrong with it."""
    try:
        if is_remote(path):
            system, inner = _file_system(path)
            raw: Any = system.open(inner, "rb")
        else:
            raw = open(path, "rb")  # noqa: SIM115
        with raw:
            yield gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw  # type: ignore[misc]
    except FileNotFoundError:
        looked = "" if is_remote(path) else f" (looked in {Path.cwd()})"
        raise SourceError(f"{path}: there is no such file{looked}") from None
    except IsADirectoryError:
        raise SourceError(f"{path} is a directory; give a file in it") from None
    except SourceError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def row_blocks(path: str, file: BinaryIO, size: int = BLOCK) -> Iterator[bytes]:
    """The bytes of a CSV file in order, cut behind rows: a line's end inside quotes ends none."""
    kept = b""
    chunk = file.read(size).removeprefix(_BOM)
    while chunk:
        kept = kept + chunk if kept else chunk
        chunk = file.read(size)
        if not chunk:
            break
        cut = _last_end(kept)
        if cut:
            yield kept[:cut]
            kept = kept[cut:]
        elif len(kept) > LONGEST:
            raise SourceError(f"{path}: a row is longer than {LONGEST >> 20} MB; is a quoted cell not closed?")
    if kept:
        yield kept


def _last_end(content: bytes) -> int:
    """How many bytes are whole rows, where the first begins outside of quotes."""
    if b'"' not in content:
        return content.rfind(b"\n") + 1
    data = np.frombuffer(content, dtype=np.uint8)
    quotes, ends = np.flatnonzero(data == _QUOTE), np.flatnonzero(data == _NEWLINE)
    outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def read_blocks(path: str, blocks: Sequence[Block], to_the_end: bool = True) -> Iterator[tuple[Block, bytes]]:
    """Blocks with their bytes, in order. Raises `ChangedSourceError` that names the file where they are others now.

    `to_the_end`: nothing may stand behind the last of them.
    """
    try:
        with opened(path) as file:
            start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            for block in blocks:
                file.seek(start + block.offset)
                content = file.read(block.length)
                if digest_of(content) != block.digest:
                    raise ChangedSourceError(
                        f"{path} changed since it was checked (near row {block.row}): read it again"
                    )
                yield block, content
            if to_the_end and file.read(1):
                raise ChangedSourceError(f"{path} changed since it was checked (there is more of it): read it again")
    except SourceError as error:
        raise ChangedSourceError(f"{path} is not what it was when it was checked: {error}") from None


def marks(path: str) -> tuple[int, ...] | None:
    """What differs once a file was written to; `None` for one that is gone, or elsewhere."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
