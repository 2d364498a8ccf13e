"""CPU time of one thread, in turns with what it is compared to, so that other work disturbs both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and torch on one thread: costs that mean something, and sums in the same order whoever makes them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def cpu_seconds(*calls: Callable[[], Any], rounds: int = 9) -> list[dict[str, float]]:
    """Time calls in turns; for each its medians: `seconds`, `ratio` to the last of them in the same round, `wall` time.

    A first round, which imports and warms caches, does not count.
    """
    times: list[list[float]] = []
    walls: list[list[float]] = []
    with threadpool_limits(1):
        for _ in range(rounds + 1):
            row, wall = [], []
            for call in calls:
                start, began = time.process_time(), time.perf_counter()
                call()
                row.append(time.process_time() - start)
                wall.append(time.perf_counter() - began)
            times.append(row)
            walls.append(wall)
    counted = times[1:]
    return [
        {
            "seconds": statistics.median(row[position] for row in counted),
            "ratio": statistics.median(row[position] / row[-1] for row in counted),
            "wall": statistics.median(row[position] for row in walls[1:]),
        }
        for position in range(len(calls))
    ]
