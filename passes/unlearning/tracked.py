"""A Hessian that follows the parameters: only rows whose curvature changed are counted anew."""

from __future__ import annotations

import numpy as np

from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.passes.attribution.objective import LinearObjective, add_penalty, loss_hessian

TOLERATED = 0.1
"""How far a row's curvature may drift from what it is counted as, as a share of that."""
FLOOR = 1e-12
"""And below which share of the mean row's curvature drift does not count."""
MOST_ROWS = 0.3
"""From which share of drifted rows on summing all rows is no dearer."""


class TrackedHessian:
    """The Hessian of an objective's kept rows, each counted with the curvature that it had when it last drifted too far.

    With one logit, H = sum_i w_i a_i a_i^T + penalty. If every counted w'_i is within a share d of w_i, the tracked matrix is
    within that share of H in every direction, so Newton steps by it converge at rate d at least, and nothing is summed
    over rows that stay as they were. With more logits, all rows are summed each time.
    """

    def __init__(self, objective: LinearObjective, terms: Terms) -> None:
        self._objective = objective
        self._counted = terms.hessian
        self._loss_part = loss_hessian(objective.features, terms)

    @staticmethod
    def known(objective: LinearObjective, theta: Floats, hessian: Floats) -> TrackedHessian:
        """From a Hessian that was summed before, penalty included."""
        tracked = TrackedHessian.__new__(TrackedHessian)
        tracked._objective = objective
        tracked._counted = objective.row_terms(theta).hessian
        tracked._loss_part = add_penalty(hessian.copy(), -objective.rho * objective.penalised)
        return tracked

    @property
    def matrix(self) -> Floats:
        """float64 (k * d, k * d), the penalty included."""
        return add_penalty(self._loss_part.copy(), self._objective.rho * self._objective.penalised)

    def follow(self, objective: LinearObjective, terms: Terms) -> None:
        """Count rows anew whose curvature drifted. Rows that went have none any more, so this is also how they go.

        `objective` is over the same features; `terms` are of all its rows, zero for those that are gone.
        """
        self._objective = objective
        now, before = terms.hessian[:, 0, 0], self._counted[:, 0, 0]
        if terms.hessian.shape[1] > 1:
            drifted = np.arange(len(now))
        else:
            drifted = np.flatnonzero(np.abs(now - before) > TOLERATED * np.minimum(now, before) + FLOOR * now.mean())
        if len(drifted) > MOST_ROWS * len(now):
            self._counted, self._loss_part = terms.hessian, loss_hessian(objective.features, terms)
        elif len(drifted):
            rows = objective.features[drifted]
            self._loss_part = self._loss_part + rows.T @ ((now - before)[drifted, None] * rows)
            self._counted = self._counted.copy()
            self._counted[drifted] = terms.hessian[drifted]

    def least(self, curvature: float, terms: Terms) -> float:
        """A lower bound on the least curvature of H itself, given that of the tracked matrix."""
        if terms.hessian.shape[1] > 1:
            return curvature
        lengths = self._objective.row_norms
        return (1.0 - TOLERATED) * curvature - FLOOR * float(terms.hessian.mean()) * float(lengths @ lengths)
