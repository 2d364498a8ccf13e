"""What stores take: saving, listing and opening among 1,000 runs of a million rows; and what killed and crowding writers lose.

Every run filters and sorts rows of its own (a mask and a permutation that no other run has). Opening is timed from a new
store object on, as another process would do it; questions are put to a loaded view and to the one in memory, in turns. The
writers are those of `benchmarks/tasks/writers.py`: 200 are killed with SIGKILL at random moments, and eight save 200 runs each.
PostgreSQL is the server of the tests (`TRACEPROP_TEST_POSTGRES`, or one that is started here).
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import traceprop as tp
from benchmarks.harness import interleaved, seconds, table
from benchmarks.tasks.writers import opened
from traceprop.stores.run import shown

ROOT = Path(__file__).parent.parent


@tp.trace
def prepare(x):
    kept = x[x[:, 0] > 0.1]
    return kept[np.argsort(kept[:, 1])]


def main(quick: bool = False) -> dict[str, Any]:
    runs, rows, tasks = (
        (40, 20_000, ("crowd:8:5", "kill:8")) if quick else (1000, 1_000_000, ("crowd:8:200", "kill:200"))
    )
    measured: dict[str, Any] = {}
    for kind in ("sqlite", "postgres", "parquet"):
        with contextlib.ExitStack() as places:
            addresses = [places.enter_context(_address(kind)) for _ in range(2)]
            measured[kind] = {**_filled(kind, addresses[0], runs, rows), **_written(kind, addresses[1], tasks)}
    head = [
        "store", "save", f"list {runs:,} runs", "open one", "its first question", "later questions, over in memory",
        "bytes of a run", "8 writers at once", "killed writers",
    ]  # fmt: skip
    cells = [_cells(kind, found) for kind, found in measured.items()]
    note = (
        f"{runs:,} runs of {rows:,} rows, each with a filter and a sort of its own; medians. A first question reads the "
        "positions that it needs. Of killed writers: how many of the runs whose save had returned were there, and whole."
    )
    return {"measured": measured, "table": table(head, cells, note)}


def _cells(kind: str, found: dict[str, Any]) -> list[str]:
    kills, crowd = found["kill"], found["crowd"]
    return [
        {"sqlite": "SQLite", "postgres": "PostgreSQL", "parquet": "Parquet"}[kind],
        f"{1000 * found['save_seconds']:.0f} ms",
        f"{1000 * found['list_seconds']:.1f} ms",
        f"{1000 * found['open_seconds']:.1f} ms",
        f"{1000 * found['first_question_seconds']:.1f} ms",
        f"{found['later_questions']['median']:.2f}",
        shown(found["run_bytes"]),
        f"{crowd['runs'] / crowd['seconds']:.0f} runs/s, all there",
        f"{kills['kills']}: {kills['told']} of {kills['told']}",
    ]


@contextlib.contextmanager
def _address(kind: str) -> Iterator[str]:
    if kind == "postgres":
        from tests.stores.postgres import own_schema, server

        with server() as dsn, own_schema(dsn) as own:
            yield own
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder) / "runs")


def _filled(kind: str, address: str, runs: int, rows: int) -> dict[str, Any]:
    from rich.progress import track

    store = opened(kind, address)
    saves, live = [], None
    for k in track(range(runs), f"{kind}: saving {runs:,} runs"):
        data = np.random.default_rng(k).random((rows, 2), dtype=np.float32)
        live = prepare(tp.from_numpy(data, source_id="rows")).persist()
        saves.append(seconds(lambda k=k, live=live: store.save(live, f"run {k}", {"number": k})))
    store.close()
    with opened(kind, address) as store:
        size = store.size()
    found = {
        "save_seconds": statistics.median(saves),
        "save_seconds_slowest": max(saves),
        "run_bytes": int(size) / runs,
        "store_bytes": int(size),
        "list_seconds": _median(7, lambda: opened(kind, address), lambda store, _: store.runs()),
        "open_seconds": _median(21, lambda: opened(kind, address), lambda store, k: store.load(f"run {k * 37 % runs}")),
        "first_question_seconds": _median(
            21, lambda: opened(kind, address), lambda store, k: store.load(f"run {k * 31 % runs}").rows(k)
        ),
    }
    loaded, memory = opened(kind, address).load(f"run {runs - 1}"), tp.provenance(live)
    chosen = np.arange(0, rows // 2, rows // 2000)
    for view in (loaded, memory):
        assert view.rows(chosen)["rows"].tolist() == memory.rows(chosen)["rows"].tolist()
    found["later_questions"] = interleaved(
        lambda: [memory.rows(chosen), memory.affected_rows("rows", chosen)],
        lambda: [loaded.rows(chosen), loaded.affected_rows("rows", chosen)],
    )
    with opened(kind, address) as store:
        found["check_seconds"] = seconds(store.check)
        found["prune_seconds"] = seconds(lambda: store.prune(keep=runs // 10))
        found["store_bytes_pruned"] = int(store.size())
    return found


def _median(times: int, make: Callable[[], Any], work: Callable[[Any, int], object]) -> float:
    """The median time of some work on a new store object; the first, which imports, does not count."""
    found = []
    for k in range(times + 1):
        with make() as store:
            began = time.perf_counter()
            work(store, k)
            found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def _written(kind: str, address: str, tasks: tuple[str, ...]) -> dict[str, Any]:
    from rich.progress import Progress

    command = [sys.executable, "-m", "benchmarks.tasks.writers", kind, address, *tasks]
    rounds = int(tasks[-1].rpartition(":")[2])
    with Progress() as progress, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        bar = progress.add_task(f"{kind}: killing {rounds} writers", total=rounds)
        last = ""
        for last in running.stdout or ():
            if last.startswith("round"):
                progress.advance(bar)
    if running.returncode:
        raise RuntimeError(f"{kind}: what writers left behind is not what they were told; see above")
    return json.loads(last)
