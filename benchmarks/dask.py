"""Past one machine: the same functions on a Dask cluster of two processes, beside this process alone, in turns.

The cluster is on this machine, so what is measured is what distribution costs, and not what it brings: the rows cross
process borders, and both sides have the same cores. Then a worker is killed in mid-run, and values and lineage are compared.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import interleaved, ratio_cells, table

KINDS = ("direct", "aggregate", "control", "order", "any")
ASKED = 20


def main(quick: bool = False) -> dict[str, Any]:
    import dask
    from distributed import Client, LocalCluster

    pairs = 3 if quick else 15
    rows, cells = (20_000, 200_000) if quick else (300_000, 8_000_000)
    # A cluster on this machine gives up a worker that is away when it looks, and here they are killed.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        measured = {
            name: one(name, function, given, client, pairs)
            for name, function, given in pipelines(Path(folder), rows, cells)
        }
    times = [
        [
            *ratio_cells(name, each),
            str(each["partitions"]),
            megabytes(each["bytes_sent"]),
            megabytes(each["bytes_between"]),
            megabytes(each["bytes_gathered"]),
        ]
        for name, each in measured.items()
    ]
    faults = [
        [name, *(each["killed"][what] for what in ("killed", "values", "captures", "answers"))]
        for name, each in measured.items()
    ]
    head = ["pipeline", "this process", "Dask", "ratio", "middle half of ratios", "partitions"]
    moved = ["sent", "between workers", "gathered"]
    return {
        "measured": measured,
        "tables": [
            table([*head, *moved], times, NOTE),
            table(
                ["pipeline", "a worker killed", "values equal", "recorded positions equal", "answers equal"],
                faults,
                FAULTS,
            ),
        ],
    }


NOTE = (
    "Each run starts from the source (the CSV pipeline reads its file) and ends with the result here; two worker processes of "
    "one thread, on the same machine. A ratio above 1 says that Dask is slower: its workers have no more cores than the local "
    "run, which uses them too, and the rows cross process borders. It pays where a machine's memory does not do. "
    "Bytes are of one run: sent from here, moved between workers, and gathered here."
)
FAULTS = (
    "While the run went on, the first worker that was seen at work on a partition got SIGKILL. Compared with the run in this "
    "process: the values to rounding (1e-9 of the largest), all recorded positions, and for "
    f"{ASKED} rows the answers of view.rows of every kind."
)


def pipelines(folder: Path, rows: int, cells: int) -> list[tuple[str, Callable[..., Any], Callable[[], Any]]]:
    """Name, function, and what makes its source, anew for each run."""
    import polars as pl

    import traceprop as tp

    rng = np.random.default_rng(0)
    path = folder / "people.csv"
    table = {f"x{k}": rng.normal(size=rows).round(4) for k in range(6)}
    jobs = np.array(["clerk", "driver", "nurse", "teacher", "cook"])
    frame = pl.DataFrame({"age": rng.integers(18, 90, rows), "job": jobs[rng.integers(0, len(jobs), rows)], **table})
    frame.with_columns(pl.when(pl.col("x0") > 1.5).then(None).otherwise(pl.col("x0")).alias("x0")).write_csv(path)
    array = rng.normal(size=(cells // 16, 16))

    def prepare(people: Any) -> Any:
        whole = people.drop_nulls()
        whole = whole[whole["age"] > 25]
        numbers = whole.select(["age", *table]).to_numpy()
        scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
        return np.concatenate([scaled, whole.select(["job"]).one_hot(["job"]).to_numpy()], axis=1)

    def filtered(x: Any) -> Any:
        kept = x[x[:, 0] > -1]
        scaled = (kept - kept.mean(axis=0)) / kept.std(axis=0)
        return np.tanh(scaled) * np.exp(-(scaled**2))

    return [
        (f"CSV, {rows:,} rows", prepare, lambda: tp.read_csv(path, "people")),
        (f"array, {cells:,} cells", filtered, lambda: tp.from_numpy(array, "x")),
    ]


def one(name: str, function: Callable[..., Any], given: Callable[[], Any], client: Any, pairs: int) -> dict[str, Any]:
    """A pipeline in turns, what it moves, and what is left of it when a worker dies."""
    import traceprop as tp

    here, there = tp.trace(function), tp.trace(executor=client)(function)
    found = interleaved(lambda: np.asarray(here(given())), lambda: np.asarray(there(given())), pairs)
    before = between_workers(client)
    result = there(given())
    np.asarray(result)
    run = result.call().outcome().results.held[0].run
    return found | {
        "partitions": len(run.partitions),
        "bytes_sent": run.bytes_sent,
        "bytes_gathered": run.bytes_gathered,
        "bytes_between": between_workers(client) - before,
        "killed": with_a_worker_killed(here(given()), there(given()), client),
    }


def between_workers(client: Any) -> int:
    """The bytes that workers have taken in from one another so far."""
    found = client.run(lambda dask_worker: sum(each["total"] for each in dask_worker.transfer_incoming_log))
    return sum(found.values())


def with_a_worker_killed(here: Any, there: Any, client: Any) -> dict[str, str]:
    """Whether a run during which a worker is killed gives what the run here gives; measured, not assumed."""
    import traceprop as tp

    killed: list[int] = []
    killer = threading.Thread(target=kill_when_busy, args=[client, killed])
    killer.start()
    values = np.asarray(there)
    killer.join()
    wanted = np.asarray(here)
    one, other = here.call().outcome().captures, there.call().outcome().captures
    views = tp.provenance(here), tp.provenance(there)
    asked = np.linspace(0, len(wanted) - 1, ASKED).astype(int)
    answers = all(
        same(views[0].rows(int(row), kind=kind), views[1].rows(int(row), kind=kind)) for row in asked for kind in KINDS
    )
    positions = len(one) == len(other) and all(
        np.array_equal(np.asarray(mine), np.asarray(theirs))
        for mine, theirs in zip(one.values(), other.values(), strict=True)
    )
    close = bool(np.allclose(values, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max()))
    return {
        "killed": yes(bool(killed)),
        "values": yes(close),
        "captures": f"{yes(positions)} ({len(one)})",
        "answers": yes(answers),
    }


def kill_when_busy(client: Any, killed: list[int]) -> None:
    pids = client.run(os.getpid)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for worker, keys in client.processing().items():
            if any("run_part" in str(key) for key in keys) and worker in pids:
                os.kill(pids[worker], signal.SIGKILL)
                killed.append(pids[worker])
                return
        time.sleep(0.002)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def yes(said: bool) -> str:
    return "yes" if said else "no"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
