"""A NumPy array as a source, guarded by a fingerprint."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import ChangedSourceError, LineageError, SourceError
from traceprop.ir import ArrayType, Dim, symbol
from traceprop.ir.types import dtype_name
from traceprop.passes.kernels.dispatch import fingerprint, quick_hash
from traceprop.sources.source import Source, check_id, next_array_id

if TYPE_CHECKING:
    import polars as pl


def content_fingerprint(array: np.ndarray) -> int:
    """A 64-bit hash of an array's content; for arrays of Python objects, of their text."""
    if array.dtype.kind == "O":
        text = repr((array.shape, array.ravel().tolist())).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())  # the same in every process, unlike hash()
    return fingerprint(array)


_SMALL = 4096


_unlike = itertools.count()


def _content(array: np.ndarray) -> int | tuple[bytes, np.dtype, tuple[int, ...]]:
    """What tells whether an array has changed: a few cells as they are, or a hash that is sooner taken than a fingerprint."""
    if array.dtype.kind == "O":
        return content_fingerprint(array)
    return quick_hash(array) if array.nbytes > _SMALL else (array.tobytes(), array.dtype, array.shape)


def unlike_any() -> str:
    """The hash of what was written to before it was asked for."""
    return f"written-to-{next(_unlike)}"


@functools.lru_cache(maxsize=4096)
def array_kind(dtype: str, row: tuple[int, ...] | None) -> ArrayType:
    """The type of arrays with rows of one shape, any number of them; `None`: of a single number."""
    return ArrayType(dtype, () if row is None else (symbol("N"), *row))


def hashed(kind: str, array: np.ndarray) -> str:
    """The hash of an array's cells, behind what kind of array it is."""
    return f"{kind}:{content_fingerprint(array) & (2**64 - 1):016x}"


def changed(source_id: str) -> ChangedSourceError:
    """The error for an array that was written to too early."""
    return ChangedSourceError(
        f"the array {source_id!r} changed between the call and the run; "
        "pass a copy, or compute the result before writing to the array"
    )


class ArraySource(Source):
    """An array whose axis 0 is its rows. It is not copied: writing to it between call and run is an error then."""

    _original: Any = None

    def __init__(self, array: Any, source_id: str | None = None, name: str = "array") -> None:
        if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
            raise SourceError(f"{name} is a masked array, and its mask would be lost; fill it first: {name}.filled(…)")
        self._array = array = np.asarray(array)
        self.id = check_id(source_id) if source_id is not None else next_array_id()
        shape = array.shape
        self.n_rows = shape[0] if shape else 1
        self.dtype = dtype_name(array.dtype)
        self._seen = _content(array)

    @functools.cached_property
    def content_hash(self) -> str:  # type: ignore[override]
        """Of the cells as they were, read when this is first asked for; one like no other where they were written to before."""
        kind = f"{self.dtype}{self._array.shape}"
        if isinstance(self._seen, tuple):
            cells, dtype, shape = self._seen
            return hashed(kind, np.frombuffer(cells, dtype).reshape(shape))
        return hashed(kind, self._array) if _content(self._array) == self._seen else f"{kind}:{unlike_any()}"

    def stands_for(self, original: Any, world: str) -> None:
        """The library that the cells are of, and its array, which its programs are given; `None`: this one does for them, too."""
        self.world, self._original = world, original

    def native(self, world: str) -> Any:
        if self._original is None or world != self.world:
            return self.concrete()
        self.check_unchanged()
        return self._original

    def _kind(self) -> ArrayType:
        shape = self._array.shape
        return array_kind(self.dtype, shape[1:] if shape else None)

    def value(self) -> np.ndarray:
        return self._array

    def type(self, rows: Dim) -> ArrayType:
        shape = self._array.shape
        return ArrayType(self.dtype, (rows, *shape[1:]) if shape else ())

    def check_unchanged(self) -> None:
        if _content(self._array) != self._seen:
            raise changed(self.id)

    def frame(self) -> pl.DataFrame:
        raise LineageError(f"{self.id!r} is an array without column names, so rows must be given by number")


class FixedArraySource(ArraySource):
    """An array of another library that nobody can write to: so it needs no fingerprint, and NumPy sees it only when asked for.

    `read` gives it as a NumPy array.
    """

    def __init__(
        self, original: Any, world: str, read: Callable[[Any], np.ndarray], source_id: str | None, name: str = "array"
    ) -> None:
        self._shape, self._read = tuple(original.shape), read
        self.id = check_id(source_id) if source_id is not None else next_array_id()
        self.n_rows = self._shape[0] if self._shape else 1
        self.dtype = dtype_name(original.dtype)
        self.stands_for(original, world)

    @functools.cached_property
    def _array(self) -> np.ndarray:  # type: ignore[override]
        return self._read(self._original)

    @functools.cached_property
    def content_hash(self) -> str:  # type: ignore[override]
        return hashed(f"{self.dtype}{self._shape}", self._array)

    def _kind(self) -> ArrayType:
        return array_kind(self.dtype, self._shape[1:] if self._shape else None)

    def type(self, rows: Dim) -> ArrayType:
        return ArrayType(self.dtype, (rows, *self._shape[1:]) if self._shape else ())

    def check_unchanged(self) -> None:
        return
