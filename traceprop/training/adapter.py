"""What attribution and unlearning ask of a model, whatever framework it is from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.factors import PlainGradients
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.training.linearised import Captured, Linearised, of_losses
from traceprop.training.projection import Projection

GRADIENT_BYTES = 1 << 31


class AbstractAdapter(ABC):
    """A model with its loss. Made when the context is entered, asked when it exits.

    A new framework is one subclass of `AbstractLinearAdapter` or `AbstractGradientAdapter`, and a case in `models.adapt`.
    """

    model: Any

    def check(self) -> None:
        """Raise ModelError where the model cannot be learned from, as far as that is known before its fit."""
        return

    def with_model(self, model: Any) -> AbstractAdapter:
        """Give the adapter for the model that training made. Raises ModelError for one that is not of the same kind."""
        if model is not self.model:
            raise ModelError(f"the context trains one {type(self.model).__name__}, in place; it cannot become another")
        return self

    def settled(self, X: np.ndarray, y: np.ndarray) -> AbstractAdapter:
        """Give the adapter that the model has, now that it is trained and its data known."""
        return self

    def of_gradients(self, X: np.ndarray, y: np.ndarray) -> AbstractGradientAdapter:
        """Give an adapter that takes single samples' gradients at any model of this kind. Raises ModelError without one."""
        if isinstance(self, AbstractGradientAdapter):
            return self
        raise ModelError(f"of a {type(self.model).__name__}, gradients at other parameters than its own are not taken")


class AbstractLinearAdapter(AbstractAdapter):
    """A model whose loss depends on the features through `k` linear logits.

    Parameters are float64 (d, k), with the intercept, if there is one, as the last row.
    """

    retraining = "Newton steps from zero parameters to the minimum of the loss of the rows that stay"
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

    def retrain(self, X: np.ndarray, y: np.ndarray, objective: LinearObjective) -> Floats:
        """Train anew, from nothing, on the rows that `objective` keeps; give the parameters."""
        from traceprop.passes.unlearning.newton import minimise

        run = minimise(objective, np.zeros_like(self.theta()))
        if not run.converged:
            raise ModelError(
                f"retraining stopped at a gradient norm of {run.gradient_norms[-1]:.1e}: Newton steps find no minimum of "
                "the loss of the rows that stay"
            )
        return run.theta

    @abstractmethod
    def class_major(self, gradient: Any) -> Floats:
        """Order a gradient in the framework's parameters class-major, (k * d,). Raises ModelError for a wrong size."""


class AbstractGradientAdapter(AbstractAdapter):
    """A model of which nothing but per-sample gradients is known, projected where that makes them shorter."""

    cross_entropy: bool = False
    in_place: bool = True
    """Whether a model of this kind can be changed where it is."""

    def __init__(self, projection: Projection | None) -> None:
        self._projection = projection

    @property
    @abstractmethod
    def size(self) -> int:
        """How many trainable parameters there are."""

    @abstractmethod
    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        """Give losses (m,) and their gradients in the parameters, or projections of them, (m, p)."""

    @abstractmethod
    def flattened(self, gradient: Any) -> Floats:
        """Write one gradient in the framework's parameters as a vector."""

    @abstractmethod
    def frozen(self) -> AbstractGradientAdapter:
        """Give an adapter of the model as it is now, whatever training makes of the model afterwards."""

    @abstractmethod
    def parameters(self) -> Floats:
        """Read the trainable parameters as they are now, as a vector in the order of `flattened`."""

    @property
    def dimensions(self) -> int | None:
        """How many dimensions gradients are projected to; None where they are not."""
        return None if self._projection is None else int(self._projection.dimensions)

    @property
    def projected_as(self) -> str:
        """How gradients are projected, in words."""
        one = self._projection
        return "no projection" if one is None else f"a {one.kind!r} projection to {one.dimensions} dimensions"

    def one_number(self, X: np.ndarray, y: np.ndarray) -> bool:
        """Tell whether `linearised` knows a number that decides each sample's loss."""
        return False

    def linearised(self, X: np.ndarray, y: np.ndarray) -> Linearised:
        """Give the number that decides each sample's loss, with its gradients. Raises ModelError where there is none."""
        raise ModelError(
            f"influence in a network needs one number per sample that decides its loss, a margin or a single output, and "
            f"for a {type(self.model).__name__} none is known; estimator='dot', 'cosine' and 'tracin' need none"
        )

    def of_losses(self, X: np.ndarray, y: np.ndarray) -> Linearised:
        """Give the losses themselves with their gradients."""
        losses, gradients = self.gradients(X, y)
        return of_losses(Captured(losses, [PlainGradients(gradients.astype(np.float32))], [("all",)]))

    def by_layers(self, gradient: Any, names: Sequence[tuple[str, ...]]) -> list[Floats]:
        """Cut one gradient in the framework's parameters as `linearised` and `of_losses` order them."""
        return [self.project(gradient)]

    def project(self, gradient: Any) -> Floats:
        """Flatten, and project where `gradients` does, one gradient: (p,). Raises ModelError for a wrong size."""
        vector = self.flattened(gradient)
        if len(vector) != self.size:
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {self.size} parameters")
        return self.projected(vector)

    def projected(self, gradients: Floats) -> Floats:
        """Project gradients (…, size), where that makes them shorter."""
        return gradients if self._projection is None else self._projection(gradients)

    def check_room(self, n: int) -> None:
        """Raise ModelError where `n` gradients, or the projection, would not fit in memory."""
        width, matrix = self.size, 0
        if self._projection is not None:
            width, matrix = self._projection.width(self.size), self._projection.matrix_cells(self.size)
        if 8 * matrix > GRADIENT_BYTES:
            raise ModelError(
                f"a Gaussian projection of {self.size:,} parameters takes {8 * matrix / 2**30:.1f} GiB; "
                'projection="sjlt" stores no matrix'
            )
        if 8 * width * n > GRADIENT_BYTES:
            raise ModelError(
                f"{n} gradients of {self.size:,} parameters take {8 * n * width / 2**30:.1f} GiB; "
                f"give proj_dim={min(512, max(1, GRADIENT_BYTES // (8 * n)))}"
            )


def with_ones(X: np.ndarray, intercept: bool) -> Floats:
    """Give X as float64 (n, d), with a column of ones for the intercept."""
    out = np.ones((len(X), X.shape[1] + intercept))
    out[:, : X.shape[1]] = X
    return out


def check_width(X: np.ndarray, expected: int) -> None:
    """Raise ModelError unless X is (n, expected)."""
    if X.ndim != 2 or X.shape[1] != expected:
        raise ModelError(f"the features have shape {X.shape}, but the model takes {expected} columns")
