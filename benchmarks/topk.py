"""The 100 strongest of a million gradients of 512 numbers for each of 100 queries, and the memory that the store takes.

*GEMM* is the float32 product of that size alone, which leaves 100 × 10⁶ scores and ranks none; all have equally many
threads, in turns. The gradients on disk are in the page cache, and were checked against their checksums by a first
question, which is reported apart. Memory is the peak of a process of its own, over what it had before the first row,
while it writes all gradients and asks about them once; files that are mapped count as far as they were read. What ten
times as many queries take beyond that is told too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
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
many = np.random.default_rng(1).standard_normal((10 * queries, p), dtype=np.float32)
peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
tp.attribution_engine, tp.stores.GradientBlocks
before = peak()
with GradientBlocks(place, dtype) as blocks:
    for start in range(0, n, step):
        blocks.append(batch, np.arange(start, start + step))
written = peak()
engine = tp.attribution_engine(blocks)
engine.top_k(test_gradients=many[:queries], k=k)
asked = peak()
engine.top_k(test_gradients=many, k=k)
print(json.dumps([written - before, asked - before, peak() - asked]))
"""


def main(quick: bool = False) -> dict[str, Any]:
    n, repeats = (20_000, 3) if quick else (N, 7)
    cores = os.cpu_count() or 1
    measured, first = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        calls, first = ways(Path(folder), n)
        for threads in sorted({1, cores}):
            for name, found in in_turns(calls, threads, repeats).items():
                measured[f"{name}, {threads} thread{'s' * (threads > 1)}"] = found
        del calls
    memory = {}
    for dtype in ("float32", "float16"):
        for place in ("memory", "disk"):
            with tempfile.TemporaryDirectory() as folder:
                memory[f"{place}, {dtype}"] = peaks(None if place == "memory" else f"{folder}/g", dtype, n)
    note = (
        f"Top {K} of {n:,} × {P} gradients for {QUERIES} queries; medians and quartiles of ratios over {repeats} turns. "
        "GEMM: the float32 product of that size, of which nothing is ranked."
    )
    head = ["way", "time", "of GEMM", "middle half", "CPU time, of GEMM's"]
    times = table(head, [cells(name, found) for name, found in measured.items()], note)
    kept_head = ["gradients", "memory to write, of their size", "and to ask", "ten times the queries", "first question"]
    kept = table(kept_head, [memory_cells(name, found, first[name]) for name, found in memory.items()])
    return {
        "rows": n, "p": P, "queries": QUERIES, "k": K, "repeats": repeats,
        "measured": measured, "first_seconds": first, "memory": memory, "tables": [times, kept],
    }  # fmt: skip


def ways(folder: Path, n: int) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """What is timed, and the seconds of the first question to each store."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((n, P), dtype=np.float32)
    queries = rng.standard_normal((QUERIES, P), dtype=np.float32)
    asked = {
        f"{place}, {dtype}": asking(None if place == "memory" else folder / dtype, dtype, gradients, queries)
        for dtype in ("float32", "float16")
        for place in ("memory", "disk")
    }
    first = {name: seconds(call) for name, call in asked.items()}
    calls: dict[str, Callable[[], object]] = {
        "GEMM": lambda: queries @ gradients.T,
        "GEMM, the rows first": lambda: gradients @ queries.T,
        "GEMM, then argpartition": lambda: np.argpartition(queries @ gradients.T, n - K, axis=1)[:, n - K :],
        **asked,
    }
    return calls, first


def in_turns(calls: dict[str, Callable[[], object]], threads: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Seconds of each way, once a turn, with their ratios to GEMM's in that turn; likewise of CPU time."""
    from threadpoolctl import threadpool_limits

    times: dict[str, list[float]] = {name: [] for name in calls}
    work: dict[str, list[float]] = {name: [] for name in calls}
    with threadpool_limits(threads):
        for turn in range(repeats):
            for name in list(calls)[:: -1 if turn % 2 else 1]:
                begun = time.process_time()
                times[name].append(seconds(calls[name]))
                work[name].append(time.process_time() - begun)
    return {
        name: {
            "seconds": times[name],
            "of_gemm": spread(times[name], times["GEMM"]),
            "cpu_of_gemm": spread(work[name], work["GEMM"]),
        }
        for name in calls
    }


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
    written, asked, more = json.loads(done.stdout)
    size = n * P * np.dtype(dtype).itemsize
    return {"written": written / size, "asked": asked / size, "more_queries": more, "bytes": size}


def spread(mine: list[float], theirs: list[float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": median, "low": low, "high": high, "ratios": ratios}


def cells(name: str, found: dict[str, Any]) -> list[str]:
    ratio = found["of_gemm"]
    return [
        name,
        f"{statistics.median(found['seconds']):.2f} s",
        f"{ratio['median']:.2f}×",
        f"{ratio['low']:.2f} to {ratio['high']:.2f}",
        f"{found['cpu_of_gemm']['median']:.2f}×",
    ]


def memory_cells(name: str, found: dict[str, float], first: float) -> list[str]:
    return [
        name,
        f"{found['written']:.2f}×",
        f"{found['asked']:.2f}×",
        f"{found['more_queries'] / 2**20:.0f} MiB more",
        f"{first:.2f} s",
    ]
