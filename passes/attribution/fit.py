"""Is this a minimum? Influence assumes that it is, so every answer says how near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.passes.attribution.objective import LinearObjective, add_penalty, loss_hessian, unflat
from traceprop.passes.attribution.separable import errors

CONVERGED_SHIFT = 1e-3
CONVERGED_GRADIENT = 1e-6
"""A fit counts as converged when one more Newton step moves no training logit by more than the first, or when the
gradient norm is at most the second times the mean norm of the rows' own gradients, which cancel at a minimum."""

ESCAPING_SHIFT = 0.2
"""Where a tiny gradient still leaves a Newton step this large, in logits, the minimum is at infinity."""

ILL_CONDITIONED = 1e10
"""A condition number of the Hessian, scaled to a unit diagonal, from which on its inverse has no six right digits."""

Verdict = Literal["exact", "estimated", "refused"]


@dataclass(frozen=True, eq=False)
class FitCheck:
    """How near parameters are to a minimum of their objective.

    Attributes
    ----------
    gradient_norm
        |grad F| / n, the Euclidean norm of the gradient of the *mean* loss with its penalty.
    shift
        The largest change of a training logit that one more Newton step would make. Unlike the gradient's norm it
        does not depend on the units of the features, and it stays large where the minimum is at infinity.
    terms
        What all rows add to the objective there.
    """

    gradient_norm: float
    shift: float
    verdict: Verdict
    why: str
    hessian: Floats
    curvature: Curvature
    terms: Terms


def check_fit(objective: LinearObjective, theta: Floats) -> FitCheck:
    """Judge parameters (d, k) by the gradient of their objective and by the Newton step that is left."""
    terms = objective.row_terms(theta)
    _, gradient = objective.first_order(theta, terms)
    hessian = add_penalty(loss_hessian(objective.features, terms), objective.rho * objective.penalised)
    curvature = Curvature.of(hessian)
    norm = float(np.linalg.norm(gradient)) / max(objective.count, 1)
    step = unflat(curvature.solve(gradient), objective.classes)
    shift = float(np.abs((objective.features @ step)[objective.kept]).max(initial=0.0))
    verdict, why = _judge(objective, theta, curvature, norm, shift)
    return FitCheck(norm, shift, verdict, why, hessian, curvature, terms)


def _judge(
    objective: LinearObjective, theta: Floats, curvature: Curvature, norm: float, shift: float
) -> tuple[Verdict, str]:
    if curvature.negative:
        return "refused", "the loss curves downwards at these parameters, so they are no minimum and nothing follows"
    if objective.strength == 0 and objective.loss.cross_entropy:
        if not errors(objective, theta):
            return "refused", (
                "the training rows are separable and nothing is penalised, so the best parameters are infinite and no "
                "row has a finite influence; fit with an L2 penalty"
            )
        if norm < 1e-3 and shift > ESCAPING_SHIFT:
            return "refused", (
                f"the gradient is small ({norm:.1e}) but a Newton step still moves a logit by {shift:.2g}: some rows "
                "are separable and nothing is penalised, so the best parameters are infinite; fit with an L2 penalty"
            )
    if shift > CONVERGED_SHIFT and norm > CONVERGED_GRADIENT * row_gradient_size(objective, theta):
        return "estimated", (
            f"the fit has not converged: the gradient norm of the mean loss is {norm:.1e}, and one more Newton step "
            f"would move a training logit by {shift:.1e}; fit to a smaller tolerance for an exact answer"
        )
    if curvature.condition > ILL_CONDITIONED:
        return "estimated", (
            f"the Hessian's condition number is {curvature.condition:.1e}: columns all but repeat one another, and its inverse "
            f"has few right digits; drop such columns or raise the penalty. The gradient norm is {norm:.1e}"
        )
    return "exact", (
        f"exact Hessian with the penalty, condition number {curvature.condition:.1e}, at a fit whose gradient norm is {norm:.1e}"
    )


def row_gradient_size(objective: LinearObjective, theta: Floats) -> float:
    """Mean Euclidean norm of the kept rows' own gradients: |g_i| |a_i|, as gradients are outer products."""
    gradient = objective.row_terms(theta).gradient
    size = np.sqrt((gradient**2).sum(axis=1)) * objective.row_norms
    return float(size[objective.kept].mean()) if objective.count else 0.0
