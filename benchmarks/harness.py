"""Measuring and writing down: what every benchmark shares.

A benchmark is a file `benchmarks/NAME.py` with `main(quick: bool) -> dict`. What it returns is written to
`benchmarks/results/NAME.json`, and its `"table"` (made by `table`), or all of its `"tables"`, go into docs/figures.md, with
headlines in the README.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("numpy", "scipy", "polars", "pandas", "scikit-learn", "torch", "jax")


def table(head: list[str], rows: list[list[str]], note: str = "") -> dict[str, Any]:
    """Return a table for the README: column titles, rows of formatted cells, and a sentence that goes below it."""
    if any(len(row) != len(head) for row in rows):
        raise ValueError(f"every row needs {len(head)} cells")
    return {"head": head, "rows": rows, "note": note}


def tables(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of a result, in order: its `"tables"`, or the one `"table"`."""
    return result.get("tables") or ([result["table"]] if "table" in result else [])


def seconds(call: Callable[[], object]) -> float:
    """Return the wall-clock time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(plain: Callable[[], object], traced: Callable[[], object], pairs: int = 15) -> dict[str, Any]:
    """Time two ways to do the same thing, in turns, so that whatever slows the machine down slows both.

    Each pair gives one ratio `traced / plain`; who goes first alternates. The first call of each, which imports and
    compiles, is reported apart.

    Returns
    -------
    dict
        `median`, `low` and `high` (quartiles) of the ratios, `ratios`, the median `plain_seconds` and
        `traced_seconds`, and `plain_first_seconds`, `traced_first_seconds`.
    """
    first = seconds(plain), seconds(traced)
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            late = seconds(traced)
            times.append((seconds(plain), late))
        else:
            times.append((seconds(plain), seconds(traced)))
    ratios = [mine / theirs for theirs, mine in times]
    low, median, high = statistics.quantiles(ratios, n=4) if pairs > 1 else ratios * 3
    return {
        "median": median,
        "low": low,
        "high": high,
        "ratios": ratios,
        "plain_seconds": statistics.median(theirs for theirs, _ in times),
        "traced_seconds": statistics.median(mine for _, mine in times),
        "plain_first_seconds": first[0],
        "traced_first_seconds": first[1],
    }


def ratio_cells(name: str, times: dict[str, Any]) -> list[str]:
    """Return what `interleaved` found as cells of a table: name, both times, ratio and its middle half."""
    return [
        name,
        f"{1000 * times['plain_seconds']:.1f} ms",
        f"{1000 * times['traced_seconds']:.1f} ms",
        f"{times['median']:.2f}",
        f"{times['low']:.2f} to {times['high']:.2f}",
    ]


def processor() -> str:
    """Return the processor's model name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measured_on() -> dict[str, Any]:
    """Return what a figure depends on: the processor and the versions."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"processor": processor(), "cores": os.cpu_count(), "system": platform.system(), "versions": versions}


def write_result(name: str, payload: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json, complete or not at all, and return its path."""
    from traceprop.reports.atomic import write_text

    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps({"name": name, **payload, "measured_on": measured_on()}, indent=2) + "\n")
    return path


def read_result(name: str) -> dict[str, Any] | None:
    """Return benchmarks/results/NAME.json, or None where it was never measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def known() -> list[str]:
    """Return the names of the benchmarks in this folder."""
    helpers = {"__init__", "__main__", "harness", "markdown", "readme"}
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in helpers)
