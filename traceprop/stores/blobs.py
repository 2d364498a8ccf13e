"""Arrays and texts as bytes that know what they are, and whether they still are what they were."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.errors import CorruptError, NewerVersionError, StoreError, TracepropError
from traceprop.passes.encodings import AbstractPositions, encode, from_bytes, to_bytes

POSITIONS, TEXT, ARRAY, OBJECTS, KEYS = "positions", "text", "array", "objects", "keys"
_SMALL_GAIN = 0.9


@dataclass(frozen=True)
class Blob:
    """Bytes of one kind. `fetch` brings them: at once where they were just made, from a store where they are saved."""

    kind: str
    size: int
    fetch: Callable[[], bytes]
    known_digest: str | None = None

    @classmethod
    def made(cls, kind: str, content: bytes) -> Blob:
        """A blob of bytes at hand."""
        return cls(kind, len(content), lambda: content)

    @cached_property
    def digest(self) -> str:
        return self.known_digest or digest_of(self.kind, self.fetch())


def digest_of(kind: str, content: bytes) -> str:
    """The name of a blob: a hash of its kind and its bytes."""
    found = hashlib.blake2b(kind.encode() + b"\0", digest_size=16)
    found.update(content)
    return found.hexdigest()


def text_blob(text: str) -> Blob:
    """A text."""
    return Blob.made(TEXT, zlib.compress(text.encode(), 6))


def text_of(content: bytes) -> str:
    """The text in a blob."""
    return _inflated(content).decode()


def array_blob(array: np.ndarray | AbstractPositions) -> Blob:
    """An array: whole numbers in the fewest bytes that still answer questions; of Python objects, those that JSON holds.

    Raises `StoreError` for objects that JSON does not hold.
    """
    if isinstance(array, AbstractPositions):
        return Blob.made(POSITIONS, to_bytes(array))
    if array.dtype.kind in "iu" and array.ndim and array.dtype.isnative and _fits(array):
        return Blob.made(POSITIONS, to_bytes(encode(array)))
    if array.dtype == object:
        try:
            text = json.dumps({"shape": array.shape, "cells": array.ravel().tolist()})
        except (TypeError, ValueError) as error:
            raise StoreError(f"a constant array of Python objects cannot be saved: {error}") from None
        return Blob.made(OBJECTS, zlib.compress(text.encode(), 6))
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    raw = out.getvalue()
    packed = zlib.compress(raw, 1)
    small = len(packed) < _SMALL_GAIN * len(raw)
    return Blob.made(ARRAY, b"z" + packed if small else b"-" + raw)


def _fits(array: np.ndarray) -> bool:
    return array.dtype != np.uint64 or not array.size or int(array.max()) < 1 << 63


def _array_of(content: bytes) -> np.ndarray:
    raw = _inflated(content[1:]) if content[:1] == b"z" else content[1:]
    found: np.ndarray = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    return found


def _objects_of(content: bytes) -> np.ndarray:
    held = json.loads(_inflated(content))
    array = np.empty(len(held["cells"]), dtype=object)
    array[:] = held["cells"]
    return array.reshape(held["shape"])


def keys_blob(keys: Any) -> Blob:
    """The key cells of a source, a polars series, one per row."""
    import polars as pl

    out = io.BytesIO()
    pl.DataFrame({"key": keys}).write_parquet(out, compression="zstd")
    return Blob.made(KEYS, out.getvalue())


def _keys_of(content: bytes) -> Any:
    import polars as pl

    return pl.read_parquet(io.BytesIO(content)).get_column("key")


def _inflated(content: bytes) -> bytes:
    return zlib.decompress(content)


_READERS: dict[str, Callable[[bytes], Any]] = {
    POSITIONS: from_bytes,
    TEXT: text_of,
    ARRAY: _array_of,
    OBJECTS: _objects_of,
    KEYS: _keys_of,
}


def opened(kind: str, digest: str, content: bytes | None, what: str) -> Any:
    """What a blob holds, if its bytes are those that were saved. Raises `CorruptError` that says `what` they should be."""
    if content is None:
        raise CorruptError(f"{what} is not there: its bytes are missing")
    if digest_of(kind, content) != digest:
        raise CorruptError(
            f"{what} is damaged: its {len(content)} bytes are not those that were saved (the checksum differs)"
        )
    if kind not in _READERS:
        raise NewerVersionError(f"{what} is of the kind {kind!r}, which this version does not know; upgrade traceprop")
    try:
        return _READERS[kind](content)
    except TracepropError as error:
        raise type(error)(f"{what}: {error}") from error
    except (
        Exception
    ) as error:  # bytes that pass the checksum and are no blob were made by someone else: any error is possible
        raise CorruptError(f"{what} cannot be read: {error}") from error
