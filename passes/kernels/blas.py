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
_users = 0
_threads = 1
_limit: Any = None


@contextmanager
def one_thread_per_call() -> Iterator[int]:
    """Give how many threads BLAS took per product; while this lasts, it takes one, in the whole process.

    Several may last at a time: the last to end puts things back. A BLAS that cannot be told (Apple's) keeps its threads,
    and 1 is given: a second would get in its way.
    """
    global _users, _threads, _limit
    with _lock:
        if not _users:
            blas = _blas()
            _threads = max((library["num_threads"] for library in blas.info()), default=1)
            _limit = blas.limit(limits=1)
        _users += 1
        threads = _threads
    try:
        yield threads
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limit.restore_original_limits()
                _limit = None


@functools.cache
def _blas() -> Any:
    """The libraries behind NumPy, which takes milliseconds to find out; they stay what they are."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
