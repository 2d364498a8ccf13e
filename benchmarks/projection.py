"""What projecting gradients costs: the kernels, against reading them once and against a dense float32 GEMM, in turns.

512 gradients of p = 100,000 numbers, to k = 4,096. *Reading* is the fastest pass over the input that NumPy has (`max`).
*GEMM* multiplies by a Gaussian matrix that is stored, and whose making does not count; the kernels draw their matrices
anew in every call. All have equally many threads. The factored projections get what one linear layer's inputs and
output gradients hold of such gradients, at one position and at 16.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.harness import seconds, table

N, P, K = 512, 100_000, 4_096
INPUTS = 250  # of the layer; its outputs make p weights of them
Calls = dict[str, Callable[[], object]]


def main(quick: bool = False) -> dict[str, Any]:
    repeats = 3 if quick else 7
    n, p, k = (64, 10_000, 512) if quick else (N, P, K)
    cores = os.cpu_count() or 1
    measured = {
        f"{name}, {threads} thread{'s' * (threads > 1)}": found
        for threads in sorted({1, cores})
        for name, found in in_turns(threads, n, p, k, repeats).items()
    }
    rows = [cells(name, found) for name, found in measured.items()]
    head = ["projection", "time", "of reading once", "middle half", "GEMM, of it", "middle half"]
    note = (
        f"{n} float32 rows of {p:,} numbers to {k:,} dimensions; medians and quartiles of ratios over {repeats} turns. "
        "Reading: one pass of NumPy's `max`. GEMM: by a stored matrix, with as many threads. s: one cell in s is not 0. "
        f"Factors: of a {INPUTS} × {p // INPUTS} layer, whose gradients are not given."
    )
    return {"rows": n, "p": p, "k": k, "repeats": repeats, "measured": measured, "table": table(head, rows, note)}


def in_turns(threads: int, n: int, p: int, k: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Seconds of each way, once a turn, and their ratios to reading and of GEMM in the same turn."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, p), dtype=np.float32)
    matrix = rng.standard_normal((p, k), dtype=np.float32)
    calls: Calls = {"reading": lambda: read(x, threads), **projections(x, k, threads), "GEMM": lambda: x @ matrix}
    times: dict[str, list[float]] = {name: [] for name in calls}
    with threadpool_limits(threads):
        for turn in range(repeats):
            for name in list(calls)[:: -1 if turn % 2 else 1]:
                times[name].append(seconds(calls[name]))
    return {
        name: {
            "seconds": taken,
            "of_reading": spread(mine / one for mine, one in zip(taken, times["reading"], strict=True)),
            "gemm_of_it": spread(one / mine for mine, one in zip(taken, times["GEMM"], strict=True)),
        }
        for name, taken in times.items()
    }


def projections(x: np.ndarray, k: int, threads: int) -> Calls:
    """The kernels on x, and on factors of as many rows."""
    from traceprop.passes.kernels.projection import factored_sjlt, masked_sjlt, sjlt, sparse_jl

    rng = np.random.default_rng(1)
    widths = INPUTS, x.shape[1] // INPUTS

    def factored(positions: int) -> Callable[[], object]:
        inputs, outputs = (rng.standard_normal((len(x), positions, width), dtype=np.float32) for width in widths)
        return lambda: factored_sjlt(inputs, outputs, k, threads=threads)

    root = float(np.sqrt(x.shape[1]))
    return {
        "SJLT, 1 non-zero": lambda: sjlt(x, k, threads=threads),
        "SJLT, 4 non-zeros": lambda: sjlt(x, k, nonzeros=4, threads=threads),
        "mask of 4 k, then SJLT": lambda: masked_sjlt(x, k, kept=4 * k, threads=threads),
        "sparse, s = √p": lambda: sparse_jl(x, k, sparsity=root, threads=threads),
        "sparse, s = 3": lambda: sparse_jl(x, k, threads=threads),
        "factors, 1 position": factored(1),
        "factors, 16 positions": factored(16),
    }


def read(x: np.ndarray, threads: int) -> None:
    """Pass over x once."""
    if threads == 1:
        x.max()
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(np.max, np.array_split(x, threads)))


def spread(ratios: Any) -> dict[str, Any]:
    found = list(ratios)
    low, median, high = statistics.quantiles(found, n=4)
    return {"median": median, "low": low, "high": high, "ratios": found}


def cells(name: str, found: dict[str, Any]) -> list[str]:
    def between(ratio: dict[str, Any]) -> str:
        return f"{digits(ratio['low'])} to {digits(ratio['high'])}"

    reading, gemm = found["of_reading"], found["gemm_of_it"]
    milliseconds = 1000 * statistics.median(found["seconds"])
    return [
        name,
        f"{milliseconds:,.1f} ms",
        f"{digits(reading['median'])}×",
        between(reading),
        f"{digits(gemm['median'])}×",
        between(gemm),
    ]


def digits(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 20 else f"{ratio:.2f}"
