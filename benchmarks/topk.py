"""The 100 strongest of a million gradients of 512 numbers for each of 100 queries, and the memory that the store takes.

*GEMM* is the float32 product of that size alone, which leaves 100 × 10⁶ scores and ranks none; all have equally many
threads, in turns. The gradients on disk are in the page cache, and were checked against their checksums by a first
question, which is reported apart. Memory is the peak of a process of its own, over what it had before the first row,
while it writes all gradients and asks about them once; files that are mapped count as far as they were read.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import seconds, table

N, P, QUERIES, K = 1_000_000, 512, 100, 100
STEP = 10_000

MEMORY = """
import json, sys
import numpy as np
import traceprop as tp
from traceprop.stores import GradientBlocks
place, dtype, n, p, queries, k, step = json.loads(sys.argv[1])
batch = np.random.default_rng(0).standard_normal((step, p), dtype=np.float32)
asked = batch[:queries].copy()
peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
tp.attribution_engine, tp.stores.GradientBlocks
before = peak()
with GradientBlocks(place, dtype) as blocks:
    for start in range(0, n, step):
        blocks.append(batch, np.arange(start, start + step))
written = peak()
tp.attribution_engine(blocks).top_k(test_gradients=asked, k=k)
print(json.dumps([written - before, peak() - before]))
"""


def main(quick: bool = False) -> dict[str, Any]:
    n, repeats = (20_000, 3) if quick else (N, 7)
    with tempfile.TemporaryDirectory() as folder:
        times, first = in_turns(Path(folder), n, repeats)
    measured = {name: {"seconds": taken, "of_gemm": spread(taken, times["GEMM"])} for name, taken in times.items()}
    memory = {}
    for dtype in ("float32", "float16"):
        for place in ("memory", "disk"):
            with tempfile.TemporaryDirectory() as folder:
                memory[f"{place}, {dtype}"] = peaks(None if place == "memory" else f"{folder}/g", dtype, n)
    rows = [cells(name, found, memory.get(name), first.get(name)) for name, found in measured.items()]
    head = ["way", "time", "of GEMM", "middle half", "first question", "memory to write, of its size", "and to ask"]
    note = (
        f"Top {K} of {n:,} × {P} gradients for {QUERIES} queries; medians and quartiles of ratios over {repeats} turns, "
        f"{os.cpu_count()} threads. GEMM: the float32 product of that size, of which nothing is ranked."
    )
    return {
        "rows": n, "p": P, "queries": QUERIES, "k": K, "repeats": repeats,
        "measured": measured, "first_seconds": first, "memory": memory, "table": table(head, rows, note),
    }  # fmt: skip


def in_turns(folder: Path, n: int, repeats: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each way, once a turn, and of the first question to each store."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((n, P), dtype=np.float32)
    queries = rng.standard_normal((QUERIES, P), dtype=np.float32)
    asked = {
        f"{place}, {dtype}": asking(None if place == "memory" else folder / dtype, dtype, gradients, queries)
        for place, dtype in (("memory", "float32"), ("disk", "float32"), ("disk", "float16"))
    }
    first = {name: seconds(call) for name, call in asked.items()}
    calls: dict[str, Callable[[], object]] = {
        "GEMM": lambda: queries @ gradients.T,
        "GEMM, then argpartition": lambda: np.argpartition(queries @ gradients.T, n - K, axis=1)[:, n - K :],
        **asked,
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    with threadpool_limits(os.cpu_count()):
        for turn in range(repeats):
            for name in list(calls)[:: -1 if turn % 2 else 1]:
                times[name].append(seconds(calls[name]))
    return times, first


def asking(path: Path | None, dtype: str, gradients: np.ndarray, queries: np.ndarray) -> Callable[[], object]:
    """A question to a store of the gradients; one on disk is opened anew."""
    import traceprop as tp

    blocks = tp.stores.GradientBlocks(path, dtype)
    for start in range(0, len(gradients), STEP):
        blocks.append(gradients[start : start + STEP], np.arange(start, start + len(gradients[start : start + STEP])))
    blocks.close()
    engine = tp.attribution_engine(blocks if path is None else tp.stores.GradientBlocks(path))
    return lambda: engine.top_k(test_gradients=queries, k=K)


def peaks(place: str | None, dtype: str, n: int) -> dict[str, float]:
    """Peak memory of a process of its own, over the size of the gradients: once written, and once asked."""
    arguments = json.dumps([place, dtype, n, P, QUERIES, K, min(STEP, n)])
    done = subprocess.run([sys.executable, "-c", MEMORY, arguments], capture_output=True, text=True, check=True)
    written, asked = json.loads(done.stdout)
    size = n * P * np.dtype(dtype).itemsize
    return {"written": written / size, "asked": asked / size, "bytes": size}


def spread(mine: list[float], theirs: list[float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": median, "low": low, "high": high, "ratios": ratios}


def cells(name: str, found: dict[str, Any], memory: dict[str, float] | None, first: float | None) -> list[str]:
    ratio = found["of_gemm"]
    return [
        name,
        f"{statistics.median(found['seconds']):.2f} s",
        f"{ratio['median']:.2f}×",
        f"{ratio['low']:.2f} to {ratio['high']:.2f}",
        "" if first is None else f"{first:.2f} s",
        "" if memory is None else f"{memory['written']:.2f}×",
        "" if memory is None else f"{memory['asked']:.2f}×",
    ]
