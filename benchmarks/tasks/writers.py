"""Writers that crowd, and writers that are killed: what a store holds behind them.

    python -m benchmarks.tasks.writers KIND ADDRESS [crowd:PROCESSES:RUNS] [kill:ROUNDS]

KIND is sqlite, postgres or parquet; ADDRESS a path or a DSN. A line for every round, then what was found as JSON; an
`AssertionError` where something was lost, half-written or mixed up. A process of its own, so that it can fork: whatever starts
threads (polars, the store itself) is done by children.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import traceprop as tp
from traceprop import stores
from traceprop.stores.pack import packed

ROWS = 4096
LONGEST = 0.15


def opened(kind: str, address: str) -> stores.AbstractStore:
    makers = {"sqlite": stores.SQLiteStore, "postgres": stores.PostgresStore, "parquet": stores.ParquetStore}
    return makers[kind](address)


def order(seed: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).permutation(rows)


def value(seed: int, rows: int = ROWS):
    """Rows in an order that tells the seed: row i is row `order(seed)[i]` of the source."""
    return tp.from_numpy(np.arange(rows), source_id="x")[tp.from_numpy(order(seed, rows), source_id="order")]


def kill(kind: str, address: str, rounds: int) -> dict:
    """Kills a writer at random moments; holds the store to what the writer was told before."""
    chance = random.Random(0)
    told: dict[str, int] = {}
    for number in range(1, rounds + 1):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _save_until_killed(opened(kind, address), number, writer)
        os.close(writer)
        if number % 4:  # else the kill may come before the store is open
            assert os.read(reader, 1) == b"\n"
        time.sleep(chance.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader) as lines:
            names = lines.read().split()
        told |= {name: int(name.rpartition(":")[2]) for name in names}
        checked = rounds <= 20 or number % 20 == 0 or number == rounds
        _in_child(_hold, kind, address, told, number, checked)
        print(f"round {number}: {len(names)} runs saved before the kill", flush=True)
    return {"kills": rounds, "told": len(told)}


def _in_child(work: Callable[..., None], *arguments: Any) -> None:
    child = _forked(work, *arguments)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "see above"


def _forked(work: Callable[..., None], *arguments: Any) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work(*arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _save_until_killed(store: stores.AbstractStore, number: int, writer: int) -> None:
    store.runs("kill")
    os.write(writer, b"\n")
    for k in range(10_000):
        seed = number * 10_000 + k
        store.save(value(seed), f"kill:{number}:{seed}")
        os.write(writer, f"kill:{number}:{seed}\n".encode())
    os._exit(1)


def _hold(kind: str, address: str, told: dict[str, int], number: int, checked: bool) -> None:
    with opened(kind, address) as store:
        held = [run.name for run in store.runs() if run.name.startswith("kill:")]
        assert len(set(held)) == len(held), "a run is there twice"
        missing = told.keys() - set(held)
        assert not missing, f"lost behind kill {number}: {missing}"
        unknown = set(held) - told.keys()
        assert len(unknown) <= number, f"never saved: {unknown}"
        for last in held[-1:]:
            found = [store.load(last).rows(i)["x"].tolist() for i in (0, 7)]
            assert found == [[row] for row in order(int(last.rpartition(":")[2]))[[0, 7]].tolist()], (
                "not what was saved"
            )
        if checked:
            store.check()


def crowd(kind: str, address: str, processes: int, runs: int) -> dict:
    """Many processes that save at once into a store that is not there yet."""
    began = time.perf_counter()
    children = [_forked(_save_all, kind, address, process, runs) for process in range(processes)]
    failed = [child for child in children if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
    seconds = time.perf_counter() - began
    assert not failed, f"{len(failed)} writers failed"
    _in_child(_all_there, kind, address, processes, runs)
    return {"processes": processes, "runs": processes * runs, "seconds": seconds}


def _save_all(kind: str, address: str, process: int, runs: int) -> None:
    store = opened(kind, address)
    for k in range(runs):
        store.save(value(process * 10_000 + k, 64), f"{process}/{k}", {"process": process, "run": k})


def _all_there(kind: str, address: str, processes: int, runs: int) -> None:
    with opened(kind, address) as store:
        listed = store.runs()
        wanted = {f"{process}/{k}" for process in range(processes) for k in range(runs)}
        assert {run.name for run in listed} == wanted
        assert len(listed) == len(wanted)
        for run in listed:
            process, k = map(int, run.name.split("/"))
            assert run.metadata == {"process": process, "run": k}, "mixed up"
            view = store.load(run=run.id)
            found = [view.rows(i)["x"].tolist() for i in (0, 1, 2)]
            assert found == [[row] for row in order(process * 10_000 + k, 64)[:3].tolist()], "mixed up"
        store.check()


def main(kind: str, address: str, *tasks: str) -> None:
    packed(value(0, 64))  # what is imported and built once is so before the first fork
    if kind == "parquet":
        import polars  # noqa: F401
    if kind == "postgres":
        import psycopg  # noqa: F401
    found = {}
    for task in tasks:
        name, *counts = task.split(":")
        found[name] = {"kill": kill, "crowd": crowd}[name](kind, address, *map(int, counts))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
