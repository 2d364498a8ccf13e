"""Linear datamodeling score on Adult: do predicted sums over half of the rows rank as retrained models do?

For each test row, Spearman's correlation over subsets between the sum of the scores of the rows that stay and the
margin of a model really retrained on them; the mean over test rows (Park et al. 2023, "TRAK", section 2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import table
from benchmarks.tasks.adult import Adult, load, margins, new_model
from benchmarks.tasks.timing import cpu_seconds

SEED = 20_240_601
SUBSETS = 100
CACHE = Path(__file__).parent / "cache"


def main(quick: bool = False) -> dict[str, Any]:
    import traceprop as tp

    data = load()
    model = new_model().fit(data.X, data.y)
    kept, truth = retrained(data, 8 if quick else SUBSETS)
    with tp.training_context(model, data.X, data.y) as ctx:
        pass
    engine = tp.attribution_engine(ctx.gradient_store, "influence")
    some = ~kept[:10]
    influence, dot, effect, fit = cpu_seconds(
        lambda: _fresh_scores(tp, model, data, "influence"),
        lambda: _fresh_scores(tp, model, data, "dot"),
        lambda: engine.effect(some, data.X_test, data.y_test),
        lambda: new_model().fit(data.X, data.y),
        rounds=2 if quick else 9,
    )
    effect = {name: value / len(some) for name, value in effect.items()}

    methods = {}
    for name, estimator, cost in (("influence", "influence", influence), ("gradient dot", "dot", dot)):
        scores = _fresh_scores(tp, model, data, estimator)
        methods[name] = _figures(kept.astype(np.float32) @ np.asarray(scores).T, truth, cost, scores.verdict)
    effects = engine.effect(~kept, data.X_test, data.y_test)
    methods["influence, effect of a whole set"] = _figures(np.asarray(effects), truth, effect, effects.verdict)
    return {
        "task": "adult, logistic regression, C = 10",
        "training_rows": len(data.y),
        "features": data.X.shape[1],
        "test_rows": len(data.y_test),
        "subsets": len(kept),
        "seed": SEED,
        "fit_cpu_seconds": fit["seconds"],
        "methods": methods,
        "table": table(
            ["adult, logistic regression", "LDS", "sd over test rows", "cost"],
            [
                [name, f"{found['lds']:.3f}", f"{found['sd']:.3f}", f"{found['cost']:.2f}×"]
                for name, found in methods.items()
            ],
            f"LDS: mean over {len(data.y_test)} test rows, against {len(kept)} models retrained on random halves of "
            f"{len(data.y):,} rows. Cost: CPU time, one thread, over that of one fit (L-BFGS to 1e-8); for influence and dot "
            "of all scores, for the effect of one set.",
        ),
    }


def retrained(data: Adult, subsets: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stay, bool (s, n), and the margins of models really retrained on them, (s, t); kept in the cache.

    Fitted by scikit-learn's Newton solver to 1e-10: the minimum of the same objective, sooner than by L-BFGS.
    """
    from rich.progress import track

    path = CACHE / f"lds_adult_{SEED}_{subsets}.npz"
    if path.exists():
        with np.load(path) as stored:
            return np.unpackbits(stored["kept"], axis=1)[:, : len(data.y)].astype(bool), stored["margins"]
    rng = np.random.default_rng(SEED)
    kept = np.zeros((subsets, len(data.y)), dtype=bool)
    found = np.empty((subsets, len(data.y_test)))
    for mask, row in track(list(zip(kept, found, strict=True)), description="retraining", transient=True):
        mask[rng.permutation(len(data.y))[: len(data.y) // 2]] = True
        model = new_model().set_params(solver="newton-cholesky", tol=1e-10).fit(data.X[mask], data.y[mask])
        row[:] = margins(model, data.X_test, data.y_test)
    CACHE.mkdir(exist_ok=True)
    np.savez_compressed(path, kept=np.packbits(kept, axis=1), margins=found)
    return kept, found


def lds(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Spearman's correlation over subsets, for each test row: (s, t) and (s, t) give (t,)."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=0) for values in (predicted, truth))
    a -= a.mean(axis=0)
    b -= b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


def _fresh_scores(tp: Any, model: Any, data: Adult, estimator: str) -> Any:
    """Everything that attribution costs after a fit: the context, the Hessian, the scores."""
    with tp.training_context(model, data.X, data.y) as ctx:
        pass
    return tp.attribution_engine(ctx.gradient_store, estimator).scores(data.X_test, data.y_test)


def _figures(predicted: np.ndarray, truth: np.ndarray, cost: dict[str, float], verdict: str) -> dict[str, Any]:
    found = lds(predicted, truth)
    return {
        "lds": float(found.mean()),
        "sd": float(found.std()),
        "standard_error": float(found.std() / np.sqrt(len(found))),
        "cpu_seconds": cost["seconds"],
        "cost": cost["ratio"],
        "verdict": verdict,
    }
