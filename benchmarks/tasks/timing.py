"""CPU time of one thread, which other work on the machine disturbs less than the wall clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits


def cpu_seconds(call: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """Give the last result of a call, and the median CPU time of `repeats` calls, with one thread for BLAS."""
    times = []
    with threadpool_limits(1):
        for _ in range(repeats):
            start = time.process_time()
            result = call()
            times.append(time.process_time() - start)
    return result, statistics.median(times)
