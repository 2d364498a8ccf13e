"""What recording a training loop costs: the loop inside a training context against the same loop without one, in turns.

Logistic regression on 6,000 rows of 105 columns (batches of 64, 20 passes) as a loop in NumPy and in PyTorch, and a network
784-256-10 on 6,000 handwritten digits. Both loops shuffle by the same permutations. The traced one's time is that of
everything between entering the context and having its gradient store: steps seen, gradients written, models kept. "op" keeps
every sample's gradient at every step, exact, "batch" one per step, "epoch" the model at the end of each pass.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import traceprop as tp
from benchmarks.harness import table

LEVELS = ("batch", "epoch", "op")
AIMS = {"logistic regression": (1.05, 1.10, 1.5), "MNIST, 784-256-10": (1.02, 1.15, 2.0)}
BATCH = 64
PAIRS = 13


def main(quick: bool = False) -> dict[str, Any]:
    measured = ratios(pairs=3 if quick else PAIRS, quick=quick)
    rows = []
    for name, levels in measured.items():
        for level, found in levels.items():
            aim = AIMS[name.split(" (")[0]][LEVELS.index(level)]
            rows.append(
                [
                    name,
                    level,
                    f"{1e6 * found['plain_seconds'] / found['steps']:.0f} µs",
                    f"{found['median']:.3f}",
                    f"{found['low']:.3f} to {found['high']:.3f}",
                    f"{found['cpu']:.3f}",
                    f"{aim:.2f}",
                    found["kept"],
                ]
            )
    head = [
        "loop",
        "granularity",
        "plain step",
        "ratio",
        "middle half of ratios",
        "ratio of CPU time",
        "aim",
        "kept of the steps",
    ]
    note = f"Medians of {3 if quick else PAIRS} interleaved pairs, torch on one thread. A ratio above 1 is what recording costs."
    return {"measured": measured, "table": table(head, rows, note)}


def ratios(pairs: int = PAIRS, quick: bool = False, levels: tuple[str, ...] = LEVELS) -> dict[str, dict[str, Any]]:
    """By loop and granularity: the median, quartiles and all `ratios` of wall time, and the median ratio of CPU time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found: dict[str, dict[str, Any]] = {}
        for name, make in loops(quick).items():
            run, steps = make()
            found[name] = {
                level: {**_measured(partial(run, None), partial(run, level), pairs), "steps": steps} for level in levels
            }
            for level in levels:
                found[name][level]["kept"] = _kept(run(level))
        return found
    finally:
        torch.set_num_threads(threads)


def loops(quick: bool = False) -> dict[str, Callable[[], tuple[Callable[[str | None], Any], int]]]:
    """Each loop: a function of the granularity (None for the plain loop) that gives the gradient store, and its steps."""
    return {
        "logistic regression (NumPy)": lambda: numpy_logistic(4 if quick else 20),
        "logistic regression (PyTorch)": lambda: torch_logistic(2 if quick else 20),
        "MNIST, 784-256-10 (PyTorch)": lambda: torch_digits(1 if quick else 10),
    }


def _measured(plain: Callable[[], Any], traced: Callable[[], Any], pairs: int) -> dict[str, Any]:
    plain(), traced()
    wall, cpu, alone = [], [], []
    for pair in range(pairs):
        times = {}
        for call in (plain, traced) if pair % 2 else (traced, plain):
            start, own = time.perf_counter(), time.process_time()
            call()
            times[call] = time.perf_counter() - start, time.process_time() - own
        wall.append(times[traced][0] / times[plain][0])
        cpu.append(times[traced][1] / times[plain][1])
        alone.append(times[plain][0])
    low, median, high = statistics.quantiles(wall, n=4)
    return {
        "median": median,
        "low": low,
        "high": high,
        "cpu": statistics.median(cpu),
        "ratios": wall,
        "plain_seconds": statistics.median(alone),
    }


def _kept(store: Any) -> str:
    """What the store has of the steps."""
    steps = store.steps
    if steps is None:
        return f"{len(store.passes)} models"
    what = "projected" if steps.about.get("projection") else "factors" if steps.factors else "exact"
    return f"{len(steps):,} gradients of {steps.width:,} ({what}), {steps.size() / 2**20:.1f} MiB"


def _rows(n: int = 6_000, d: int = 105) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    return X, (X @ rng.normal(size=d) / np.sqrt(d) + rng.normal(size=n) > 0).astype(np.int64)


def numpy_logistic(passes: int) -> tuple[Callable[[str | None], Any], int]:
    X, y = _rows()
    n, d = X.shape

    def plain() -> np.ndarray:
        w = np.zeros(d)
        for seed in range(passes):
            order = np.random.default_rng(seed).permutation(n)
            for start in range(0, n, BATCH):
                rows = order[start : start + BATCH]
                xb, yb = X[rows], y[rows]
                residual = 1 / (1 + np.exp(-(xb @ w))) - yb
                w -= 0.1 * (residual @ xb / len(rows))
        return w

    def gradients(w: np.ndarray, features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = features @ w
        return np.logaddexp(0, z) - labels * z, (1 / (1 + np.exp(-z)) - labels)[:, None] * features

    def traced(level: str) -> Any:
        w = np.zeros(d)
        with tp.training_context(w, X, y, gradients=gradients, granularity=level) as ctx:
            for seed in range(passes):
                for xb, yb, rows in ctx.batches(BATCH, shuffle=True, seed=seed):
                    residual = 1 / (1 + np.exp(-(xb @ w))) - yb
                    gradient = residual @ xb / len(rows)
                    w -= 0.1 * gradient
                    ctx.step(None, rows, gradient=gradient, outputs=residual)
        return ctx.gradient_store

    return lambda level: plain() if level is None else traced(level), passes * -(-n // BATCH)


def torch_logistic(passes: int) -> tuple[Callable[[str | None], Any], int]:
    import torch

    X, y = _rows()
    features, labels = X.astype(np.float32), y.astype(np.float32)
    loss = torch.nn.functional.binary_cross_entropy_with_logits

    def squeezed(out: Any, target: Any) -> Any:
        return loss(out.squeeze(-1), target.to(out.dtype))

    return _torch_loop(lambda: torch.nn.Linear(X.shape[1], 1), features, labels, squeezed, passes)


def torch_digits(passes: int) -> tuple[Callable[[str | None], Any], int]:
    import torch

    from benchmarks.tasks.mnist import images

    X, y = images()

    def model() -> Any:
        return torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))

    return _torch_loop(model, X[:6_000], y[:6_000], torch.nn.functional.cross_entropy, passes)


def _torch_loop(
    make: Callable[[], Any], X: np.ndarray, y: np.ndarray, loss: Callable[..., Any], passes: int
) -> tuple[Callable[[str | None], Any], int]:
    import torch

    features, labels = torch.from_numpy(X), torch.from_numpy(y)

    def plain() -> None:
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for seed in range(passes):
            order = torch.from_numpy(np.random.default_rng(seed).permutation(len(X)))
            for rows in order.split(BATCH):
                xb, yb = features[rows], labels[rows]
                optimizer.zero_grad()
                loss(model(xb), yb).backward()
                optimizer.step()

    def traced(level: str) -> Any:
        torch.manual_seed(0)
        model = make()
        with tp.training_context(model, X, y, loss=loss, granularity=level) as ctx:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for seed in range(passes):
                for xb, yb, _ in ctx.batches(BATCH, shuffle=True, seed=seed):
                    optimizer.zero_grad()
                    loss(model(xb), yb).backward()
                    optimizer.step()
        return ctx.gradient_store

    return lambda level: plain() if level is None else traced(level), passes * -(-len(X) // BATCH)
