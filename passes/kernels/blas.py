"""Threads of one's own for work in blocks, of which matrix products are a part: BLAS takes one thread per call meanwhile.

Where BLAS shares out each product by itself, what lies between the products waits for its threads, which spin, and a
block goes from one processor's cache to the other's. Whole blocks go to threads instead.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_threads: int | None = None
"""How many threads BLAS took per product before somebody limited it; None while nobody does."""


@contextmanager
def one_thread_per_call() -> Iterator[int]:
    """Give how many threads BLAS took per product; while this lasts, it takes one, in the whole process.

    Who began puts things back, even where another thread is still at it, which then shares its products out again:
    OpenBLAS heeds only the thread that told it before. A BLAS that cannot be told (Apple's) keeps its threads, and 1 is
    given: a second would get in its way.
    """
    global _threads
    limit = None
    with _lock:
        if _threads is None:
            blas = _blas()
            _threads = max((library["num_threads"] for library in blas.info()), default=1)
            limit = blas.limit(limits=1)
        threads = _threads
    try:
        yield threads
    finally:
        if limit is not None:
            with _lock:
                limit.restore_original_limits()
                _threads = None


@functools.cache
def _blas() -> Any:
    """The libraries behind NumPy, which takes milliseconds to find out; they stay what they are."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
