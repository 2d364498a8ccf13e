"""CPU time, which other work on the machine disturbs less than the wall clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def cpu_seconds(call: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """Give the last result of a call, and the median CPU time of `repeats` calls, over all threads."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return result, statistics.median(times)
