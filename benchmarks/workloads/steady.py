"""What is left in memory by many calls of one traced function, results dropped: bytes and objects."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np


def main(quick: bool) -> dict[str, Any]:
    import traceprop as tp
    from benchmarks.workloads.arrays import cells
    from benchmarks.workloads.functions import OPS, standardise

    calls = 5_000 if quick else 100_000
    traced, x = tp.trace(standardise), cells(100)
    source = tp.from_numpy(x, source_id="x")

    def run(times: int) -> None:
        for _ in range(times):
            np.asarray(traced(x))
            np.asarray(traced(source))

    run(1_000)
    gc.collect()
    objects, held = len(gc.get_objects()), resident()
    run(calls // 2)
    gc.collect()
    return {
        "calls": calls,
        "objects": len(gc.get_objects()) - objects,
        "bytes": resident() - held,
        "bytes_per_op": (resident() - held) / calls / OPS,
    }


def resident() -> int:
    """Bytes of this process in memory."""
    status = Path("/proc/self/statm")
    if status.exists():
        import resource

        return int(status.read_text().split()[1]) * resource.getpagesize()
    import psutil

    return int(psutil.Process().memory_info().rss)
