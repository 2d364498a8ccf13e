"""Differentiating a recorded run: do its scores say what the same run gives without 1 % of its rows?

The same start and order of rows, batches that lack those rows, for random sets of 1 %: per test row Spearman's
correlation between the predicted margin and that of the run really taken again. A run that starts a millionth elsewhere
says what can be foretold at all. How well a run can be differentiated hangs on how smooth it is (Ilyas & Engstrom 2025,
"MAGIC: Near-optimal data attribution for deep learning"), so it is asked of one network trained in several ways.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.harness import table
from benchmarks.tasks.mnist import Digits, fours_and_nines
from benchmarks.tasks.network import flushed
from benchmarks.tasks.ranks import lds

SEED = 20_261_125
SHARE = 0.01
ELSEWHERE = 1e-6
BESIDE = 10
"""Runs that are taken a second time, from a start that is a little elsewhere."""


@dataclass(frozen=True)
class Setting:
    """One way to train the network of fours and nines."""

    activation: str
    optimizer: str = "sgd"
    rate: float = 0.01
    batch: int = 512
    epochs: int = 10
    eps: float = 1e-8

    @property
    def name(self) -> str:
        optimizer = "SGD" if self.optimizer == "sgd" else "Adam"
        eps = "" if self.eps == 1e-8 else f", eps {self.eps:g}"
        return f"{self.activation}, {optimizer} {self.rate:g}{eps}, batches of {self.batch}, {self.epochs} passes"

    def task(self, digits: Digits) -> Digits:
        return replace(
            digits,
            activation=self.activation,
            optimizer=self.optimizer,
            rate=self.rate,
            batch=self.batch,
            epochs=self.epochs,
        )

    def make_optimizer(self, parameters: Any) -> Any:
        import torch

        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.rate, eps=self.eps)
        return torch.optim.SGD(parameters, lr=self.rate, momentum=0.9)


SETTINGS = (
    Setting("GELU"),
    Setting("GELU", batch=128),
    Setting("ReLU"),
    Setting("ReLU", batch=128),
    Setting("GELU", "adam", 1e-3, 128, 20, eps=1e-3),
    Setting("ReLU", "adam", 1e-3, 128, 20),
)


def main(quick: bool = False) -> dict[str, Any]:
    tests, subsets = (5, 6) if quick else (10, 30)
    digits = fours_and_nines()
    settings = [replace(one, epochs=2) for one in SETTINGS[:2]] if quick else SETTINGS
    measured = {one.name: judged(one, one.task(digits), tests, subsets) for one in settings}
    return {"seed": SEED, "measured": measured, "table": shown(measured, tests, subsets)}


def shown(measured: dict[str, Any], tests: int, subsets: int) -> dict[str, Any]:
    rows = [
        [
            name if position == 0 else "",
            method,
            f"{found['lds']:.3f}",
            f"{result['ceiling']:.3f}",
            f"{found['cost']:.2f}×",
            f"{result['accuracy']:.1%}",
        ]
        for name, result in measured.items()
        for position, (method, found) in enumerate(result["methods"].items())
    ]
    note = (
        f"MNIST 4 v 9, 784-256-1: mean over {tests} test rows, against {subsets} runs really taken again without a random "
        f"{SHARE:.0%} of the rows. Ceiling: how far {BESIDE} of those runs agree with runs whose start is {ELSEWHERE:g} "
        "elsewhere. Cost: CPU time per test row over that of one training run, one thread."
    )
    head = ["training", "estimator", "LDS without 1 %", "ceiling", "cost per test row", "test accuracy"]
    return table(head, rows, note)


def judged(setting: Setting, task: Digits, tests: int, subsets: int) -> dict[str, Any]:
    """Every method on one setting: its score against runs taken again, and what it cost per test row."""
    import torch
    from threadpoolctl import threadpool_limits

    import traceprop as tp

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    orders = [rng.permutation(len(task.y)) for _ in range(task.epochs)]
    with threadpool_limits(1):
        everything = np.ones(len(task.y), dtype=bool)
        run(setting, task, task.model(SEED), orders[:1], everything)  # warms up
        start = time.process_time()
        run(setting, task, task.model(SEED), orders, everything)
        fit = time.process_time() - start
        model = task.model(SEED)
        with tp.training_context(model, task.X, task.y, loss=task.loss("none"), source_id="digits") as ctx:
            ctx.checkpoint()
            a_pass = -(-len(task.y) // task.batch)
            for number, (loss, rows) in enumerate(steps(setting, task, model, orders, everything), 1):
                ctx.step(loss, rows)
                if number % a_pass == 0:
                    ctx.checkpoint()
        scores: dict[str, tuple[np.ndarray, float]] = {}
        for name, options in _methods(setting).items():
            start = time.process_time()
            engine = tp.attribution_engine(ctx.gradient_store, **options)
            found = np.asarray(engine.scores(task.X_test[:tests], task.y_test[:tests]))
            scores[name] = found, (time.process_time() - start) / tests / fit
        kept, truth, beside = again(setting, task, orders, subsets, tests)
    torch.set_num_threads(threads)
    result = {}
    for name, (found, cost) in scores.items():
        each = lds(kept.astype(np.float32) @ found.T, truth)
        result[name] = {"lds": float(each.mean()), "sd": float(each.std()), "cost": cost}
    return {
        "fit_cpu_seconds": fit,
        "accuracy": float((task.margins(model) > 0).mean()),
        "ceiling": float(lds(beside, truth[: len(beside)]).mean()),
        "methods": result,
    }


def _methods(setting: Setting) -> dict[str, dict[str, Any]]:
    replayed = {"estimator": "replay", "optimizer": setting.make_optimizer}
    found: dict[str, dict[str, Any]] = {"replay, Hessian": {**replayed, "curvature": "hessian"}}
    if setting.activation == "ReLU":
        found["replay, Gauss–Newton"] = {**replayed, "curvature": "gauss-newton"}
    found["influence, the trained model"] = {"estimator": "influence", "checkpoints": 1}
    return found


def again(
    setting: Setting, task: Digits, orders: list[np.ndarray], subsets: int, tests: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that stay, bool (s, n), margins of the runs on them (s, t), and of runs that start a little elsewhere."""
    import torch
    from rich.progress import track

    rng = np.random.default_rng(SEED + 1)
    kept = np.ones((subsets, len(task.y)), dtype=bool)
    margins, beside = np.empty((subsets, tests)), np.empty((min(BESIDE, subsets), tests))
    for k in track(range(subsets), description="runs without 1 %", transient=True):
        kept[k, rng.permutation(len(task.y))[: int(SHARE * len(task.y))]] = False
        for which in (margins, beside) if k < len(beside) else (margins,):
            model = task.model(SEED)
            if which is beside:
                torch.manual_seed(k)
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.mul_(1 + ELSEWHERE * torch.randn_like(parameter))
            run(setting, task, model, orders, kept[k])
            which[k] = task.margins(model)[:tests]
    return kept, margins, beside


def run(setting: Setting, task: Digits, model: Any, orders: list[np.ndarray], kept: np.ndarray) -> None:
    """Train on the rows that are kept, in the given orders."""
    for _ in steps(setting, task, model, orders, kept):
        pass


def steps(
    setting: Setting, task: Digits, model: Any, orders: list[np.ndarray], kept: np.ndarray
) -> Iterator[tuple[Any, np.ndarray]]:
    """Train step by step; yields each step's loss and rows."""
    import torch

    optimizer = setting.make_optimizer(model.parameters())
    X, y, loss = torch.from_numpy(task.X), torch.from_numpy(task.y), task.loss()
    for order in orders:
        for start in range(0, len(order), task.batch):
            at = order[start : start + task.batch]
            at = at[kept[at]]
            with flushed():
                optimizer.zero_grad()
                value = loss(model(X[at]), y[at])
                value.backward()
                optimizer.step()
            yield value, at
