"""Check shapes, types and order once, then run the compiled kernel, or its NumPy twin where it was not built."""

from __future__ import annotations

import ctypes
import functools
import warnings
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from traceprop.passes.kernels import reference
from traceprop.passes.kernels.reference import ODD_1, ODD_2, STEP, Ints, Runs

_runs: ModuleType | None
_topk: ModuleType | None
_fingerprint: ModuleType | None
_identity: ModuleType | None
try:
    from traceprop.passes.kernels import _fingerprint, _identity, _runs, _topk
except ImportError:
    _runs = _topk = _fingerprint = _identity = None

HAVE_EXTENSION: bool = _runs is not None
"""Whether the compiled kernels are in use."""

_warned = False


def runs_from_indices(indices: ArrayLike) -> Runs:
    """Write ascending int64 indices (n,), repeats allowed, as maximal runs `(starts, stops)`.

    >>> runs_from_indices([2, 3, 4, 9])
    (array([2, 9]), array([ 5, 10]))

    Raises
    ------
    ValueError
        The indices are not one-dimensional, not integers or not ascending.
    """
    positions = _ints(indices, "indices")
    if np.any(positions[1:] < positions[:-1]):
        raise ValueError("indices must be ascending; sort them first")
    if (module := _compiled(_runs)) is None:
        return reference.runs_from_indices(positions)
    starts, stops = np.empty_like(positions), np.empty_like(positions)
    return _cut(starts, stops, module.runs_from_indices(positions, starts, stops))


def runs_to_indices(starts: ArrayLike, stops: ArrayLike) -> Ints:
    """Write a run list out as ascending int64 indices, each once."""
    a, b = _checked(starts, stops)
    if (module := _compiled(_runs)) is None:
        return reference.runs_to_indices(a, b)
    out = np.empty(int((b - a).sum()), dtype=np.int64)
    module.runs_to_indices(a, b, out)
    return out


def union(a_starts: ArrayLike, a_stops: ArrayLike, b_starts: ArrayLike, b_stops: ArrayLike) -> Runs:
    """List what is in either run list."""
    return _merge("union", a_starts, a_stops, b_starts, b_stops)


def intersection(a_starts: ArrayLike, a_stops: ArrayLike, b_starts: ArrayLike, b_stops: ArrayLike) -> Runs:
    """List what is in both run lists."""
    return _merge("intersection", a_starts, a_stops, b_starts, b_stops)


def difference(a_starts: ArrayLike, a_stops: ArrayLike, b_starts: ArrayLike, b_stops: ArrayLike) -> Runs:
    """List what is in the first run list and not in the second."""
    return _merge("difference", a_starts, a_stops, b_starts, b_stops)


def contains(starts: ArrayLike, stops: ArrayLike, indices: ArrayLike) -> NDArray[np.bool_]:
    """Tell of each index (n,), in any order, whether it is in the run list; bool (n,)."""
    a, b = _checked(starts, stops)
    positions = _ints(indices, "indices")
    if (module := _compiled(_runs)) is None:
        return reference.contains(a, b, positions)
    out = np.empty(len(positions), dtype=np.uint8)
    module.contains(a, b, positions, out)
    return out.view(np.bool_)


def topk(scores: ArrayLike, k: int) -> Ints:
    """Give the positions of the `k` largest scores along the last axis, largest first; ties by position, NaN last.

    Parameters
    ----------
    scores
        float32 or float64 (n,) or (m, n); other numbers are read as float64.
    k
        How many; all `n` where `k` is larger.

    Returns
    -------
    int64 (k,) or (m, k)
    """
    values = np.asarray(scores)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"scores must have one or two axes, not {values.ndim}")
    if k < 0:
        raise ValueError(f"k must not be negative, not {k}")
    rows = np.ascontiguousarray(values.reshape(-1, values.shape[-1]))
    k = min(int(k), rows.shape[1])
    if (module := _compiled(_topk)) is None:
        order = reference.topk(rows, k)
    else:
        order = np.empty((len(rows), k), dtype=np.int64)
        if k:
            module.topk(rows, order, np.empty(k, dtype=rows.dtype))
    return order[0] if values.ndim == 1 else order


def fingerprint(array: ArrayLike) -> int:
    """Hash an array's values, dtype and shape into 64 bits, at about the speed of reading it.

    It depends on where each value stands, and not on the memory layout. Changing a single element of at most eight
    bytes always changes it; other changes go unnoticed with a chance of about 2**-64. Not meant against an adversary.

    Raises
    ------
    TypeError
        An array of Python objects: it holds addresses, not values.
    """
    values = np.asarray(array)
    if values.dtype.hasobject:
        raise TypeError("an array of Python objects has no bytes to fingerprint; convert it to numbers or strings")
    header = _header(values.dtype, values.shape)
    module = _compiled(_fingerprint)
    if module is not None:
        try:
            return module.fingerprint(values, header)  # type: ignore[no-any-return]
        except (BufferError, ValueError):  # not in C order, or dates, of which buffers know nothing
            pass
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8) if values.size else np.empty(0, dtype=np.uint8)
    state = reference.hash_words(raw) if module is None else int(module.hash_words(raw))
    return _finish(state ^ header)


def quick_hash(array: NDArray[Any]) -> int:
    """Hash an array's cells into 64 bits, several times as fast as `fingerprint`: for a while, and not to be kept in files."""
    module = _compiled(_fingerprint)
    if module is not None:
        try:
            return module.quick(array)  # type: ignore[no-any-return]
        except (BufferError, ValueError):  # not in C order, or dates, of which buffers know nothing
            pass
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.size else np.empty(0, dtype=np.uint8)
    return reference.quick_hash(raw) if module is None else int(module.quick(raw))


def holds_same(shelves: list[tuple[dict[Any, Any] | list[Any], tuple[Any, ...]]]) -> bool:
    """Whether every list holds the objects beside it, and every dict keys and values in turn, in their order."""
    module = _compiled(_identity)
    return (reference if module is None else module).holds_same(shelves)  # type: ignore[no-any-return]


SAMPLED = 64
"""How many words of eight bytes a sample reads."""


def sample(address: int, size: int, words: int = SAMPLED) -> int:
    """Hash so many words of the `size` bytes at an address, evenly spread; all where there are no more. Read without a check."""
    if _fingerprint is not None:
        return _fingerprint.sample(address, size, words)  # type: ignore[no-any-return]
    _compiled(_fingerprint)
    there = memoryview((ctypes.c_ubyte * size).from_address(address)) if size else b""
    return reference.sample_words(np.frombuffer(there, np.uint8), words)


@functools.lru_cache(maxsize=1024)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """The hash of a dtype and a shape: the same few come again and again."""
    words = np.frombuffer(f"{dtype.descr} {shape}".encode(), dtype=np.uint8)
    return _finish(reference.hash_words(words))


def _finish(state: int) -> int:
    """MurmurHash3's finalizer, a bijection of 64-bit words."""
    mask = (1 << 64) - 1
    state = (state + STEP) & mask
    state = ((state ^ (state >> 33)) * ODD_1) & mask
    state = ((state ^ (state >> 33)) * ODD_2) & mask
    return state ^ (state >> 33)


def _merge(name: str, a_starts: ArrayLike, a_stops: ArrayLike, b_starts: ArrayLike, b_stops: ArrayLike) -> Runs:
    a, b = _checked(a_starts, a_stops), _checked(b_starts, b_stops)
    if (module := _compiled(_runs)) is None:
        runs: Runs = getattr(reference, name)(*a, *b)
        return runs
    room = len(a[0]) + len(b[0])
    starts, stops = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    return _cut(starts, stops, getattr(module, name)(*a, *b, starts, stops))


def _cut(starts: Ints, stops: Ints, count: int) -> Runs:
    """Keep the first `count` runs, and not the room that was set aside for more."""
    if 2 * count < len(starts):
        return starts[:count].copy(), stops[:count].copy()
    return starts[:count], stops[:count]


def _checked(starts: ArrayLike, stops: ArrayLike) -> Runs:
    a, b = _ints(starts, "starts"), _ints(stops, "stops")
    if len(a) != len(b):
        raise ValueError(f"{len(a)} starts but {len(b)} stops")
    if np.any(a >= b):
        raise ValueError("an empty run: every start must lie below its stop")
    if np.any(b[:-1] > a[1:]):
        raise ValueError("runs must be sorted and disjoint")
    return a, b


def _ints(values: ArrayLike, name: str) -> Ints:
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one axis, not {array.ndim}")
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, not {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _compiled(module: ModuleType | None) -> ModuleType | None:
    global _warned
    if module is None and not _warned:
        _warned = True
        warnings.warn(
            "traceprop's compiled kernels are missing, so their NumPy twins run: same answers, slower; "
            "reinstalling traceprop where a C compiler is found builds them",
            RuntimeWarning,
            stacklevel=3,
        )
    return module
