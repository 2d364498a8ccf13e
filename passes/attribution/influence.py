"""Influence functions with the exact Hessian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.leverage import left_out
from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.attribution.pairs import pair_products, small

WELL_CONDITIONED = 1e6
"""A condition number, up to which H^-1 times one gradient, rounded to float32, loses no more than a product needs."""


def influence_scores(
    objective: LinearObjective,
    theta: Floats,
    curvature: Curvature,
    test_gradients: Floats,
    leave_out: bool = False,
    terms: Terms | None = None,
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
    terms
        Of all rows at theta, where they are known.
    """
    terms = objective.row_terms(theta) if terms is None else terms
    gradient = left_out(objective, terms, curvature) if leave_out else terms.gradient
    if small(objective.features, gradient) or curvature.condition <= WELL_CONDITIONED:
        return pair_products(-curvature.solve(test_gradients.T).T, objective.features, gradient)
    return pair_products(-test_gradients, objective.features, gradient, curvature.root)


def parameter_gradients(features: Floats, logit_gradients: Floats) -> Floats:
    """Gradients in the parameters of functions of one row's logits: float64 (t, k * d), class-major."""
    return (logit_gradients[:, :, None] * features[:, None, :]).reshape(len(features), -1)
