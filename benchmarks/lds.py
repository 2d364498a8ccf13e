"""Linear datamodeling score: predicted effects of removing half of the training rows, against models really retrained.

On two logistic regressions and four networks, ours and other libraries on the same models and the same truth. What a score
costs is CPU time on one thread, over that of one training run; networks are judged beside the ceiling that the noise of their
retraining leaves. `--task` chooses some of the tasks, and leaves the others' results as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.harness import measured_on, read_result, table
from benchmarks.tasks import cifar, linear, mnist, text
from benchmarks.tasks.linear import LinearTask
from benchmarks.tasks.network import AbstractNetworkTask
from benchmarks.tasks.picture import FOLDER, draw
from benchmarks.tasks.ranks import ceiling, lds
from benchmarks.tasks.retrained import SEED, retrained, slug
from benchmarks.tasks.timing import cpu_seconds, one_thread


@dataclass(frozen=True)
class Entry:
    """A task, and how often it is retrained: on how many subsets, with how many seeds each."""

    load: Callable[[], LinearTask | AbstractNetworkTask]
    subsets: int
    runs: int = 1


TASKS = {
    "adult": Entry(linear.census, 100),
    "covertype": Entry(linear.forests, 100),
    "mnist-4-v-9": Entry(mnist.fours_and_nines, 60, 2),
    "mnist-10": Entry(mnist.ten_digits, 60, 2),
    "sst-2": Entry(text.sentiments, 60, 4),
    "cifar-2": Entry(cifar.cats_and_dogs, 60, 2),
}
LINEAR = {"influence": "influence", "newton": "newton", "gradient dot": "dot"}
NETWORKS: dict[str, dict[str, Any]] = {
    "influence, 5 checkpoints of its training": {"estimator": "influence"},
    "influence, the trained model": {"estimator": "influence", "checkpoints": 1},
    "trak, 2,048 dimensions, 5 checkpoints": {"estimator": "trak"},
    "ekfac, the trained model": {"estimator": "ekfac", "checkpoints": 1},
    "tracin, 5 checkpoints": {"estimator": "tracin"},
    "gradient dot": {"estimator": "dot"},
    "last layer": {"estimator": "last-layer"},
}
QUICK_SUBSETS = 6
DRAWN = {
    "Adult": ("effect of a whole set, each", "influence"),
    "MNIST 4 v 9": ("influence, 5 checkpoints of its training", "influence, the trained model"),
}


def main(quick: bool = False, tasks: Sequence[str] = ()) -> dict[str, Any]:
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise SystemExit(f"no task called {', '.join(unknown)}; there are: {', '.join(TASKS)}")
    measured = {name: judged(entry, quick) for name, entry in TASKS.items() if not tasks or name in tasks}
    if not quick:  # read late: another task may have been measured meanwhile
        before = (read_result("lds") or {}).get("measured", {})
        measured = {name: found[name] for name in TASKS for found in (before, measured) if name in found}
    return {"seed": SEED, "measured": measured, "tables": [shown(found) for found in measured.values()]}


def judged(entry: Entry, quick: bool = False) -> dict[str, Any]:
    """Everything about one task: its truth, our estimators and the other libraries."""
    from benchmarks.peers import rows, scores

    task = entry.load()
    runs = min(entry.runs, 2) if quick else entry.runs
    kept, truth = retrained(task, QUICK_SUBSETS if quick else entry.subsets, runs)
    judge = Judge(kept, truth)
    with one_thread():
        if isinstance(task, LinearTask):
            problem, methods = _linear(task, judge, 2 if quick else 9)
        else:
            problem, methods = _network(task, judge)
    if not quick and task.name in DRAWN:
        drawn = {
            name.removesuffix(", each"): (judge.predicted[name], methods[name]["lds"]) for name in DRAWN[task.name]
        }
        draw(FOLDER / f"lds-{slug(task.name)}.png", task.name, truth.mean(axis=0), drawn)
    theirs, _ = rows(scores(problem, quick=quick), judge, problem.fit_cpu_seconds)
    return {
        "task": task.name,
        "training_rows": len(task.y),
        "test_rows": len(task.y_test),
        "architecture": problem.architecture,
        "training": problem.training,
        "subsets": len(kept),
        "runs": runs,
        "ceiling": None if runs < 2 else ceiling(truth),
        "fit_cpu_seconds": problem.fit_cpu_seconds,
        "methods": methods,
        "peers": theirs,
        "measured_on": measured_on(),
    }


@dataclass(frozen=True, eq=False)
class Judge:
    """Rows that stay, bool (s, n), and margins of models retrained on them, (runs, s, t)."""

    kept: np.ndarray
    truth: np.ndarray
    predicted: dict[str, np.ndarray] = field(default_factory=dict)
    """By the names that were given, outcomes (s, t), foretold up to what all subsets share."""

    def __call__(self, scores: np.ndarray, name: str = "") -> np.ndarray:
        """Correlations (t,) of what scores (t, n) predict."""
        return self.of_effects(self.kept.astype(np.float32) @ np.asarray(scores, dtype=np.float32).T, name)

    def of_effects(self, predicted: np.ndarray, name: str = "") -> np.ndarray:
        """Correlations (t,) of outcomes (s, t), foretold up to what all subsets share."""
        if name:
            self.predicted[name] = predicted
        return lds(predicted, self.truth.mean(axis=0))


def _linear(task: LinearTask, judge: Judge, rounds: int) -> tuple[Any, dict[str, Any]]:
    import traceprop as tp

    store, problem = task.recorded()
    model = task.fitted()
    removed = ~judge.kept
    engine = tp.attribution_engine(store, "influence")

    def fresh(estimator: str) -> Any:
        """Everything that attribution costs after a fit: the context, the Hessian, the scores."""
        with tp.training_context(model, task.X, task.y) as ctx:
            pass
        return tp.attribution_engine(ctx.gradient_store, estimator).scores(task.X_test, task.y_test)

    timed = cpu_seconds(
        *[lambda estimator=estimator: fresh(estimator) for estimator in LINEAR.values()],
        lambda: engine.effect(removed[:10], task.X_test, task.y_test),
        task.fitted,
        rounds=rounds,
    )
    methods = {}
    for (name, estimator), cost in zip(LINEAR.items(), timed, strict=False):
        found = fresh(estimator)
        methods[name] = figures(judge(found, name), cost["seconds"], cost["wall"], cost["ratio"], found)
    effects, cost = engine.effect(removed, task.X_test, task.y_test), timed[-2]
    of_one = {name: value / min(10, len(removed)) for name, value in cost.items()}
    name = "effect of a whole set, each"
    methods[name] = figures(
        judge.of_effects(np.asarray(effects), name), of_one["seconds"], of_one["wall"], of_one["ratio"], effects
    )
    return problem, methods


def _network(task: AbstractNetworkTask, judge: Judge) -> tuple[Any, dict[str, Any]]:
    from rich.progress import track

    import traceprop as tp

    store, problem = task.recorded(SEED)
    methods = {}
    for name, options in track(NETWORKS.items(), description=f"scoring {task.name}", transient=True):
        start, began = time.process_time(), time.perf_counter()
        found = tp.attribution_engine(store, **options).scores(task.X_test, task.y_test)
        cpu, wall = time.process_time() - start, time.perf_counter() - began
        methods[name] = figures(judge(found, name), cpu, wall, cpu / problem.fit_cpu_seconds, found)
    return problem, methods


def figures(correlations: np.ndarray, cpu: float, wall: float, cost: float, found: Any) -> dict[str, Any]:
    """What is known of one method."""
    return {
        "lds": float(correlations.mean()),
        "sd": float(correlations.std()),
        "standard_error": float(correlations.std() / np.sqrt(len(correlations))),
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "cost": cost,
        "verdict": found.verdict,
        "why": found.why,
    }


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """The table of one task: our rows, then the other libraries'."""
    note = (
        f"Means over {found['test_rows']} test rows, ± their standard error, against models retrained on {found['subsets']} "
        f"random halves of {found['training_rows']:,} rows"
    )
    if found["ceiling"] is None:
        note += f". Cost: CPU time, one thread, over one fit's ({found['fit_cpu_seconds']:.2f} s, L-BFGS to 1e-8)."
    else:
        note += (
            f", {found['runs']} seeds each; a perfect predictor would reach {found['ceiling']:.3f}. Cost: CPU time, one thread, "
            f"over one training run's ({found['fit_cpu_seconds']:.1f} s)."
        )
    if found.get("remark"):  # written by hand into the results, of a run that was not like others
        note += f" {found['remark']}"
    rows = [[name, *cells(method)] for name, method in found["methods"].items()]
    rows += [[name, *cells(method)] for name, method in found["peers"].items()]
    return table([found["task"], "LDS", "cost", "wall time"], rows, note)


def cells(method: dict[str, Any]) -> list[str]:
    """LDS, cost and wall time, as they are shown; or why there are none."""
    if "failed" in method:
        return [f"failed: {method['failed']}".replace("|", "/").replace("\n", " "), "", ""]
    digits = 2 if method["cost"] < 1 else 1
    return [
        f"{method['lds']:.3f} ± {method['standard_error']:.3f}",
        f"{method['cost']:.{digits}f}×",
        f"{method['wall_seconds']:.3g} s",
    ]
