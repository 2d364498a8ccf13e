"""Data value: how fast exact KNN-Shapley is, and how well it finds wrong labels.

Speed: 50,000 training and 1,000 validation rows of 100 features, against the matrix product that the distances take,
and against the same recursion in NumPy. Wrong labels: a tenth of the labels of Adult and MNIST are changed; the area
under the ROC curve of finding them among the lowest values (0.5: by chance).
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import interleaved, seconds, table
from benchmarks.tasks import adult
from benchmarks.tasks.valuation_peers import environment, values

SEED = 20_240_603
K = 10
WRONG = 0.1


class Task(NamedTuple):
    """float32 rows, labels of which some are wrong, validation rows, and which labels are wrong."""

    X: np.ndarray
    y: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    wrong: np.ndarray


def main(quick: bool = False) -> dict[str, Any]:
    speed = how_fast(quick)
    tasks = {"Adult": adult_task, "MNIST": mnist_task}
    found = {name: wrong_labels(make(600 if quick else None), peers=not quick) for name, make in tasks.items()}
    names = list(dict.fromkeys(method for task in found.values() for method in task["methods"]))

    def cell(task: str, method: str, key: str, form: str) -> str:
        said = found[task]["methods"].get(method, {})
        if "refused" in said:
            return "refused"
        return form.format(said[key]) if key in said else ""

    return {
        "seed": SEED,
        "k": K,
        "wrong_labels": WRONG,
        "speed": speed,
        "tasks": found,
        "table": table(
            ["wrong labels found by", "Adult, AUC", "MNIST, AUC", "Adult, time", "MNIST, time"],
            [
                [name]
                + [cell(task, name, "auc", "{:.3f}") for task in tasks]
                + [cell(task, name, "seconds", "{:.2f} s") for task in tasks]
                for name in names
            ],
            f"10 % of the labels are wrong; k = {K}. Adult: {found['Adult']['training_rows']:,} training and "
            f"{found['Adult']['validation_rows']:,} validation rows; MNIST: {found['MNIST']['training_rows']:,} and "
            f"{found['MNIST']['validation_rows']:,}. {speed['training_rows']:,} × {speed['validation_rows']:,} rows of "
            f"{speed['features']} features take {speed['seconds']:.2f} s: {speed['over_product']['median']:.1f}× their "
            f"matrix product, {1 / speed['over_numpy']['median']:.1f}× faster than the recursion in NumPy.",
        ),
    }


def how_fast(quick: bool) -> dict[str, Any]:
    from traceprop.passes.valuation import Points, SameLabel, knn_shapley

    n, m, d = (5_000, 100, 100) if quick else (50_000, 1_000, 100)
    rng = np.random.default_rng(SEED)
    X, X_val = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)
    y, y_val = rng.integers(0, 10, n), rng.integers(0, 10, m)

    def mine(rows: int = m) -> np.ndarray:
        return knn_shapley(Points(X, X_val[:rows]), SameLabel(y, y_val[:rows]), K)

    few = m // 10
    product = interleaved(lambda: X_val @ X.T, mine, pairs=3 if quick else 9)
    numpy = interleaved(lambda: in_numpy(X, y, X_val[:few], y_val[:few], K), lambda: mine(few), pairs=3 if quick else 9)
    return {
        "training_rows": n,
        "validation_rows": m,
        "features": d,
        "dtype": "float32",
        "seconds": product["traced_seconds"],
        "product_seconds": product["plain_seconds"],
        "over_product": {key: product[key] for key in ("median", "low", "high")},
        "numpy_validation_rows": few,
        "numpy_seconds": numpy["plain_seconds"],
        "over_numpy": {key: numpy[key] for key in ("median", "low", "high")},
        "largest_difference_to_numpy": float(np.abs(mine(few) - in_numpy(X, y, X_val[:few], y_val[:few], K)).max()),
    }


def in_numpy(X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, k: int) -> np.ndarray:
    """The recursion of Jia et al. 2019 as one writes it in NumPy, twenty validation rows at a time."""
    n = len(X)
    rank = np.arange(1, n)
    step = np.minimum(k, rank) / (k * rank)
    lengths = (X * X).sum(axis=1)
    total = np.zeros(n)
    for start in range(0, len(X_val), 20):
        part = slice(start, start + 20)
        order = np.argsort(lengths - 2 * X_val[part] @ X.T, axis=1, kind="stable")
        right = (y[order] == y_val[part, None]).astype(np.float64)
        sorted_values = np.empty_like(right)
        sorted_values[:, -1] = right[:, -1] / max(k, n)
        gaps = (right[:, :-1] - right[:, 1:]) * step
        sorted_values[:, :-1] = np.cumsum(gaps[:, ::-1], axis=1)[:, ::-1] + sorted_values[:, -1:]
        rows = np.empty_like(sorted_values)
        np.put_along_axis(rows, order, sorted_values, axis=1)
        total += rows.sum(axis=0)
    return total / len(X_val)


def wrong_labels(task: Task, peers: bool) -> dict[str, Any]:
    import traceprop as tp

    store = trained(tp, task)
    common = {"gradient_store": store, "X_val": task.X_val, "y_val": task.y_val, "k": K}
    methods: dict[str, Any] = {}

    def note(name: str, run: Any) -> np.ndarray:
        kept: list[np.ndarray] = []
        time = seconds(lambda: kept.append(np.asarray(run())))
        methods[name] = {"auc": auc(task.wrong, kept[0]), "seconds": time}
        return kept[0]

    mine = note("KNN-Shapley", lambda: tp.data_valuation(**common).values)
    note("threshold KNN-Shapley", lambda: tp.data_valuation(**common, method="threshold").values)
    if len(np.unique(task.y)) == 2:
        note("weighted KNN-Shapley", lambda: tp.data_valuation(**common, method="weighted").values)
    note("KNN-Shapley of gradients", lambda: tp.data_valuation(**common, space="gradients").values)
    _, objective, theta = store.linear("the training loss")
    note("training loss, logistic regression", lambda: -objective.row_terms(theta).loss)
    estimator = "influence" if objective.size < 2_000 else "dot"
    engine = tp.attribution_engine(store, estimator)
    name = {"influence": "influence on the validation rows", "dot": "gradient dot with the validation rows"}[estimator]
    one = engine.scores(task.X_val[:1], task.y_val[:1])
    if one.verdict == "refused":
        methods[name] = {"refused": one.why}
    else:
        note(name, lambda: engine.scores(task.X_val, task.y_val).mean(axis=0))

    said = {}
    if peers:
        python, said["environment"] = environment()
        problem = {**task._asdict(), "k": K}
        del problem["wrong"]
        for library, title in (("dattri", "dattri, KNN-Shapley"), ("opendataval", "OpenDataVal, KNN-Shapley")):
            if python is None:
                continue
            try:
                theirs, time = values(python, library, problem)
            except RuntimeError as error:
                said[library] = f"failed: {error}"
                continue
            methods[title] = {
                "auc": auc(task.wrong, theirs),
                "seconds": time,
                "largest_difference_to_ours": float(np.abs(theirs - mine).max()),
                "largest_value": float(np.abs(mine).max()),
            }
    return {
        "training_rows": len(task.y),
        "validation_rows": len(task.y_val),
        "features": task.X.shape[1],
        "wrong": int(task.wrong.sum()),
        "methods": methods,
        "peers": {name: text for name, text in said.items() if text},
    }


def trained(tp: Any, task: Task) -> Any:
    """A logistic regression on the labels as they are, wrong ones included, with its gradients."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.1, tol=1e-6, max_iter=2_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(task.X, task.y)
    with tp.training_context(model, task.X, task.y) as ctx:
        pass
    return ctx.gradient_store


def auc(wrong: np.ndarray, worth: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(wrong, -worth))


def adult_task(rows: int | None) -> Task:
    data = adult.load()
    few = slice(rows)
    y, wrong = changed(data.y[few], 2)
    return Task(data.X[few].astype(np.float32), y, data.X_test.astype(np.float32), data.y_test, wrong)


def mnist_task(rows: int | None) -> Task:
    path = adult.folder() / "mnist.npz"
    if not path.exists():
        raise SystemExit(f"no {path.name}: set TRACEPROP_DATA to the folder with the data sets")
    with np.load(path) as data:
        x, y = data["x"], data["y"].astype(np.int64)
    few = slice(rows or 5_000)
    X, X_val = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (x[few], x[60_000:60_500]))
    labels, wrong = changed(y[few], 10)
    return Task(X, labels, X_val, y[60_000:60_500], wrong)


def changed(y: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Give a tenth of the labels, at random, another one of the classes."""
    rng = np.random.default_rng(SEED)
    wrong = np.zeros(len(y), dtype=bool)
    wrong[rng.choice(len(y), int(WRONG * len(y)), replace=False)] = True
    other = (y + rng.integers(1, classes, len(y))) % classes
    return np.where(wrong, other, y), wrong
