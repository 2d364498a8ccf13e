"""Shapley values of nearest-neighbour games, from rows of distances: checked, and shared out among threads.

Each function takes the distances of `b` validation points to all `n` training points and sums over the validation
points. A thread takes some of them at a time; sums are made in the order of the rows, so that the result depends on
neither the number of threads nor who was first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from traceprop.passes.kernels import reference
from traceprop.passes.kernels.dispatch import _compiled
from traceprop.passes.kernels.reference import Floats

_knn_shapley: ModuleType | None
try:
    from traceprop.passes.kernels import _knn_shapley
except ImportError:
    _knn_shapley = None

_ROWS = 4  # validation points that a thread takes at a time
MOST_VOTES = 255  # a weight of eight bits
LARGEST_K = 64  # beyond, counts of subsets of a million points leave float64


def knn_classes(distances: ArrayLike, hits: ArrayLike, k: int, threads: int | None = None) -> Floats:
    """Give `reference.knn_classes`.

    Parameters
    ----------
    distances
        float32 or float64 (b, n), of any kind that ranks: squared ones do.
    hits
        bool or uint8 (b, n): whether a training point says what is right for the validation point.
    k
        How many neighbours vote, at least 1; more than n is meant as it is said.
    threads
        At most so many; None for one per processor.

    Returns
    -------
    float64 (n,), the sum over the b validation points.

    Raises
    ------
    ValueError
        Shapes, dtypes or numbers that do not fit; a distance that is NaN.
    """
    rows = _distances(distances)
    right = _like(rows, hits, np.uint8, "hits")
    _check_k(k)
    if not rows.size:
        return np.zeros(rows.shape[1])
    if (module := _compiled(_knn_shapley)) is None:
        return reference.knn_classes(rows, right, int(k))
    shares = 1 / np.maximum(int(k), np.arange(rows.shape[1] + 1))
    return _shared(rows, lambda part, out: module.knn_classes(rows[part], right[part], int(k), shares, out), threads)


def knn_numbers(
    distances: ArrayLike, targets: ArrayLike, wanted: ArrayLike, k: int, threads: int | None = None
) -> Floats:
    """Give `reference.knn_numbers`: `targets` (n,) of the training points, `wanted` (b,) of the validation points.

    Other parameters, result and errors as of `knn_classes`.
    """
    rows = _distances(distances)
    known = np.ascontiguousarray(targets, dtype=np.float64)
    asked = np.ascontiguousarray(wanted, dtype=np.float64)
    if known.shape != rows.shape[1:] or asked.shape != rows.shape[:1]:
        raise ValueError(f"distances {rows.shape} need targets {rows.shape[1:]} and wanted {rows.shape[:1]}")
    _check_k(k)
    if not rows.size:
        return np.zeros(rows.shape[1])
    if (module := _compiled(_knn_shapley)) is None:
        return reference.knn_numbers(rows, known, asked, int(k))
    return _shared(rows, lambda part, out: module.knn_numbers(rows[part], known, asked[part], int(k), out), threads)


def knn_votes(distances: ArrayLike, votes: ArrayLike, k: int, most: int, threads: int | None = None) -> Floats:
    """Give `reference.knn_votes`: `votes` are integers (b, n) in -most … most, for and against what is right.

    `most` is at most 255 and k at most 64. Other parameters, result and errors as of `knn_classes`.
    """
    rows = _distances(distances)
    cast = _like(rows, votes, np.int16, "votes")
    _check_k(k)
    if k > LARGEST_K:
        raise ValueError(f"weighted votes are counted for k up to {LARGEST_K}, not {k}")
    if not 1 <= most <= MOST_VOTES:
        raise ValueError(f"most is 1 to {MOST_VOTES}, not {most}")
    if cast.size and max(int(cast.max()), -int(cast.min())) > most:
        raise ValueError(f"votes must lie in -{most} … {most}")
    if not rows.size:
        return np.zeros(rows.shape[1])
    if (module := _compiled(_knn_shapley)) is None:
        return reference.knn_votes(rows, cast, int(k), int(most))
    few, full = reference.vote_weights(rows.shape[1], int(k))
    return _shared(
        rows, lambda part, out: module.knn_votes(rows[part], cast[part], int(k), int(most), few, full, out), threads
    )


def _shared(rows: Floats, run: Callable[[slice, Floats], None], threads: int | None) -> Floats:
    """Add up what `run` adds for each few of the rows, in their order."""
    parts = [slice(start, start + _ROWS) for start in range(0, len(rows), _ROWS)]
    total = np.zeros(rows.shape[1])

    def part_of(part: slice) -> Floats:
        values = np.zeros(rows.shape[1])
        run(part, values)
        return values

    workers = min(len(parts), threads or os.cpu_count() or 1)
    if workers <= 1:
        for part in parts:
            total += part_of(part)
        return total
    with ThreadPoolExecutor(workers) as pool:
        for values in pool.map(part_of, parts):
            total += values
    return total


def _distances(distances: ArrayLike) -> Floats:
    rows = np.asarray(distances)
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float64)
    if rows.ndim != 2:
        raise ValueError(f"distances have two axes, validation and training points, not {rows.ndim}")
    if rows.shape[1] >= 2**31:
        raise ValueError(f"{rows.shape[1]:,} training points are more than 2**31 - 1")
    if np.isnan(rows).any():
        raise ValueError("a distance is NaN")
    return np.ascontiguousarray(rows)


def _like(rows: Floats, given: ArrayLike, dtype: type, name: str) -> NDArray[Any]:
    array = np.asarray(given)
    if array.dtype.kind not in "biu":
        raise ValueError(f"{name} are whole numbers, not {array.dtype}")
    if array.shape != rows.shape:
        raise ValueError(f"{name} have shape {array.shape}, and distances {rows.shape}")
    bounds = np.iinfo(dtype)
    if array.size and array.dtype != bool and not bounds.min <= int(array.min()) <= int(array.max()) <= bounds.max:
        raise ValueError(f"{name} must fit {np.dtype(dtype)}")
    return np.ascontiguousarray(array, dtype=dtype)


def _check_k(k: int) -> None:
    if int(k) != k or k < 1:
        raise ValueError(f"k is a whole number of neighbours, at least 1, not {k!r}")
