"""Several ways to do the same thing, timed in turns, and what can be claimed of their ratio.

Every turn calls each way as often as fills a few milliseconds, so that calls of some microseconds can be told apart, and gives
one ratio to the first way. Turns begin with another way each time. Beside wall time stands the CPU time of all threads.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PAIRS = 31
TURN = 0.004
"""Seconds that a turn of one way lasts at least."""


@dataclass(frozen=True)
class Way:
    """A call to time, and what is done before its turn (out of the time)."""

    call: Callable[[], object]
    before: Callable[[], object] | None = None


def in_turns(
    ways: Mapping[str, Callable[[], object] | Way], pairs: int = PAIRS, turn: float = TURN
) -> dict[str, dict[str, Any]]:
    """Time ways to do the same thing; the first is what the others are held against.

    Returns, for each of the others: `median`, `low`, `high` (quartiles) and `interval` (95 %, of the median) of its ratio,
    `cpu` and `cpu_interval` of CPU time, `extra` and `extra_interval` in seconds, the median `seconds` and `plain_seconds` of a
    call, `first_seconds` (of the very first call, which traces and compiles), `pairs`.
    """
    each = {name: way if isinstance(way, Way) else Way(way) for name, way in ways.items()}
    plain, *others = each
    first = {name: _timed(way, 1)[0] for name, way in each.items()}
    count = {name: _calls(way, turn) for name, way in each.items()}
    wall: dict[str, list[float]] = {name: [] for name in each}
    cpu: dict[str, list[float]] = {name: [] for name in each}
    names = list(each)
    gc.collect()
    for pair in range(pairs):
        start = pair % len(names)
        for name in names[start:] + names[:start]:
            seconds, busy = _timed(each[name], count[name])
            wall[name].append(seconds)
            cpu[name].append(busy)
    return {name: _summary(wall[plain], wall[name], cpu[plain], cpu[name], first[name]) for name in others}


def _timed(way: Way, calls: int) -> tuple[float, float]:
    if way.before is not None:
        way.before()
    call, turns = way.call, range(calls)
    busy, start = time.process_time(), time.perf_counter()
    for _ in turns:
        call()
    return (time.perf_counter() - start) / calls, (time.process_time() - busy) / calls


def _calls(way: Way, turn: float) -> int:
    """How many calls fill a turn, once what is made in the first few is there."""
    once = _timed(way, 1)[0]
    if once < turn:
        once = min(_timed(way, 5)[0] for _ in range(3))
    return max(1, math.ceil(turn / once))


def _summary(
    plain: Sequence[float], mine: Sequence[float], plain_cpu: Sequence[float], cpu: Sequence[float], first: float
) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(mine, plain, strict=True)]
    busy = [a / b for a, b in zip(cpu, plain_cpu, strict=True) if b > 0] or ratios
    extra = [a - b for a, b in zip(mine, plain, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "median": median,
        "low": low,
        "high": high,
        "interval": interval(ratios),
        "cpu": statistics.median(busy),
        "cpu_interval": interval(busy),
        "extra": statistics.median(extra),
        "extra_interval": interval(extra),
        "seconds": statistics.median(mine),
        "plain_seconds": statistics.median(plain),
        "first_seconds": first,
        "pairs": len(ratios),
    }


def interval(values: Sequence[float], trust: float = 0.95) -> tuple[float, float]:
    """An interval that holds the median of what was drawn from, with so much trust, whatever its distribution.

    Order statistics: the median lies between the k-th smallest and the k-th largest of n draws unless fewer than k of them
    fall on one side of it (Binomial(n, ½)); k is the largest that keeps the trust. Of too few draws, all that was seen.
    """
    ordered, n = sorted(values), len(values)
    below, k = 0.5**n, 1
    while below <= (1 - trust) / 2 and k <= n // 2:
        below += math.comb(n, k) * 0.5**n
        k += 1
    k = max(k - 1, 1)
    return ordered[k - 1], ordered[n - k]


@dataclass(frozen=True)
class Aim:
    """What is claimed: a ratio of at most `ratio`; where the plain call takes less than `from_seconds`, `extra` seconds more."""

    ratio: float
    from_seconds: float = 0.0
    extra: float = 0.0

    def verdict(self, found: Mapping[str, Any]) -> tuple[str, str]:
        """The aim in words, and whether it holds: `"yes"`, `"no"`, or `"not shown"` where the interval reaches across.

        A ratio holds where its whole 95 % interval lies at or under it. One that promises next to nothing (up to 1.02) is shown
        by an interval narrower than 2 % alone; "1.00×" is what rounds to it.
        """
        if found["plain_seconds"] < self.from_seconds:
            low, high = found["extra_interval"]
            return f"≤ {1e6 * self.extra:.0f} µs extra", _holds(low, high, self.extra)
        low, high = found["interval"]
        limit = self.ratio + 0.005 if self.ratio == 1.0 else self.ratio
        held = _holds(low, high, limit)
        if held == "yes" and 1.0 < self.ratio <= 1.02 and high > 1.0 and high - low >= 0.02:
            held = "not shown"
        return f"≤ {self.ratio:.2f}×", held


def _holds(low: float, high: float, limit: float) -> str:
    return "yes" if high <= limit else "no" if low > limit else "not shown"
