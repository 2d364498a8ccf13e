"""Influence functions with the exact Hessian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.dot import blocks
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective


def influence_scores(
    objective: LinearObjective, theta: Floats, curvature: Curvature, test_gradients: Floats
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
    """
    gradient = objective.row_terms(theta).gradient
    classes = gradient.shape[1]
    out = np.empty((len(test_gradients), len(gradient)), dtype=np.float32)
    for block in blocks(len(test_gradients), len(gradient)):
        moved = -curvature.solve(test_gradients[block].T).T.reshape(-1, classes, objective.features.shape[1])
        scores = moved[:, 0] @ objective.features.T
        scores *= gradient[:, 0]
        for label in range(1, classes):
            scores += (moved[:, label] @ objective.features.T) * gradient[:, label]
        out[block] = scores
    return out


def parameter_gradients(features: Floats, logit_gradients: Floats) -> Floats:
    """Gradients in the parameters of functions of one row's logits: float64 (t, k * d), class-major."""
    return (logit_gradients[:, :, None] * features[:, None, :]).reshape(len(features), -1)
