"""Predicted numbers of rows in a model that never saw some of them, and whether a model came nearer to its prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from traceprop.passes.attribution.losses import Floats

NEARER = 0.8
"""A model counts as moved where what is left of the way on the forgotten rows is at most this much of it."""
DISAGREEING = 2.0


@dataclass(frozen=True, eq=False)
class Prediction:
    """Numbers that decide the losses of the forgotten rows (k,) and of some that stay (m,): now, and without the rows.

    `spread` is how far two ways to predict lie apart on the forgotten rows, root mean square; NaN where there is one.
    """

    now: Floats
    without: Floats
    now_staying: Floats
    without_staying: Floats
    spread: float = float("nan")

    @property
    def way(self) -> float:
        """How far the forgotten rows are predicted to move, root mean square."""
        return root_mean_square(self.without - self.now)

    def refusal(self) -> str | None:
        """Say why not, where the prediction is not one to follow."""
        if not (np.isfinite(self.without).all() and np.isfinite(self.without_staying).all()):
            return "the predicted numbers of the forgotten rows are not finite"
        if self.spread > DISAGREEING * self.way:
            return (
                f"two ways to predict the forgotten rows without them lie {self.spread:.2g} apart, and the way itself is "
                f"{self.way:.2g}: nothing is known well enough to be followed"
            )
        return None

    def judged(self, moved: Floats, moved_staying: Floats) -> tuple[float, float, str | None]:
        """What is left of the way (root mean square), what the staying rows are off, and why that is not good enough."""
        left = root_mean_square(moved - self.without)
        off = root_mean_square(moved_staying - self.without_staying)
        before = root_mean_square(self.now_staying - self.without_staying)
        reason = None
        if not (np.isfinite(left) and np.isfinite(off)):
            reason = "the steps left the finite numbers"
        elif left > NEARER * self.way:
            reason = f"after the steps the forgotten rows are {left:.2g} from their prediction, and were {self.way:.2g} before"
        elif off > before + self.way:
            reason = (
                f"the steps moved the rows that stay by {off:.2g} from where they should be, more than the forgotten rows "
                f"had to move ({self.way:.2g})"
            )
        return left, off, reason


def average(now: Floats, ways: list[Floats], now_staying: Floats, staying: list[Floats]) -> Prediction:
    """The mean of one or two predictions."""
    spread = root_mean_square(ways[0] - ways[1]) if len(ways) == 2 else float("nan")
    return Prediction(now, np.mean(ways, axis=0), now_staying, np.mean(staying, axis=0), spread)


def root_mean_square(values: Floats) -> float:
    """Of values (n,); 0 of none."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0
