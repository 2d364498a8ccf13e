"""What the fit of a linear model minimises: a sum of per-sample losses of the logits, plus an L2 penalty."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.losses import Floats, SampleLoss, Terms

Convention = Literal["sum", "mean"]


@dataclass(frozen=True, eq=False)
class LinearObjective:
    """F(theta) = sum over kept rows of loss(a_i theta, y_i) + rho/2 * sum_j penalised_j |theta_j|^2, the *sum form*.

    Two conventions differ in what happens to `rho` as rows go. `"sum"` is scikit-learn's C * sum loss + |w|^2 / 2:
    rho = strength = 1/C, whatever the number of rows. `"mean"` adds strength * |w|^2 / 2 to the *mean* loss, as
    training loops do: rho = strength * number of kept rows. With strength_mean = strength_sum / n both are one
    function of all n rows, and two functions of fewer.

    Vectors over parameters are class-major: theta (d, k) is flattened as `theta.T.ravel()`, (k * d,).

    Parameters
    ----------
    features
        float64 (n, d), with a column of ones where there is an intercept.
    y
        Targets of the n rows, as `loss` takes them.
    strength
        The penalty's coefficient in its convention; 0 for none.
    penalised
        float64 (d,): how much of each parameter's square counts; 0 for an unpenalised intercept.
    kept
        bool (n,): the rows that are still there.
    linear
        float64 (d, k): a term linear . theta that the sum form has beside, whatever rows are there; None for none.
    """

    features: Floats
    y: NDArray[Any]
    loss: SampleLoss
    strength: float
    penalised: Floats
    convention: Convention
    classes: int = 1
    kept: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    linear: Floats | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.y) != len(self.features):
            raise ValueError(f"features {self.features.shape} and {len(self.y)} targets don't fit together")
        if self.penalised.shape != self.features.shape[1:]:
            raise ValueError(f"penalised has shape {self.penalised.shape}, expected {self.features.shape[1:]}")
        if not self.kept.size:
            object.__setattr__(self, "kept", np.ones(len(self.features), dtype=np.bool_))

    @property
    def size(self) -> int:
        """The number of parameters, k * d."""
        return self.classes * int(self.features.shape[1])

    @cached_property
    def count(self) -> int:
        """The number of kept rows."""
        return int(np.count_nonzero(self.kept))

    @property
    def rho(self) -> float:
        """The penalty's coefficient in the sum form."""
        return self.strength * (self.count if self.convention == "mean" else 1)

    def without(self, rows: NDArray[np.int64]) -> LinearObjective:
        """Drop rows, given by position among all n; rows that are gone already stay so."""
        kept = self.kept.copy()
        kept[rows] = False
        rest = replace(self, kept=kept)
        rest.__dict__["row_norms"] = self.row_norms
        return rest

    @cached_property
    def row_norms(self) -> Floats:
        """Euclidean lengths of all n rows of features."""
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", self.features, self.features)))

    @cached_property
    def _kept_rows(self) -> tuple[Floats, NDArray[Any]]:
        if self.count == len(self.features):
            return self.features, self.y
        return self.features[self.kept], self.y[self.kept]

    def value(self, theta: Floats) -> float:
        """F(theta)."""
        features, y = self._kept_rows
        return float(self.loss.terms(features @ theta, y).loss.sum()) + self._beside(theta)[0]

    def gradient(self, theta: Floats) -> Floats:
        """The gradient of F at theta, (k * d,)."""
        return self.first_order(theta, self.row_terms(theta))[1]

    def derivatives(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """F(theta), its gradient (k * d,) and its Hessian (k * d, k * d)."""
        features, y = self._kept_rows
        terms = self.loss.terms(features @ theta, y)
        beside, slope = self._beside(theta)
        value = float(terms.loss.sum()) + beside
        gradient = (features.T @ terms.gradient + slope).T.ravel()
        return value, gradient, add_penalty(loss_hessian(features, terms), self.rho * self.penalised)

    def row_terms(self, theta: Floats) -> Terms:
        """Give the terms of all n rows; those of rows that are gone are zero."""
        terms = self.loss.terms(self.features @ theta, self.y)
        if self.count == len(self.features):
            return terms
        here = self.kept
        return Terms(
            np.where(here, terms.loss, 0.0),
            np.where(here[:, None], terms.gradient, 0.0),
            np.where(here[:, None, None], terms.hessian, 0.0),
        )

    def first_order(self, theta: Floats, terms: Terms) -> tuple[float, Floats]:
        """F(theta) and its gradient (k * d,), given the terms of all rows there."""
        beside, slope = self._beside(theta)
        return float(terms.loss.sum()) + beside, (self.features.T @ terms.gradient + slope).T.ravel()

    def _beside(self, theta: Floats) -> tuple[float, Floats]:
        """What is no row's: the penalty and the linear term, and their gradient (d, k)."""
        slope = self.rho * self.penalised[:, None] * theta
        value = 0.5 * float((slope * theta).sum())
        if self.linear is None:
            return value, slope
        return value + float((self.linear * theta).sum()), slope + self.linear


def loss_hessian(features: Floats, terms: Terms) -> Floats:
    """Sum of hessian_i (x) a_i a_i^T over the rows: float64 (k * d, k * d), class-major."""
    d, k = features.shape[1], terms.gradient.shape[1]
    out = np.empty((k * d, k * d))
    for left in range(k):
        for right in range(left + 1):
            weight = terms.hessian[:, left, right]
            if left == right and (weight >= 0).all():
                half = np.sqrt(weight)[:, None] * features
                block = half.T @ half  # NumPy sees the symmetry and does half of the work
            else:
                block = features.T @ (weight[:, None] * features)
            out[left * d : (left + 1) * d, right * d : (right + 1) * d] = block
            out[right * d : (right + 1) * d, left * d : (left + 1) * d] = block.T
    return out


def add_penalty(hessian: Floats, weights: Floats) -> Floats:
    """Add the penalty's weights (d,) to the diagonal of each class, in place."""
    diagonal = np.arange(len(hessian))
    hessian[diagonal, diagonal] += np.tile(weights, len(hessian) // len(weights))
    return hessian


def flat(theta: Floats) -> Floats:
    """Write (d, k) parameters as a class-major vector."""
    return theta.T.ravel()


def unflat(vector: Floats, classes: int) -> Floats:
    """Write a class-major vector as (d, k) parameters."""
    return np.ascontiguousarray(vector.reshape(classes, -1).T)
