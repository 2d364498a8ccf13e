"""Influence through the pipeline on Adult: do scores rank whole pipelines that were really run again on half of the rows?

Truth, for every subset: encoder, scaler, features of training and test rows, and the model, all from the rows that stay.

Every half is run again, and its complement too: what is additive in the rows is in the difference of the two alone, so its rank
correlation with the half says how far any sum over rows could come.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import table
from benchmarks.lds import lds
from benchmarks.tasks.adult import folder
from benchmarks.tasks.timing import cpu_seconds

SEED = 20_261_124
SUBSETS, TESTS = 100, 500
CATEGORIES = ["workclass", "education", "marital-status", "occupation", "relationship", "race", "sex", "native-country"]
NUMBERS = ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
CROSSED = ["occupation × education", "workclass × marital-status"]
CACHE = Path(__file__).parent / "cache"


def main(quick: bool = False) -> dict[str, Any]:
    warnings.filterwarnings("ignore", message=".*was not among the fitting rows")
    cases = [(2_000, "target-encoded"), (6_000, "target-encoded"), (6_000, "scaled only")]
    found = [_case(rows, kind, quick) for rows, kind in (cases[:1] if quick else cases)]
    return {
        "task": "adult, logistic regression, C = 1, on target-encoded categories, single and crossed, or on numbers alone",
        "test_rows": TESTS,
        "subsets": 8 if quick else SUBSETS,
        "seed": SEED,
        "cases": found,
        "table": table(
            [
                "adult, whole pipelines run again",
                "features fixed",
                "through the pipeline",
                "banzhaf",
                "a sum could reach",
                "effect of a whole set",
                "cost",
                "cost of banzhaf",
            ],
            [
                [
                    f"{case['features']}, n = {case['rows']:,}",
                    f"{case['lds_frozen']:.3f}",
                    f"{case['lds_pipeline']:.3f}",
                    f"{case['lds_banzhaf']:.3f}",
                    f"{case['most_additive']:.3f}",
                    f"{case['lds_effect']:.3f}",
                    f"{case['seconds']:.2f} s ({case['cost']:.1f}×)",
                    f"{case['seconds_banzhaf']:.1f} s",
                ]
                for case in found
            ],
            f"LDS over {TESTS} test rows, against {8 if quick else SUBSETS} pipelines and models run again on random halves of "
            "the rows. A sum could reach: the LDS of f(S) − f(rest), which holds all that is additive in f. Cost: CPU time of "
            "all scores through the pipeline, one thread, and over that of one run again.",
        ),
    }


def _case(rows: int, kind: str, quick: bool) -> dict[str, Any]:
    import traceprop as tp

    prepare = tp.trace(encoded if kind == "target-encoded" else scaled)
    people, new = frames(rows)
    X, y = prepare(tp.from_dataframe(people, source_id="people"))
    X_new, labels = prepare.fit(tp.from_dataframe(people, source_id="people"))(tp.from_dataframe(new, source_id="new"))
    y_new = np.asarray(labels)
    with tp.training_context(_fit(np.asarray(X), np.asarray(y)), X, y) as ctx:
        pass
    store = ctx.gradient_store
    kept, truth, others = _truth(prepare, people, new, y_new, kind, 8 if quick else SUBSETS)
    engine = tp.attribution_engine(store, through="pipeline")
    scores = engine.scores(X_new, y_new)
    frozen = tp.attribution_engine(store, through="features").scores(X_new, y_new)
    effects = engine.effect(~kept, X_new, y_new)
    mask = kept[0]
    halves = tp.attribution_engine(store, "banzhaf", through="pipeline").scores(X_new, y_new)

    def scored(estimator: str) -> Any:
        return tp.attribution_engine(store, estimator, through="pipeline").scores(X_new, y_new)

    ours, averaged, again = cpu_seconds(
        lambda: scored("influence"),
        lambda: scored("banzhaf"),
        lambda: _again(prepare, people, new, y_new, mask),
        rounds=1 if quick else 3,
    )
    members = kept.astype(np.float32)
    return {
        "rows": rows,
        "features": kind,
        "columns": int(X.shape[1]),
        "lds_frozen": float(lds(members @ np.asarray(frozen).T, truth).mean()),
        "lds_pipeline": float(lds(members @ np.asarray(scores).T, truth).mean()),
        "lds_banzhaf": float(lds(members @ np.asarray(halves).T, truth).mean()),
        "most_additive": float(lds(truth - others, truth).mean()),
        "lds_effect": float(lds(np.asarray(effects), truth).mean()),
        "verdict": scores.verdict,
        "why": scores.why,
        "cost": ours["seconds"] / again["seconds"],
        "seconds": ours["seconds"],
        "seconds_banzhaf": averaged["seconds"],
        "seconds_again": again["seconds"],
    }


def frames(rows: int) -> tuple[Any, Any]:
    """Training and test rows, shuffled with a fixed seed, and two crossed categories."""
    import polars as pl

    path = folder() / "adult.csv.gz"
    if not path.exists():
        raise SystemExit(f"no {path.name}: set TRACEPROP_DATA to the folder with the data sets")
    data = pl.read_csv(path)
    rich = (data["income"].str.strip_chars(" .") == ">50K").cast(pl.Int64)
    crossed = [pl.concat_str(name.split(" × "), separator=" × ", ignore_nulls=True).alias(name) for name in CROSSED]
    data = (
        data.select([*CATEGORIES, *NUMBERS]).with_columns(*crossed, rich=rich).sample(fraction=1, seed=7, shuffle=True)
    )
    return data[:rows], data[rows : rows + TESTS]


def encoded(people: Any) -> Any:
    names = [*CATEGORIES, *CROSSED]
    x = people.target_encode(names, "rich", smoothing=1.0).select([*names, *NUMBERS]).to_numpy("float64")
    return (x - x.mean(axis=0)) / x.std(axis=0), people["rich"]


def scaled(people: Any) -> Any:
    x = people.select(NUMBERS).to_numpy("float64")
    return (x - x.mean(axis=0)) / x.std(axis=0), people["rich"]


def _fit(X: np.ndarray, y: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(X, y)


def _again(prepare: Any, people: Any, new: Any, y_new: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The margins of the new rows with everything from the rows that stay."""
    import polars as pl

    import traceprop as tp

    rest = tp.from_dataframe(people.filter(pl.Series(mask)), source_id="people")
    X, y = prepare(rest)
    X_new, _ = prepare.fit(rest)(tp.from_dataframe(new, source_id="new"))
    return _fit(np.asarray(X), np.asarray(y)).decision_function(np.asarray(X_new)) * (2 * y_new - 1)


def _truth(
    prepare: Any, people: Any, new: Any, y_new: np.ndarray, kind: str, subsets: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Halves of the rows, (s, n), the new rows' margins without the others, (s, t), and with the others alone."""
    from rich.progress import track

    rows = len(people)
    path = CACHE / f"pipeline_{kind.replace(' ', '_')}_{rows}_{SEED}_{subsets}_both.npz"
    if path.exists():
        with np.load(path) as stored:
            return stored["kept"], stored["margins"], stored["others"]
    rng = np.random.default_rng(SEED)
    kept = np.zeros((subsets, rows), dtype=bool)
    margins, others = np.empty((2, subsets, len(y_new)))
    for k in track(range(subsets), description="running again", transient=True):
        kept[k, rng.permutation(rows)[: rows // 2]] = True
        margins[k] = _again(prepare, people, new, y_new, kept[k])
        others[k] = _again(prepare, people, new, y_new, ~kept[k])
    CACHE.mkdir(exist_ok=True)
    np.savez_compressed(path, kept=kept, margins=margins, others=others)
    return kept, margins, others
