"""How much a Gauss-Newton matrix is damped: found from the data, never from models that were retrained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from traceprop.passes.attribution.losses import Floats

LEAST, MOST = 0.03, 3.0
"""What is tried, in units of the mean diagonal of M. Under more, training samples hardly bear on one another."""
_TRIED = 25
_HALVINGS = 7
_USUAL = 1.0 / 3.0


class AbstractLeverages(Protocol):
    """What is known of M: how much each sample holds of its own fit."""

    def leverages(self, level: float) -> Floats:
        """The diagonal of M (M + level)^-1: float64 (n,), below 1."""
        ...


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Of M: eigenvalues (k,), eigenvectors (n, k), and what they leave of the diagonal (n,)."""

    values: Floats
    vectors: Floats
    rest: Floats

    def leverages(self, level: float) -> Floats:
        """The diagonal of M (M + level)^-1: float64 (n,), below 1."""
        kept = self.vectors**2 @ (self.values / (self.values + level))
        return np.minimum(kept + self.rest / (self.rest + level), 1.0 - 1e-6)

    def residuals(self, level: float, target: Floats) -> Floats:
        """What a ridge fit of `target` (n,) leaves of it."""
        left: Floats = target - self.vectors @ ((self.values / (self.values + level)) * (self.vectors.T @ target))
        return left


@dataclass(frozen=True)
class Damping:
    """`strength`, in units of the mean diagonal of M, and how it was found, in a few words."""

    strength: float
    how: str


def by_held_out_loss(
    spectrum: AbstractLeverages,
    mean: float,
    curvature: Floats,
    residual: Floats,
    moved_loss: Callable[[Floats], float],
    held_out_loss: float,
) -> Damping:
    """The damping under which a training sample that is left out has the loss of samples that training never saw.

    A network fits every training sample until no loss is left. What the loss would be had a sample been left out, the
    leverages say (as in PRESS; Allen 1974): the less damping, the more. How large it is in truth, held-out samples show.

    Parameters
    ----------
    moved_loss
        The mean loss of the training samples, were their f moved by so much: float64 (n,) to a number.
    """

    def too_little(strength: float) -> bool:
        leverage = spectrum.leverages(strength * mean)
        return moved_loss(leverage / (1.0 - leverage) * residual / curvature) > held_out_loss

    low, high = np.log(LEAST), np.log(MOST)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if too_little(float(np.exp(middle))) else (low, middle)
    return Damping(
        float(np.exp(high)), "a training row that is left out then has the loss of test rows, which training never saw"
    )


def usual() -> Damping:
    """A third of the mean diagonal, where nothing tells more."""
    return Damping(_USUAL, "a third of the mean, for want of held-out rows")


def by_left_out_residuals(spectrum: Spectrum, mean: float, residual: Floats) -> Damping:
    """The damping of the least squared residual of samples left out (PRESS; Allen 1974), where nothing is held out.

    Never less than a third of the mean: a network that fits every sample makes less damping look better than it is.
    """
    strengths = np.geomspace(_USUAL, MOST, _TRIED)
    press = []
    for strength in strengths:
        level = strength * mean
        press.append(float(np.square(spectrum.residuals(level, residual) / (1.0 - spectrum.leverages(level))).mean()))
    return Damping(float(strengths[int(np.argmin(press))]), "by the least residual of training rows that are left out")
