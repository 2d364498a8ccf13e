"""What removing a whole set of rows would do to the outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.passes.attribution.objective import LinearObjective, add_penalty, loss_hessian, unflat
from traceprop.passes.attribution.outcome import Outcome, outcome_gradients, outcome_values


def removal_effects(
    objective: LinearObjective,
    theta: Floats,
    hessian: Floats,
    subsets: Sequence[NDArray[np.int64]],
    test_features: Floats,
    y_test: NDArray[Any],
    outcome: Outcome,
    order: Literal["newton", "first"] = "newton",
) -> NDArray[np.float32]:
    """Predict the change of each outcome when each set of training rows is removed: float32 (s, t).

    The gradient that a removal leaves behind is that of the removed losses, and for a penalty on the mean loss also
    the part of the penalty that goes with them. `"newton"` divides it by the Hessian of what *stays* and evaluates the
    outcomes at the parameters that result (the group effect; Koh et al. 2019, "On the accuracy of influence functions
    for measuring group effects"). `"first"` divides by the full Hessian and follows the outcomes' gradients: a sum over
    rows of minus their scores.

    Parameters
    ----------
    hessian
        Of the objective at theta, (k * d, k * d), class-major.
    subsets
        Positions of training rows, one int64 array per set.
    """
    terms = objective.row_terms(theta)
    logits = test_features @ theta
    before = outcome_values(outcome, objective.loss, logits, y_test)
    slopes = outcome_gradients(outcome, objective.loss, logits, y_test)
    full = Curvature.of(hessian)
    out = np.empty((len(subsets), len(test_features)), dtype=np.float32)
    for position, rows in enumerate(subsets):
        rest = objective.without(rows)
        lost_penalty = (objective.rho - rest.rho) * objective.penalised
        features = objective.features[rows]
        left = (features.T @ terms.gradient[rows] + lost_penalty[:, None] * theta).T.ravel()
        curvature = full if order == "first" else Curvature.of(_rest_hessian(objective, rest, hessian, terms, rows))
        change = test_features @ unflat(curvature.solve(left), objective.classes)
        if order == "first":
            out[position] = (slopes * change).sum(axis=1)
        else:
            out[position] = outcome_values(outcome, objective.loss, logits + change, y_test) - before
    return out


def _rest_hessian(
    objective: LinearObjective, rest: LinearObjective, hessian: Floats, terms: Terms, rows: NDArray[np.int64]
) -> Floats:
    """Give the Hessian without the rows: by taking theirs away where they are few, else by adding up the others'."""
    few = len(rows) < len(objective.features) // 4
    at = rows if few else np.flatnonzero(rest.kept)
    part = loss_hessian(objective.features[at], Terms(terms.loss[at], terms.gradient[at], terms.hessian[at]))
    if not few:
        return add_penalty(part, rest.rho * rest.penalised)
    return add_penalty(hessian - part, (rest.rho - objective.rho) * rest.penalised)
