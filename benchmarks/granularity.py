"""Granularity: what each level keeps and costs, and whether `executable.cost()` foretold it.

Each pipeline runs with tracking off and at each level, in turns. Kept: the encoded bytes. Time: of encoding what a run kept,
which otherwise waits for the first question; and of the run itself over one with tracking off.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import table

LEVELS = ("op", "batch", "epoch")


def main(quick: bool = False) -> dict[str, Any]:
    rows, repeats = (50_000, 3) if quick else (1_000_000, 9)
    measured = {
        name: judged(function, arguments, rows, repeats) for name, (function, arguments) in pipelines(rows).items()
    }
    cells = [
        [
            name,
            level,
            f"{found['bytes']:,}",
            f"{found['predicted_bytes']:,}",
            f"{1e9 * found['seconds'] / rows:.1f}",
            f"{1e9 * found['predicted_seconds'] / rows:.1f}",
            f"{found['run_ratio']:.2f}",
        ]
        for name, levels in measured.items()
        for level, found in levels.items()
    ]
    note = (
        f"{rows:,} rows; medians of {repeats} runs in turns. Nanoseconds per row: of encoding what the run kept, at the first "
        "question. Run: its time over that of one with tracking off."
    )
    head = ["pipeline", "granularity", "bytes kept", "foretold", "ns per row", "foretold", "run"]
    return {"rows": rows, "measured": measured, "table": table(head, cells, note)}


def pipelines(rows: int) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Name, traced function and its arguments."""
    import polars as pl

    import traceprop as tp

    rng = np.random.default_rng(0)
    numbers = tp.from_numpy(rng.normal(size=(rows, 4)), "numbers")
    people = tp.from_dataframe(
        pl.DataFrame(
            {"city": rng.integers(0, 1_000, rows), "pay": rng.normal(size=rows), "age": rng.integers(18, 90, rows)}
        ),
        "people",
    )
    cities = tp.from_dataframe(pl.DataFrame({"city": np.arange(1_000), "tax": rng.random(1_000)}), "cities")

    def scaled(x: Any) -> Any:
        return (x - x.mean(axis=0)) / x.std(axis=0)

    def filtered(x: Any) -> Any:
        return scaled(x[x[:, 0] > 0])

    def chained(x: Any) -> Any:
        some = x[x[:, 0] > -1]
        some = some[np.argsort(some[:, 1])]
        return scaled(some[some[:, 2] > -1])

    def joined(people: Any, cities: Any) -> Any:
        return people.join(cities, on="city").sort("pay")[["pay", "tax"]].to_numpy()

    found = {
        "scaled": (scaled, (numbers,)),
        "filtered, scaled": (filtered, (numbers,)),
        "filtered, sorted, filtered": (chained, (numbers,)),
        "joined, sorted": (joined, (people, cities)),
    }
    return {name: (tp.trace(function), arguments) for name, (function, arguments) in found.items()}


def judged(function: Any, arguments: tuple[Any, ...], rows: int, repeats: int) -> dict[str, dict[str, Any]]:
    """By level: bytes and seconds, measured and foretold."""
    import traceprop as tp

    ready = {}
    for level in (None, *LEVELS):
        with tp.granularity(level):
            ready[level] = function.compile(*arguments)
    values = [argument.compute() for argument in arguments]
    times: dict[str | None, list[tuple[float, float]]] = {level: [] for level in ready}
    kept: dict[str | None, int] = {}
    for turn in range(repeats + 1):
        for level, executable in ready.items():
            started = time.perf_counter()
            captures = executable.run(values).captures
            ran = time.perf_counter()
            if captures:
                captures.encode_all()
            if turn:
                times[level].append((ran - started, time.perf_counter() - ran))
            kept[level] = sum({id(held): int(held.nbytes) for held in captures.values()}.values())
    result = {}
    for level in LEVELS:
        cost = ready[level].cost(rows)
        result[level] = {
            "bytes": kept[level],
            "predicted_bytes": cost.bytes,
            "seconds": statistics.median(encoding for _, encoding in times[level]),
            "predicted_seconds": cost.seconds,
            "run_ratio": statistics.median(
                ran / without for (ran, _), (without, _) in zip(times[level], times[None], strict=True)
            ),
        }
    return result
