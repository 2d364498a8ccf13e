"""Are there too few rows for the parameters? Where half of the rows can be told apart without an error, no score means much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from traceprop.passes.attribution.objective import LinearObjective, flat, unflat
from traceprop.passes.unlearning.newton import minimise

SEED = 20_261_125
PLENTY = 20
"""Rows of a half per parameter of a class, above which it is looked at only where the fit makes hardly an error."""
HARDLY = 0.02
STEPS = 20
LARGE = 2_000
"""Parameters, above which their Hessian costs more than what it is asked for here."""
GRADIENTS = 300


def separable_half(objective: LinearObjective, theta: np.ndarray) -> str | None:
    """Say so where a random half of the kept rows is linearly separable (as all of them are then, or nearly); else None.

    Predictions are then free to move with any row that goes; docs/attribution.md has what scores are worth there. A
    half is separable where descent on its cross-entropy, without a penalty, comes to tell all rows apart; where it
    comes to a minimum instead, it is not.
    """
    if not objective.loss.cross_entropy or objective.count < 2:
        return None
    rows = np.flatnonzero(objective.kept)
    half = np.random.default_rng(SEED).permutation(rows)[: (len(rows) + 1) // 2]
    if len(half) > PLENTY * objective.features.shape[1] and errors(objective, theta) > HARDLY * len(rows):
        return None
    unpenalised = replace(objective, strength=0.0).without(np.setdiff1d(rows, half))
    if errors(unpenalised, theta) and errors(unpenalised, _descended(unpenalised, theta)):
        return None
    return (
        f"a random half of the {len(rows):,} training rows is linearly separable in {objective.features.shape[1]:,} features, so "
        "what a fit does without some rows is decided by the penalty alone, and no method's scores foretell it; take fewer "
        "features or more rows"
    )


def _descended(objective: LinearObjective, theta: np.ndarray) -> np.ndarray:
    """Parameters far down the loss: by Newton's method, or where its matrix is large by gradients alone (L-BFGS)."""
    if objective.size <= LARGE:
        return minimise(objective, theta, STEPS).theta
    from scipy.optimize import minimize

    def at(vector: np.ndarray) -> tuple[float, np.ndarray]:
        here = unflat(vector, objective.classes)
        return objective.first_order(here, objective.row_terms(here))

    found = minimize(
        at, flat(theta), jac=True, method="L-BFGS-B", options={"maxiter": GRADIENTS, "ftol": 0.0, "gtol": 0.0}
    )
    return unflat(found.x, objective.classes)


def errors(objective: LinearObjective, theta: np.ndarray) -> int:
    """How many kept rows the parameters (d, k) do not give their own label, ties among them."""
    logits = objective.features[objective.kept] @ theta
    y = objective.y[objective.kept]
    if objective.classes == 1:
        return int(np.count_nonzero((2.0 * y - 1.0) * logits[:, 0] <= 0))
    best = np.sort(logits, axis=1)
    return int(np.count_nonzero((logits.argmax(axis=1) != y) | (best[:, -1] <= best[:, -2])))
