"""Whether a network that was made to forget is as good as before on other rows, and whether forgetting shows at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from traceprop.passes.attribution.losses import Floats

WORSE = 0.01
"""How much of the accuracy may be lost, beside what is within chance."""
LOSSES = 1.5
CHANCE = 0.05


@dataclass(frozen=True, eq=False)
class Held:
    """Rows that were not asked to be forgotten: their losses (m,) before and after, and which were right; None for numbers."""

    what: str
    before: Floats
    after: Floats
    right_before: np.ndarray | None = None
    right_after: np.ndarray | None = None

    def worse(self) -> str | None:
        """Say how the rows are worse off than chance allows; None where they are not.

        Classes: a share of right answers that fell by more than 0.01 and two standard errors of the paired difference. Other
        targets: a mean loss that rose by more than half and two such errors.
        """
        if not len(self.before):
            return None
        if self.right_before is None or self.right_after is None:
            change = self.after - self.before
            error = float(change.std()) / np.sqrt(len(change))
            before, after = float(self.before.mean()), float(self.after.mean())
            if not after <= LOSSES * before + 2.0 * error:
                return f"the mean loss of {self.what} is {after:.3g} after it, and was {before:.3g}"
            return None
        change = self.right_after.astype(float) - self.right_before
        error = float(change.std()) / np.sqrt(len(change))
        before, after = float(self.right_before.mean()), float(self.right_after.mean())
        if after < before - WORSE - 2.0 * error or not np.isfinite(self.after).all():
            return f"of {self.what} {after:.1%} are right after it, and {before:.1%} were"
        return None


def area(first: Floats, second: Floats) -> float:
    """Probability that a number of `first` (m,) is above one of `second` (n,), ties counting half: area under the curve."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([first, second]))[: len(first)]
    return float((ranks.sum() - len(first) * (len(first) + 1) / 2) / (len(first) * len(second)))


def shift(forgotten: Floats, staying: Floats) -> tuple[float, float]:
    """How well the change of a row tells forgotten rows (k,) from rows that stay (m,): area under the curve, and p.

    From one training to another every row changes. 0.5 is chance; p is of the two-sided rank test (Mann & Whitney 1947).
    """
    from scipy.stats import mannwhitneyu

    return area(forgotten, staying), float(mannwhitneyu(forgotten, staying).pvalue)
