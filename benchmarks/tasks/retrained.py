"""The truth: models really retrained on random halves of the training rows, kept in benchmarks/cache.

Each training run is a file of its own, there whole or not at all: a run that is cut off goes on at the next one. Rows and seed
of a run come from its number alone, so that a smaller truth is the beginning of a larger one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

SEED = 20_261_125
CACHE = Path(__file__).parents[1] / "cache" / "lds"


class Retrainable(Protocol):
    """A task that can be trained again on some of its rows."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def recipe(self) -> str:
        """All that decides a training run but rows and seed."""
        ...

    def retrained_margins(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Train on some rows: log p_y / (1 - p_y) of the test rows, float64 (t,)."""
        ...


def kept_rows(rows: int, subsets: int) -> np.ndarray:
    """The rows that stay in each subset, a random half: bool (s, n)."""
    kept = np.zeros((subsets, rows), dtype=bool)
    for number, mask in enumerate(kept):
        mask[np.random.default_rng((SEED, number)).permutation(rows)[: rows // 2]] = True
    return kept


def retrained(
    task: Retrainable, subsets: int, runs: int = 1, cache: Path | None = None, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stay, bool (s, n), and margins of models retrained on them with `runs` seeds each, float64 (runs, s, t)."""
    folder = (cache or CACHE) / f"{slug(task.name)}-{digest(task)}"
    folder.mkdir(parents=True, exist_ok=True)
    kept = kept_rows(len(task.y), subsets)
    paths = [[folder / f"run{run}-subset{number:03d}.npy" for number in range(subsets)] for run in range(runs)]
    missing = [
        (path, np.flatnonzero(kept[number]), 1_000 * run + number)
        for run, of_run in enumerate(paths)
        for number, path in enumerate(of_run)
        if not path.exists()
    ]
    if missing:
        _train(task, missing, min(2, os.cpu_count() or 1) if workers is None else workers)
    return kept, np.array([[np.load(path) for path in of_run] for of_run in paths])


def slug(name: str) -> str:
    """A name as a part of a path, and as it is given on a command line."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def digest(task: Retrainable) -> str:
    """Names the data and the recipe, so that the truth of another task is never taken for this one's."""
    found = hashlib.sha256(f"{SEED} {task.recipe}".encode())
    for part in (task.X, task.y, task.X_test, task.y_test):
        found.update(f"{part.dtype.str}{part.shape}".encode())
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()[:12]


Job = tuple[Path, np.ndarray, int]


def _train(task: Retrainable, jobs: Sequence[Job], workers: int) -> None:
    """Every job, in processes of one thread each, or in this process where `workers` is 0."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from rich.progress import track

    shown: dict[str, Any] = {"description": f"retraining {task.name}", "total": len(jobs), "transient": True}
    if not workers:
        for job in track(jobs, **shown):
            _write(task, job)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _settle, (task,)) as pool:
        for _ in track(pool.map(_run, jobs), **shown):
            pass


def _write(task: Retrainable, job: Job) -> None:
    path, rows, seed = job
    margins = task.retrained_margins(rows, seed)
    whole = path.with_suffix(f".{os.getpid()}.part")
    with open(whole, "wb") as file:
        np.save(file, margins)
        file.flush()
        os.fsync(file.fileno())
    os.replace(whole, path)


_task: Retrainable


def _settle(task: Retrainable) -> None:
    from threadpoolctl import threadpool_limits

    global _task
    _task = task
    threadpool_limits(1)


def _run(job: Job) -> None:
    _write(_task, job)
