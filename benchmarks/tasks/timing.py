"""CPU time of one thread, in turns with what it is compared to, so that other work disturbs both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits


def cpu_seconds(*calls: Callable[[], Any], rounds: int = 9) -> list[dict[str, float]]:
    """Time calls in turns; for each its median `seconds` and median `ratio` to the last of them in the same round.

    A first round, which imports and warms caches, does not count.
    """
    times: list[list[float]] = []
    with threadpool_limits(1):
        for _ in range(rounds + 1):
            row = []
            for call in calls:
                start = time.process_time()
                call()
                row.append(time.process_time() - start)
            times.append(row)
    counted = times[1:]
    return [
        {
            "seconds": statistics.median(row[position] for row in counted),
            "ratio": statistics.median(row[position] / row[-1] for row in counted),
        }
        for position in range(len(calls))
    ]
