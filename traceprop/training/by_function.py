"""Parameters in plain arrays, with a function of the user's that gives single samples' gradients."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats
from traceprop.training.adapter import AbstractAdapter, AbstractGradientAdapter
from traceprop.training.data import check_finite
from traceprop.training.projection import Projection

Gradients = Callable[[Any, np.ndarray, np.ndarray], tuple[Any, Any]]


class FunctionAdapter(AbstractGradientAdapter):
    """An array, or a list or dict of them, trained by a loop in NumPy.

    `function(parameters, X, y)` gives the losses (m,) and their gradients (m, p), flat, in the order of the arrays.
    """

    def __init__(self, parameters: Any, function: Gradients, projection: Projection | None) -> None:
        super().__init__(projection)
        self.model = parameters
        self._function = function

    def check(self) -> None:
        parts = _parts(self.model)
        if not parts or any(not isinstance(part, np.ndarray) or part.dtype.kind != "f" for part in parts):
            raise ModelError(
                f"gradients= belongs to a model of NumPy arrays of floats, one or a list or dict of them, not a "
                f"{type(self.model).__name__}"
            )

    def with_model(self, model: Any) -> AbstractAdapter:
        if [part.shape for part in _parts(model)] != [part.shape for part in _parts(self.model)]:
            raise ModelError("the arrays handed back have other shapes than those given to training_context")
        return FunctionAdapter(model, self._function, self._projection)

    @property
    def size(self) -> int:
        return sum(part.size for part in _parts(self.model))

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        self.check_room(len(X))
        check_finite(self.parameters(), "the parameters")
        losses, gradients = (np.asarray(part, dtype=np.float64) for part in self._function(self.model, X, y))
        if losses.shape != (len(X),) or gradients.size != len(X) * self.size:
            raise ModelError(
                f"gradients(parameters, X, y) gave losses {losses.shape} and gradients {gradients.shape} of {len(X)} samples "
                f"and {self.size} parameters; they are (m,) and (m, p)"
            )
        return losses, self.projected(gradients.reshape(len(X), -1))

    def flattened(self, gradient: Any) -> Floats:
        return np.concatenate([np.ravel(part).astype(np.float64) for part in _parts(gradient)])

    def parameters(self) -> Floats:
        return self.flattened(self.model)

    def frozen(self) -> FunctionAdapter:
        return FunctionAdapter(deepcopy(self.model), self._function, self._projection)


def _parts(parameters: Any) -> list[Any]:
    if isinstance(parameters, dict):
        return list(parameters.values())
    return list(parameters) if isinstance(parameters, list | tuple) else [parameters]
