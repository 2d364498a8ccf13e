"""Steps that move a trained network, of whichever framework: the samples know whose functions these are.

`Deciding` of torch and `Samples` of JAX have `steps`, a module with functions of these names (`torch_steps.py`, which says
what each does, and `jax_steps.py`). A network is a `torch.nn.Module` or JAX params; each function gives a changed copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from traceprop.passes.attribution.losses import Floats


def outputs(model: Any, data: Any) -> Floats:
    """Give what a network makes of samples: float64 (n, k)."""
    found = np.asarray(data.steps.outputs(model, data), dtype=np.float64)
    return found.reshape(len(found), -1)


def numbers(model: Any, data: Any) -> Floats:
    """Give the numbers that decide the samples' losses: float64 (n,)."""
    found: Floats = data.steps.numbers(model, data)
    return found


def losses(model: Any, data: Any) -> Floats:
    """Give the samples' losses: float64 (n,)."""
    found: Floats = data.steps.losses(model, data)
    return found


def numbers_and_losses(model: Any, data: Any) -> tuple[Floats, Floats]:
    """Give both, by one pass over the samples."""
    found: tuple[Floats, Floats] = data.steps.numbers_and_losses(model, data)
    return found


def trained(model: Any, data: Any, *arguments: Any, **options: Any) -> Any:
    """Go down, or up, the samples' mean loss."""
    return data.steps.trained(model, data, *arguments, **options)


def towards(model: Any, data: Any, *arguments: Any, **options: Any) -> Any:
    """Move the samples' numbers towards given ones."""
    return data.steps.towards(model, data, *arguments, **options)


def scrubbed(model: Any, forgotten: Any, *arguments: Any, **options: Any) -> Any:
    """Away from the network on forgotten samples, and near to it on those that stay."""
    return forgotten.steps.scrubbed(model, forgotten, *arguments, **options)


def importances(model: Any, data: Any) -> Floats:
    """Give the mean squared gradient of single samples' losses in each trainable parameter: float64 (p,)."""
    found: Floats = data.steps.importances(model, data)
    return found


def along(model: Any, data: Any, weights: np.ndarray) -> Any:
    """Add to the parameters the gradient of the weighted sum (n,) of the samples' numbers."""
    return data.steps.along(model, data, weights)


def with_parameters(model: Any, vector: Floats, data: Any) -> Any:
    """Give a copy with those trainable parameters (p,)."""
    return data.steps.with_parameters(model, vector)


def carried_over(source: Any, model: Any, inplace: bool, data: Any) -> Any:
    """Give `model`, or a copy of it, with the parameters of `source`, in its own dtypes."""
    return data.steps.carried_over(source, model, inplace)
