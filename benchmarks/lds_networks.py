"""Linear datamodeling score on MNIST: do predicted sums over half of the rows rank as retrained networks do?

As `lds`, for networks. Retraining has a noise of its own there, so a score stands beside its ceiling: how well the mean
over other seeds would predict the mean over these (split halves, Spearman-Brown).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import table
from benchmarks.lds import lds
from benchmarks.tasks.mnist import Digits, fours_and_nines, ten_digits

SEED = 20_261_125
SUBSETS, RUNS = 60, 2
CACHE = Path(__file__).parent / "cache"
METHODS: dict[str, dict[str, Any]] = {
    "influence, the trained model": {"estimator": "influence", "checkpoints": 1},
    "influence, 5 checkpoints of its training": {"estimator": "influence"},
    "trak, 2,048 dimensions, 5 checkpoints": {"estimator": "trak"},
    "ekfac, the trained model": {"estimator": "ekfac", "checkpoints": 1},
    "tracin, 5 checkpoints": {"estimator": "tracin"},
    "gradient dot": {"estimator": "dot"},
    "last layer": {"estimator": "last-layer"},
}


def main(quick: bool = False) -> dict[str, Any]:
    tasks = [fours_and_nines(), ten_digits()]
    measured = {task.name: judged(task, *retrained(task, 6 if quick else SUBSETS)) for task in tasks}
    rows = [
        [f"{task}: {method}", f"{found['lds']:.3f}", f"{found['sd']:.3f}", f"{found['cost']:.1f}×"]
        for task, result in measured.items()
        for method, found in result["methods"].items()
    ]
    ceilings = ", ".join(f"{result['ceiling']:.3f} ({task})" for task, result in measured.items())
    note = (
        f"Mean over 500 test rows, against {len(next(iter(measured.values()))['subsets'])} random halves of the training rows, "
        f"{RUNS} networks retrained on each. A perfect predictor would reach {ceilings}. Cost: CPU time of all scores, one "
        "thread, over that of one training run. The damping is found from the data."
    )
    return {
        "seed": SEED,
        "measured": measured,
        "table": table(["network", "LDS", "sd over test rows", "cost"], rows, note),
    }


def judged(task: Digits, kept: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Every method on one task: its score against retrained networks, and what it cost."""
    import torch
    from threadpoolctl import threadpool_limits

    import traceprop as tp

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        everything = np.arange(len(task.y))
        start = time.process_time()
        task.train(everything, SEED)
        fit = time.process_time() - start
        model = task.model(SEED)
        with tp.training_context(model, task.X, task.y, loss=task.loss("none"), source_id="digits") as ctx:
            for epoch in task.passes(model, everything):
                if epoch in task.checkpoints:
                    ctx.checkpoint()
        methods = {}
        for name, options in METHODS.items():
            start = time.process_time()
            scores = tp.attribution_engine(ctx.gradient_store, **options).scores(task.X_test, task.y_test)
            cost = (time.process_time() - start) / fit
            found = lds(kept.astype(np.float32) @ np.asarray(scores).T, truth.mean(axis=0))
            methods[name] = {
                "lds": float(found.mean()),
                "sd": float(found.std()),
                "standard_error": float(found.std() / np.sqrt(len(found))),
                "cost": cost,
                "verdict": scores.verdict,
                "why": scores.why,
            }
    torch.set_num_threads(threads)
    return {
        "fit_cpu_seconds": fit,
        "subsets": [int(k.sum()) for k in kept],
        "ceiling": ceiling(truth),
        "methods": methods,
    }


def ceiling(truth: np.ndarray) -> float:
    """How well a perfect predictor of the mean over seeds would rank the mean over these: margins (runs, s, t)."""
    runs = len(truth)
    agree = float(np.mean([lds(truth[a], truth[b]).mean() for a in range(runs) for b in range(a)]))
    return float(np.sqrt(runs * agree / (1 + (runs - 1) * agree)))


def retrained(task: Digits, subsets: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stay, bool (s, n), and margins of networks really retrained on them, (runs, s, t); kept in the cache."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from rich.progress import track

    path = CACHE / f"lds_{'_'.join(map(str, task.layers))}_{SEED}_{subsets}.npz"
    if path.exists():
        with np.load(path) as stored:
            return np.unpackbits(stored["kept"], axis=1)[:, : len(task.y)].astype(bool), stored["margins"]
    rng = np.random.default_rng(SEED)
    kept = np.zeros((subsets, len(task.y)), dtype=bool)
    for mask in kept:
        mask[rng.permutation(len(task.y))[: len(task.y) // 2]] = True
    jobs = [(run, k) for run in range(RUNS) for k in range(subsets)]
    found = np.empty((RUNS, subsets, len(task.y_test)))
    with ProcessPoolExecutor(2, get_context("spawn"), _settle, (task,)) as pool:
        results = pool.map(_margins, [(np.flatnonzero(kept[k]), 1_000 * run + k) for run, k in jobs])
        for (run, k), margins in track(
            zip(jobs, results, strict=True), description=f"retraining {task.name}", total=len(jobs), transient=True
        ):
            found[run, k] = margins
    CACHE.mkdir(exist_ok=True)
    np.savez_compressed(path, kept=np.packbits(kept, axis=1), margins=found)
    return kept, found


_task: Digits


def _settle(task: Digits) -> None:
    import torch

    global _task
    _task = task
    torch.set_num_threads(1)


def _margins(job: tuple[np.ndarray, int]) -> np.ndarray:
    return _task.margins(_task.train(*job))
