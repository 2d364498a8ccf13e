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
    written_out
        The parameters of no known layer, whose gradients are formed: the last of `layers`, where there are some.
    """

    kind: Literal["margin", "output", "loss"]
    values: Floats
    layers: Sequence[LayerFactors]
    names: Sequence[tuple[str, ...]]
    losses: Floats
    slopes: Floats
    curvatures: Floats
    loss_at: Callable[[Floats], Floats]
    written_out: tuple[str, ...] = ()

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


@dataclass(frozen=True, eq=False)
class Captured:
    """One number per sample, float64 (n,), and its gradients by layers, as `Linearised` has them."""

    values: Floats
    layers: list[LayerFactors]
    names: list[tuple[str, ...]]
    written_out: tuple[str, ...] = ()


def of_margins(found: Captured) -> Linearised:
    """Under cross-entropy: the loss is log(1 + e^-f) of the margin f."""
    values = found.values
    losses = margin_losses(values)
    slopes = -np.exp(-np.logaddexp(0.0, values))
    curvatures = np.exp(-losses - np.logaddexp(0.0, values))
    return Linearised(
        "margin", values, found.layers, found.names, losses, slopes, curvatures, margin_losses, found.written_out
    )


def of_outputs(found: Captured, terms: Callable[[Floats], tuple[Floats, Floats, Floats]]) -> Linearised:
    """Of single outputs, from which `terms` makes the losses and their first and second derivatives."""
    here = terms(found.values)
    return Linearised(
        "output",
        found.values,
        found.layers,
        found.names,
        *here,
        lambda values: terms(values)[0],
        found.written_out,
    )


def of_losses(found: Captured) -> Linearised:
    """The loss itself, where nothing else is known to decide it."""
    losses, count = found.values, len(found.values)
    return Linearised(
        "loss",
        losses,
        found.layers,
        found.names,
        losses,
        np.ones(count),
        np.zeros(count),
        lambda values: values,
        found.written_out,
    )


def margin_losses(values: Floats) -> Floats:
    """Cross-entropies at margins."""
    losses: Floats = np.logaddexp(0.0, -values)
    return losses
