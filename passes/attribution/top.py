"""The training samples with the largest gradient products, in one pass over blocks of gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels.blas import one_thread_per_call
from traceprop.passes.kernels.largest import Largest

QUERIES = 512
CELLS = 1 << 18
"""Products that are there at a time in a thread, about: 1 MB, in its processor's cache."""
NUMBERS = 1 << 19
"""Numbers of gradients that a piece should have: 2 MB."""
WORTH_THREADS = 1 << 25
"""Multiplications from which on pieces go to several threads: a few milliseconds for one."""

Piece = tuple[NDArray[np.int64], Callable[[], NDArray[Any]]]
"""Samples (m,), and what gives their gradients (m, p) once they are needed, in any thread."""


def top_products(
    pieces: Iterable[Piece],
    queries: NDArray[Any],
    k: int,
    advance: Callable[[int], None] = lambda _: None,
    samples: int = 0,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Give the k largest <query, gradient> of each of queries (t, p), and the samples that they are of: both (t, k).

    Each sample is in one piece. Memory is that of a piece and a few MB per thread, and of the answer, whatever the number of
    queries and of `samples`, about how many there are in all. `advance(rows)` is told of progress. Products are computed
    in the type of the queries.
    """
    asked = [np.ascontiguousarray(queries[first : first + QUERIES].T) for first in range(0, len(queries), QUERIES)]
    waiting = _Waiting(pieces, advance)
    if samples * queries.size < WORTH_THREADS:
        return _largest(waiting, asked, len(queries), k, queries.dtype).sorted()
    with one_thread_per_call() as threads, ThreadPoolExecutor(threads) as pool:
        try:
            shares = [
                pool.submit(_largest, waiting, asked, len(queries), k, queries.dtype) for _ in range(max(1, threads))
            ]
            kept, *others = [share.result() for share in shares]
        finally:
            waiting.stop()
    for other in others:
        kept.merge(other)
    return kept.sorted()


def _largest(waiting: _Waiting, asked: list[NDArray[Any]], queries: int, k: int, dtype: Any) -> Largest:
    """What one thread keeps of the pieces that it gets hold of."""
    kept = Largest(queries, k, dtype)
    room: NDArray[Any] = np.empty(0, dtype=dtype)
    widest = max((part.shape[1] for part in asked), default=1)
    for samples, given in waiting:
        gradients = given()
        step = min(len(samples), max(256, CELLS // widest))
        if room.size < step * widest:
            room = np.empty(step * widest, dtype=dtype)
        for start in range(0, len(samples), step):
            rows = gradients[start : start + step].astype(dtype, copy=False)
            for first, part in enumerate(asked):
                products = room[: len(rows) * part.shape[1]].reshape(len(rows), part.shape[1])
                np.matmul(rows, part, out=products)
                kept.add(products, samples[start : start + step], first * QUERIES)
    return kept


class _Waiting:
    """Pieces that several threads take, each by one of them."""

    def __init__(self, pieces: Iterable[Piece], advance: Callable[[int], None]) -> None:
        self._pieces = iter(pieces)
        self._advance = advance
        self._lock = threading.Lock()
        self._stopped = False

    def __iter__(self) -> Iterator[Piece]:
        while True:
            with self._lock:
                piece = None if self._stopped else next(self._pieces, None)
            if piece is None:
                return
            yield piece
            with self._lock:
                self._advance(len(piece[0]))

    def stop(self) -> None:
        """Give out no more: a thread has failed, or somebody has asked for an end."""
        with self._lock:
            self._stopped = True
