"""A network near its trained parameters: one number per sample that decides its loss, and the gradients of that number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from traceprop.passes.attribution.factors import LayerFactors
from traceprop.passes.attribution.losses import Floats


@dataclass(frozen=True, eq=False)
class Linearised:
    """Samples of a network, at fixed parameters.

    Attributes
    ----------
    kind
        What the number is: the margin log p_y / (1 - p_y) under cross-entropy, a single output, or the loss itself.
    values
        float64 (m,): the numbers.
    layers, names
        Their gradients by layers, and the parameters that each layer's gradients are of, in order.
    losses, slopes, curvatures
        float64 (m,): the losses, and their first and second derivatives by the numbers.
    loss_at
        The losses (m,) at other values of the numbers.
    """

    kind: Literal["margin", "output", "loss"]
    values: Floats
    layers: Sequence[LayerFactors]
    names: Sequence[tuple[str, ...]]
    losses: Floats
    slopes: Floats
    curvatures: Floats
    loss_at: Callable[[Floats], Floats]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def roots(self) -> Floats:
        """Roots of the second derivatives; never 0, so that a loss that is flat to rounding still has a residual."""
        return np.sqrt(np.maximum(self.curvatures, np.finfo(np.float32).tiny))

    @property
    def residuals(self) -> Floats:
        """First derivatives over those roots. Under cross-entropy -e^(-f/2), which no rounding of p disturbs."""
        if self.kind == "margin":
            bounded: Floats = -np.exp(-0.5 * np.clip(self.values, -160.0, 160.0))
            return bounded
        return self.slopes / self.roots


def of_margins(values: Floats, layers: Sequence[LayerFactors], names: Sequence[tuple[str, ...]]) -> Linearised:
    """Under cross-entropy: the loss is log(1 + e^-f) of the margin f."""
    losses = margin_losses(values)
    slopes = -np.exp(-np.logaddexp(0.0, values))
    curvatures = np.exp(-losses - np.logaddexp(0.0, values))
    return Linearised("margin", values, layers, names, losses, slopes, curvatures, margin_losses)


def of_losses(losses: Floats, layers: Sequence[LayerFactors], names: Sequence[tuple[str, ...]]) -> Linearised:
    """The loss itself, where nothing else is known to decide it."""
    ones = np.ones(len(losses))
    return Linearised("loss", losses, layers, names, losses, ones, np.zeros(len(losses)), lambda values: values)


def margin_losses(values: Floats) -> Floats:
    """Cross-entropies at margins."""
    losses: Floats = np.logaddexp(0.0, -values)
    return losses
