"""Census income (Adult, CC BY 4.0): 6,000 training and 500 test rows, 100 standardised columns, C = 10."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

C = 10.0
TRAIN_ROWS, TEST_ROWS = 6_000, 500


class Adult(NamedTuple):
    """Features float64 (n, 100) with their columns' names, and labels int64 (n,): 1 for an income above 50,000."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    columns: list[str]


def folder() -> Path:
    """The data sets: $TRACEPROP_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("TRACEPROP_DATA")
    return Path(named) if named else Path(__file__).parents[3] / "shared" / "data"


def load(data: Path | None = None) -> Adult:
    """Read, one-hot without the first category, shuffle with a fixed seed, standardise by the training rows."""
    import pandas as pd
    from sklearn.preprocessing import StandardScaler

    path = (data or folder()) / "adult.csv.gz"
    if not path.exists():
        raise SystemExit(f"no {path.name}: set TRACEPROP_DATA to the folder with the data sets")
    frame = pd.read_csv(path)
    y = (frame.pop("income").str.strip(" .") == ">50K").to_numpy().astype(np.int64)
    table = pd.get_dummies(frame, drop_first=True)
    X = table.to_numpy(np.float64)
    order = np.random.RandomState(42).permutation(len(X))  # the split that published figures are of
    train, test = order[:TRAIN_ROWS], order[TRAIN_ROWS : TRAIN_ROWS + TEST_ROWS]
    scaler = StandardScaler().fit(X[train])
    # Rounded to float32 once, as the published figures' features are.
    rounded = (scaler.transform(X[part]).astype(np.float32).astype(np.float64) for part in (train, test))
    X_train, X_test = rounded
    return Adult(X_train, y[train], X_test, y[test], list(table.columns))


def new_model() -> Any:
    """An unfitted logistic regression: C times the sum of losses plus half the squared weights, by L-BFGS."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, tol=1e-8, max_iter=5000)


def margins(model: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give log p_y / (1 - p_y): float64 (n,)."""
    return model.decision_function(X) * (2 * y - 1)
