"""The certificate of a removal: what is left of the gradient, and how much of that a chain of removals may leave."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BUDGET_PER_GRADIENT = 1e-4
"""The default budget, in units of the summed norms of the rows' own gradients."""


@dataclass(eq=False)
class Ledger:
    """What the removals of one chain have left of the gradient, against what they may leave together.

    The residual of a removal is |grad F-(theta)|, in sum form, at the parameters that are handed out: 0 for the retrained
    model. Guo et al. 2020 ("Certified data removal from machine learning models", section 3.2 and theorem 3) bound what is to be
    learned of the rows that went by the *sum* of the residuals of all removals so far: a model trained with the perturbation
    b.theta, b normal with deviation sigma, is (epsilon, delta)-certified while that sum is at most
    sigma * epsilon / sqrt(2 log(1.5 / delta)).

    Attributes
    ----------
    budget
        The largest sum of residuals.
    entries
        What was removed, in words, and the residual it left.
    """

    budget: float
    entries: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise ValueError(f"a removal budget is a number above 0, not {self.budget}")

    @property
    def spent(self) -> float:
        """The sum of the residuals so far."""
        return math.fsum(residual for _, residual in self.entries)

    @property
    def left(self) -> float:
        return max(self.budget - self.spent, 0.0)

    def affords(self, residual: float) -> bool:
        """Whether one more removal with that residual stays within the budget."""
        return self.spent + residual <= self.budget

    def enter(self, asked: str, residual: float) -> None:
        """Write a removal down. Raises ValueError for one that the budget does not afford; nothing is written then."""
        if not self.affords(residual):
            raise ValueError(f"{asked} would leave {residual:.1e}, and {self.left:.1e} of the budget is left")
        self.entries.append((asked, float(residual)))


def budget_for(sigma: float, epsilon: float, delta: float) -> float:
    """Give the budget that keeps a model trained with the perturbation b.theta, b ~ N(0, sigma^2 I), certified.

    (epsilon, delta)-certified: no test tells the corrected model from the retrained one with better odds than those
    (Guo et al. 2020, theorem 3). In sum form, as the objective: sigma is that of the perturbation of the *sum* of losses.
    """
    if not (sigma > 0 and epsilon > 0 and 0 < delta < 1):
        raise ValueError(f"sigma and epsilon are above 0 and delta between 0 and 1, not {sigma}, {epsilon}, {delta}")
    return sigma * epsilon / math.sqrt(2.0 * math.log(1.5 / delta))
