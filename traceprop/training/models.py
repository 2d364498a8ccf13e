"""Which adapter a model has. A new framework is one more case here, and a subclass of an adapter."""

from __future__ import annotations

import sys
from typing import Any

from traceprop.errors import ModelError
from traceprop.training.adapter import AbstractAdapter
from traceprop.training.projection import Projection


def adapt(model: Any, loss: Any, l2: float, projection: Projection | None) -> AbstractAdapter:
    """Find the adapter for a model.

    Raises
    ------
    ModelError
        No adapter knows the model, or it cannot be learned from; says what can.
    """
    if _is_instance(model, "torch", "nn.Module"):
        from traceprop.training.torch import adapt_module

        return adapt_module(model, loss, l2, projection)
    if _is_instance(model, "sklearn", "base.BaseEstimator"):
        from traceprop.training.sklearn import adapt_estimator

        return adapt_estimator(model, loss, l2)
    if "jax" in sys.modules:
        from traceprop.training.jax import adapt_params, are_params

        if are_params(model):
            return adapt_params(model, loss, l2, projection)
    raise ModelError(
        f"model is {type(model).__name__}; known are torch modules, JAX params (a pytree of arrays), scikit-learn's "
        "LogisticRegression, Ridge and LinearRegression, or None with gradients logged by ctx.log_gradient"
    )


def _is_instance(model: Any, library: str, path: str) -> bool:
    """Whether a model is of a class of a library, which is not imported for it: without it there is no such model."""
    found: Any = sys.modules.get(library)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found is not None and isinstance(model, found)
