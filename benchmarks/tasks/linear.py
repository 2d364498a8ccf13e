"""Logistic regressions that other libraries are measured on too: Adult and Covertype, C = 10."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tasks import adult
from benchmarks.tasks.problem import Problem


@dataclass(frozen=True)
class LinearTask:
    """Features float64 (n, d) and labels int64 (n,), 0 or 1."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def recipe(self) -> str:
        """All that decides a fit but its rows."""
        return f"logistic regression, C = {adult.C}"

    def fitted(self) -> Any:
        """The model of all rows, by L-BFGS to 1e-8."""
        return adult.new_model().fit(self.X, self.y)

    def retrained_margins(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Fit some rows: log p_y / (1 - p_y) of the test rows, float64 (t,). The minimum is one, so the seed is of no account.

        Fitted by scikit-learn's Newton solver to 1e-10: the minimum of the same objective, sooner than by L-BFGS.
        """
        model = adult.new_model().set_params(solver="newton-cholesky", tol=1e-10).fit(self.X[rows], self.y[rows])
        return adult.margins(model, self.X_test, self.y_test)

    def recorded(self) -> tuple[Any, Problem]:
        """Fit all rows: a gradient store, and the problem as other libraries see it."""
        import traceprop as tp

        start = time.process_time()
        model = self.fitted()
        fit = time.process_time() - start
        with tp.training_context(model, self.X, self.y, source_id=self.name) as ctx:
            pass
        weights = {"weight": model.coef_, "bias": model.intercept_}
        architecture = {"kind": "linear", "features": self.X.shape[1], "C": adult.C}
        problem = Problem(
            self.name, self.X, self.y, self.X_test, self.y_test, architecture, weights, [weights], {}, fit
        )
        return ctx.gradient_store, problem


def census() -> LinearTask:
    """Adult: 6,000 and 500 rows, 100 features."""
    rows = adult.load()
    return LinearTask("Adult", rows.X, rows.y, rows.X_test, rows.y_test)


def forests() -> LinearTask:
    """Covertype (CC BY 4.0): lodgepole pine against the rest, 50,000 and 500 rows, 54 features."""
    import pandas as pd
    from sklearn.preprocessing import StandardScaler

    path = adult.folder() / "covertype_177k.csv.gz"
    if not path.exists():
        raise SystemExit(f"no {path.name}: set TRACEPROP_DATA to the folder with the data sets")
    table = pd.read_csv(path).to_numpy(np.float64)
    X, y = table[:, :-1], (table[:, -1] == 2).astype(np.int64)
    order = np.random.RandomState(42).permutation(len(X))  # the split that published figures are of
    train, test = order[:50_000], order[50_000:50_500]
    scaler = StandardScaler().fit(X[train])
    # Rounded to float32 once, as the published figures' features are.
    X_train, X_test = (scaler.transform(X[part]).astype(np.float32).astype(np.float64) for part in (train, test))
    return LinearTask("Covertype", X_train, y[train], X_test, y[test])
