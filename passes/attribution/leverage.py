"""How much each training row holds of its own fit (Pregibon 1981, "Logistic regression diagnostics")."""

from __future__ import annotations

from typing import Any

import numpy as np

from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.passes.attribution.objective import LinearObjective

HIGH = 0.5
"""A leverage, from which on removing a row does twice what its score says, or more."""
ALONE = 1.0 - 1e-9
"""A leverage, from which on nothing but the row itself decides some direction of the parameters."""
ROUGHLY = 1e6
"""A condition number, up to which float32 gives the first digits."""
_NEAR = 1 << 18


def leverages(objective: LinearObjective, terms: Terms, curvature: Curvature, rough: bool = False) -> Floats:
    """The largest eigenvalue of W A H^-1 A^T of each row, its features A by classes and its Hessian W: float64 (n,), 0 to 1.

    The fit without a row has the Hessian H - A^T W A: at leverage 1 it is flat in a direction. `rough` takes the digits of
    float32 for leverages that are not high.
    """
    if objective.classes > 1:
        shares = terms.hessian @ spreads(objective, curvature)
        return np.asarray(np.linalg.eigvals(shares).real.max(axis=1))
    weights, root = terms.hessian[:, 0, 0], curvature.root
    if not rough or curvature.condition > ROUGHLY:
        return weights * _squares(objective.features, root)
    found = weights * _squares(objective.features, root.astype(np.float32))
    high = np.flatnonzero(found > 0.9 * HIGH)
    found[high] = weights[high] * _squares(objective.features[high], root)
    return found


def _squares(features: Floats, root: Any) -> Floats:
    """|R a|^2 of each row, in the arithmetic of R: float64 (n,)."""
    found = np.empty(len(features))
    step = max(1, _NEAR // max(len(root), 1))
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        turned = features[rows].astype(root.dtype, copy=False) @ root.T
        found[rows] = np.einsum("ij,ij->i", turned, turned)
    return found


def spreads(objective: LinearObjective, curvature: Curvature) -> Floats:
    """A H^-1 A^T of each row: float64 (n, k, k), how uncertain its logits are."""
    classes, d = objective.classes, objective.features.shape[1]
    spread = np.empty((len(objective.features), classes, classes))
    for label in range(classes):
        columns = np.zeros((classes, d, d))
        columns[label] = np.eye(d)
        inverse = curvature.solve(columns.reshape(classes * d, d)).reshape(classes, d, d)
        for other in range(classes):
            spread[:, other, label] = ((objective.features @ inverse[other]) * objective.features).sum(axis=1)
    return spread


def left_out(objective: LinearObjective, terms: Terms, curvature: Curvature) -> Floats:
    """Logit gradients (n, k) that give, with the inverse of the whole H, what those of the rows give with H less the row's.

    (H - A^T W A)^-1 A^T g = H^-1 A^T (I - W A H^-1 A^T)^-1 g. A row that stands alone keeps the gradient that it has:
    without it there is no one answer.
    """
    if objective.classes == 1:
        left: Any = 1.0 - leverages(objective, terms, curvature)
        return np.asarray(terms.gradient / np.where(left > 1.0 - ALONE, left, 1.0)[:, None])
    system = np.eye(objective.classes) - terms.hessian @ spreads(objective, curvature)
    alone = np.linalg.eigvals(system).real.min(axis=1) <= 1.0 - ALONE
    system[alone] = np.eye(objective.classes)
    solved: Any = np.linalg.solve(system, terms.gradient[:, :, None])[:, :, 0]
    return np.asarray(solved)
