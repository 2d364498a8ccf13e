"""What attribution and unlearning ask of a model, whatever framework it is from."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective


class AbstractAdapter(ABC):
    """A model with its loss. Made when the context is entered, asked when it exits.

    A new framework is one subclass of `AbstractLinearAdapter` or `AbstractGradientAdapter`, and a line in `adapt`.
    """

    model: Any

    @abstractmethod
    def check(self) -> None:
        """Raise ModelError where the model cannot be learned from, as far as that is known before its fit."""


class AbstractLinearAdapter(AbstractAdapter):
    """A model whose loss depends on the features through `k` linear logits.

    Parameters are float64 (d, k), with the intercept, if there is one, as the last row.
    """

    retraining: str
    """How `retrain` does it, in a few words."""

    @abstractmethod
    def objective(self, X: np.ndarray, y: np.ndarray) -> LinearObjective:
        """Say what the fit on features (n, d) and targets of length n minimises."""

    @abstractmethod
    def theta(self, model: Any = None) -> Floats:
        """Read the parameters of `model`, by default the adapter's, as they are now."""

    @abstractmethod
    def features(self, X: np.ndarray) -> Floats:
        """Give X as float64 (m, d), with a column of ones where there is an intercept."""

    @abstractmethod
    def targets(self, y: np.ndarray) -> np.ndarray:
        """Encode targets as the objective's loss takes them. Raises ModelError for labels that training had not."""

    @abstractmethod
    def corrected(self, theta: Floats, model: Any, inplace: bool) -> Any:
        """Give a copy of `model`, or the model itself, with those parameters."""

    @abstractmethod
    def retrain(self, X: np.ndarray, y: np.ndarray, objective: LinearObjective) -> Floats:
        """Train anew, from nothing, on the rows that `objective` keeps; give the parameters."""

    @abstractmethod
    def class_major(self, gradient: Any) -> Floats:
        """Order a gradient in the framework's parameters class-major, (k * d,). Raises ModelError for a wrong size."""


class AbstractGradientAdapter(AbstractAdapter):
    """A model of which nothing but per-sample gradients is known."""

    cross_entropy: bool

    @abstractmethod
    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        """Give losses (m,) and their gradients in the parameters, or projections of them, (m, p)."""

    @abstractmethod
    def project(self, gradient: Any) -> Floats:
        """Flatten, and project where `gradients` does, one gradient: (p,). Raises ModelError for a wrong size."""


def adapt(model: Any, loss: Any, l2: float, proj_dim: int | None) -> AbstractAdapter:
    """Find the adapter for a model.

    Raises
    ------
    ModelError
        No adapter knows the model, or it cannot be learned from; says what can.
    """
    if _is_instance(model, "torch", "nn.Module"):
        from traceprop.training.torch import adapt_module

        return adapt_module(model, loss, l2, proj_dim)
    if _is_instance(model, "sklearn", "base.BaseEstimator"):
        from traceprop.training.sklearn import adapt_estimator

        return adapt_estimator(model, loss, l2)
    raise ModelError(
        f"model is {type(model).__name__}; known are torch modules and scikit-learn's LogisticRegression, Ridge and "
        "LinearRegression (JAX parameters are not in this version), or None with gradients logged by ctx.log_gradient"
    )


def _is_instance(model: Any, library: str, path: str) -> bool:
    """Whether a model is of a class of a library, which is not imported for it: without it there is no such model."""
    found: Any = sys.modules.get(library)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found is not None and isinstance(model, found)


def with_ones(X: np.ndarray, intercept: bool) -> Floats:
    """Give X as float64 (n, d), with a column of ones for the intercept."""
    out = np.ones((len(X), X.shape[1] + intercept))
    out[:, : X.shape[1]] = X
    return out


def check_width(X: np.ndarray, expected: int) -> None:
    """Raise ModelError unless X is (n, expected)."""
    if X.ndim != 2 or X.shape[1] != expected:
        raise ModelError(f"the features have shape {X.shape}, but the model takes {expected} columns")
