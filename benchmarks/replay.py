"""Differentiating a recorded run: do its scores say what the same run gives without 1 % of its rows?

The same start and order of rows, batches that lack those rows, for random sets of 1 %: per test row Spearman's
correlation between the predicted margin and that of the run really taken again. A run that starts a millionth elsewhere
says what can be foretold at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.harness import table
from benchmarks.lds import lds
from benchmarks.tasks.mnist import Digits, fours_and_nines

SEED = 20_261_125
SHARE = 0.01
ELSEWHERE = 1e-6


def main(quick: bool = False) -> dict[str, Any]:
    tests, subsets = (5, 6) if quick else (10, 30)
    digits = fours_and_nines()
    smooth = replace(digits, optimizer="sgd", rate=0.01, epochs=10, activation="GELU")
    kinked = replace(smooth, activation="ReLU")
    tasks = {"GELU, SGD, 10 passes": smooth, "ReLU, SGD, 10 passes": kinked, "ReLU, Adam, 20 passes": digits}
    if quick:
        tasks = {name: replace(task, epochs=2) for name, task in tasks.items()}
    measured = {name: judged(task, tests, subsets) for name, task in tasks.items()}
    rows = [
        [f"{name}: {method}", f"{found['lds']:.3f}", f"{result['ceiling']:.3f}", f"{found['cost']:.2f}×"]
        for name, result in measured.items()
        for method, found in result["methods"].items()
    ]
    note = (
        f"MNIST 4 v 9, 784-256-1: mean over {tests} test rows, against {subsets} runs really taken again without a random "
        f"{SHARE:.0%} of the rows. Ceiling: how far those runs agree with runs whose start is {ELSEWHERE:g} elsewhere. Cost: CPU "
        "time per test row over that of one training run, one thread."
    )
    head = ["network: estimator", "LDS without 1 %", "ceiling", "cost per test row"]
    return {"seed": SEED, "measured": measured, "table": table(head, rows, note)}


def judged(task: Digits, tests: int, subsets: int) -> dict[str, Any]:
    """Every method on one task: its score against runs taken again, and what it cost per test row."""
    import torch
    from threadpoolctl import threadpool_limits

    import traceprop as tp

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    orders = [rng.permutation(len(task.y)) for _ in range(task.epochs)]
    with threadpool_limits(1):
        everything = np.ones(len(task.y), dtype=bool)
        start = time.process_time()
        run(task, task.model(SEED), orders, everything)
        fit = time.process_time() - start
        model = task.model(SEED)
        with tp.training_context(model, task.X, task.y, loss=task.loss("none"), source_id="digits") as ctx:
            ctx.checkpoint()
            a_pass = -(-len(task.y) // task.batch)
            for number, (loss, rows) in enumerate(steps(task, model, orders, everything), 1):
                ctx.step(loss, rows)
                if number % a_pass == 0:
                    ctx.checkpoint()
        scores: dict[str, tuple[np.ndarray, float]] = {}
        methods: dict[str, dict[str, Any]] = {
            "replay, Hessian": {"estimator": "replay", "optimizer": task.make_optimizer, "curvature": "hessian"},
            "replay, Gauss–Newton": {
                "estimator": "replay",
                "optimizer": task.make_optimizer,
                "curvature": "gauss-newton",
            },
            "influence, the trained model": {"estimator": "influence", "checkpoints": 1},
        }
        for name, options in methods.items():
            start = time.process_time()
            engine = tp.attribution_engine(ctx.gradient_store, **options)
            found = np.asarray(engine.scores(task.X_test[:tests], task.y_test[:tests]))
            scores[name] = found, (time.process_time() - start) / tests / fit
        kept, truth, beside = again(task, orders, subsets, tests)
    torch.set_num_threads(threads)
    result = {}
    for name, (found, cost) in scores.items():
        each = lds(kept.astype(np.float32) @ found.T, truth)
        result[name] = {"lds": float(each.mean()), "sd": float(each.std()), "cost": cost}
    return {"fit_cpu_seconds": fit, "ceiling": float(lds(beside, truth).mean()), "methods": result}


def again(
    task: Digits, orders: list[np.ndarray], subsets: int, tests: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that stay, bool (s, n), margins of the runs on them (s, t), and of runs that start a little elsewhere."""
    import torch
    from rich.progress import track

    rng = np.random.default_rng(SEED + 1)
    kept = np.ones((subsets, len(task.y)), dtype=bool)
    margins = np.empty((2, subsets, tests))
    for k in track(range(subsets), description="runs without 1 %", transient=True):
        kept[k, rng.permutation(len(task.y))[: int(SHARE * len(task.y))]] = False
        for which in (0, 1):
            model = task.model(SEED)
            if which:
                torch.manual_seed(k)
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.mul_(1 + ELSEWHERE * torch.randn_like(parameter))
            run(task, model, orders, kept[k])
            margins[which, k] = task.margins(model)[:tests]
    return kept, margins[0], margins[1]


def run(task: Digits, model: Any, orders: list[np.ndarray], kept: np.ndarray) -> None:
    """Train on the rows that are kept, in the given orders."""
    for _ in steps(task, model, orders, kept):
        pass


def steps(task: Digits, model: Any, orders: list[np.ndarray], kept: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    """Train step by step; yields each step's loss and rows."""
    import torch

    torch.set_flush_denormal(True)
    optimizer = task.make_optimizer(model.parameters())
    X, y, loss = torch.from_numpy(task.X), torch.from_numpy(task.y), task.loss()
    for order in orders:
        for start in range(0, len(order), task.batch):
            at = order[start : start + task.batch]
            at = at[kept[at]]
            optimizer.zero_grad()
            value = loss(model(X[at]), y[at])
            value.backward()
            optimizer.step()
            yield value, at
