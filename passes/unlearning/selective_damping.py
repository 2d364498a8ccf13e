"""Selective synaptic dampening: parameters that matter more to the forgotten rows than to all rows are shrunk."""

from __future__ import annotations

import numpy as np

from traceprop.passes.attribution.losses import Floats


def dampened(
    parameters: Floats, of_forgotten: Floats, of_all: Floats, selection: float = 10.0, strength: float = 1.0
) -> Floats:
    """Shrink parameters (p,) whose importance to the forgotten rows is more than `selection` times that to all rows.

    By min(strength * all / forgotten, 1). Importances (p,) are mean squared gradients, the diagonal of the Fisher
    information (Foster, Schoepf & Brintrup 2024, "Fast machine unlearning without retraining through selective
    synaptic dampening", equation 5; `selection` and `strength` are their alpha and lambda).
    """
    chosen = of_forgotten > selection * of_all
    ratio = strength * of_all / np.where(of_forgotten > 0, of_forgotten, 1.0)
    return np.where(chosen, parameters * np.minimum(ratio, 1.0), parameters)
