"""Influence functions with the exact Hessian."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.attribution.pairs import pair_products, small

WELL_CONDITIONED = 1e6
"""A condition number, up to which H^-1 times one gradient, rounded to float32, loses no more than a product needs."""


def influence_scores(
    objective: LinearObjective, theta: Floats, curvature: Curvature, test_gradients: Floats, leave_out: bool = False
) -> NDArray[np.float32]:
    """Score -grad outcome_t^T H^-1 grad loss_i of test rows and all n training rows: float32 (t, n).

    Dropping row i's own loss term from the objective (in sum form) moves the minimum by H^-1 grad loss_i, to first
    order, and the outcome by minus this score (Koh & Liang 2017, eq. 2, without their 1/n). H is the Hessian of the
    whole objective, penalty and unpenalised intercept included.

    Only the row's own term counts here. A penalty on the *mean* loss also grows lighter against the sum of losses as
    rows go; that is the same for every row, belongs to removing it, and is in `effect`. So models that minimise one
    function give one set of scores, whatever their convention.

    Parameters
    ----------
    curvature
        Of the objective's Hessian at theta.
    test_gradients
        float64 (t, k * d): gradients of the outcomes in the parameters, class-major.
    leave_out
        With H of the rows that stay instead: one Newton step without row i, which its leverage tells (Pregibon 1981).
    """
    gradient: Any = _left_out(objective, theta, curvature) if leave_out else objective.row_terms(theta).gradient
    if small(objective.features, gradient) or curvature.condition <= WELL_CONDITIONED:
        return pair_products(-curvature.solve(test_gradients.T).T, objective.features, gradient)
    return pair_products(-test_gradients, objective.features, gradient, curvature.root)


def parameter_gradients(features: Floats, logit_gradients: Floats) -> Floats:
    """Gradients in the parameters of functions of one row's logits: float64 (t, k * d), class-major."""
    return (logit_gradients[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def _left_out(objective: LinearObjective, theta: Floats, curvature: Curvature) -> Floats:
    """Logit gradients (n, k) that give, with the inverse of the whole H, what those of the rows give with H less the row's.

    (H - A^T W A)^-1 A^T g = H^-1 A^T (I - W A H^-1 A^T)^-1 g, for a row's features A by classes and its k x k Hessian W.
    """
    terms = objective.row_terms(theta)
    n, classes = terms.gradient.shape
    d = objective.features.shape[1]
    spread = np.empty((n, classes, classes))
    for label in range(classes):
        columns = np.zeros((classes, d, d))
        columns[label] = np.eye(d)
        inverse = curvature.solve(columns.reshape(classes * d, d)).reshape(classes, d, d)
        for other in range(classes):
            spread[:, other, label] = ((objective.features @ inverse[other]) * objective.features).sum(axis=1)
    system = np.eye(classes) - terms.hessian @ spread
    solved: Any = np.linalg.solve(system, terms.gradient[:, :, None])[:, :, 0]
    return np.asarray(solved)
