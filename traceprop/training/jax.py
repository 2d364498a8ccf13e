"""JAX params: which of them are linear, and those that are, by factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats, SampleLoss
from traceprop.passes.attribution.objective import LinearObjective, flat
from traceprop.training.adapter import (
    AbstractAdapter,
    AbstractGradientAdapter,
    AbstractLinearAdapter,
    check_width,
    with_ones,
)
from traceprop.training.data import check_finite
from traceprop.training.jax_loss import JaxLoss, SingleLoss, single_loss, wide
from traceprop.training.jax_network import Network
from traceprop.training.jax_params import ParamsAdapter, flattened
from traceprop.training.loss import check_labels, cross_entropy_of
from traceprop.training.projection import Projection

_ARRAYS = (jax.Array, np.ndarray, np.generic)


def are_params(model: Any) -> bool:
    """Whether a model is a pytree of arrays."""
    leaves = jax.tree_util.tree_leaves(model)
    return bool(leaves) and all(isinstance(leaf, _ARRAYS) for leaf in leaves)


def adapt_params(params: Any, loss: Any, l2: float, projection: Projection | None) -> AbstractAdapter:
    """Find the adapter for params. Raises ModelError without a loss, or without a parameter to train."""
    if not callable(loss):
        raise ModelError(f"JAX params need loss=, called as loss(params, x, y), not {loss!r}")
    if not any(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree_util.tree_leaves(params)):
        raise ModelError(
            "the params have no trainable parameter (no array of floats), so no training row influenced them"
        )
    return Params(params, loss, l2, projection)


class Params(AbstractAdapter):
    """Params whose form shows when training is over and the data known. `known`: what was found out of the loss so far."""

    def __init__(
        self,
        params: Any,
        loss: Callable[..., Any],
        l2: float,
        projection: Projection | None,
        known: _Known | None = None,
    ) -> None:
        self.model = params
        self._loss = loss
        self._l2 = l2
        self._projection = projection
        self._known = _Known() if known is None else known

    def with_model(self, model: Any) -> AbstractAdapter:
        mine, theirs = map(jax.tree_util.tree_structure, (self.model, model))
        if mine != theirs:
            raise ModelError(f"the params handed back are {theirs}, those given to training_context {mine}")
        return Params(model, self._loss, self._l2, self._projection, self._known)

    def settled(self, X: np.ndarray, y: np.ndarray) -> AbstractAdapter:
        for leaf in jax.tree_util.tree_leaves(self.model):
            check_finite(np.asarray(leaf), "the params")
        loss = self._single(X, y)
        for layout in [] if loss.ids else _layouts(self.model, X):
            if layout.holds(loss, X, y):
                return LinearParamsAdapter(self.model, loss, self._l2, layout)
        return self.of_gradients(X, y)

    def of_gradients(self, X: np.ndarray, y: np.ndarray) -> AbstractGradientAdapter:
        return ParamsAdapter(self.model, self._single(X, y), self._projection, self._known.networks)

    def _single(self, X: np.ndarray, y: np.ndarray) -> SingleLoss:
        if self._known.loss is None:
            self._known.loss = single_loss(self._loss, self.model, X, y)
        return self._known.loss


@dataclass
class _Known:
    """Of a loss, once training data are known: itself on single samples, and the networks that it is of."""

    loss: SingleLoss | None = None
    networks: dict[Any, Network] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the linear parameters (d, k) and the intercept (k,) lie in the params: leaf numbers; `bias` may be None."""

    params: Any
    weight: int
    bias: int | None
    transposed: bool

    def theta(self, params: Any) -> Floats:
        """Float64 (d, k), with the intercept as the last row where there is one."""
        leaves = jax.tree_util.tree_leaves(params)
        weight = np.asarray(leaves[self.weight], dtype=np.float64)
        weight = weight[:, None] if weight.ndim == 1 else weight.T if self.transposed else weight
        if self.bias is None:
            return np.array(weight)
        return np.vstack([weight, np.asarray(leaves[self.bias], dtype=np.float64).reshape(1, -1)])

    def placed(self, theta: Any, like: Any) -> Any:
        """Put (d, k) parameters where they lie, in a pytree like `like`, float64 under `enable_x64`; traceable."""
        leaves, tree = jax.tree_util.tree_flatten(like)
        width = theta.shape[0] - (self.bias is not None)
        weight = theta[:width].T if self.transposed else theta[:width]
        leaves = list(leaves)
        leaves[self.weight] = weight.reshape(leaves[self.weight].shape)
        if self.bias is not None:
            leaves[self.bias] = theta[width].reshape(leaves[self.bias].shape)
        return jax.tree_util.tree_unflatten(tree, leaves)

    def of_logits(self, loss: SingleLoss) -> Callable[[Any, Any], Any]:
        """Give the loss of one sample as a function of its logits (k,) and target."""
        theta = self.theta(self.params)
        width = len(theta) - (self.bias is not None)
        x = np.eye(1, width)[0]

        def of_logits(z: Any, target: Any) -> Any:
            first = jnp.zeros(theta.shape).at[0].set(z)
            return loss(self.placed(first, wide(self.params)), jnp.asarray(x), target)

        return of_logits

    def holds(self, loss: SingleLoss, X: np.ndarray, y: np.ndarray) -> bool:
        """Whether the loss of every row is that of its logits, at the params and at others."""
        theta = self.theta(self.params)
        features, targets = with_ones(X, self.bias is not None), loss.targets(y)
        others = np.random.default_rng(0).normal(size=theta.shape) / np.sqrt(len(theta))
        with jax.enable_x64(True):
            rows, labels = jnp.asarray(X, jnp.float64), jnp.asarray(targets)
            of_logits = jax.jit(jax.vmap(self.of_logits(loss)))
            of_params = jax.jit(jax.vmap(loss, (None, 0, 0)))
            for tried in (theta, others):
                mine = of_logits(jnp.asarray(features @ tried), labels)
                theirs = of_params(self.placed(jnp.asarray(tried), wide(self.params)), rows, labels)
                if not np.allclose(mine, theirs, rtol=1e-5, atol=1e-8):
                    return False
        return True


def _layouts(params: Any, X: np.ndarray) -> list[Layout]:
    """The ways in which one or two leaves can be a linear layer on features (n, d)."""
    leaves = jax.tree_util.tree_leaves(params)
    if X.ndim != 2 or not 1 <= len(leaves) <= 2 or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        return []
    d = X.shape[1]
    found = []
    for weight, leaf in enumerate(leaves):
        bias = None if len(leaves) == 1 else 1 - weight
        for transposed in (False, True):
            shape = leaf.shape[::-1] if transposed else leaf.shape
            fits = shape[:1] == (d,) and len(shape) in (1, 2) and not (transposed and len(shape) == 1)
            outputs = int(np.prod(shape[1:]))
            if fits and (bias is None or leaves[bias].size == outputs):
                found.append(Layout(params, weight, bias, transposed))
    return found


class LinearParamsAdapter(AbstractLinearAdapter):
    """Params that enter the loss through x @ w + b alone, which is tried out on all training rows.

    The weights are penalised by `l2`, the intercept is not. Where the loss is the cross-entropy of the logits, closed
    forms stand in for it; else its derivatives are taken per sample, in float64.
    """

    def __init__(self, params: Any, loss: SingleLoss, l2: float, layout: Layout) -> None:
        self.model = params
        self._loss = loss
        self._l2 = l2
        self._layout = layout
        self._logit_loss = JaxLoss(layout.of_logits(loss))
        self._in_use: SampleLoss = self._logit_loss

    @property
    def _intercept(self) -> bool:
        return self._layout.bias is not None

    def theta(self, model: Any = None) -> Floats:
        theta = self._layout.theta(self.model if model is None else model)
        check_finite(theta, "the params")
        return theta

    def features(self, X: np.ndarray) -> Floats:
        check_width(X, len(self.theta()) - self._intercept)
        return with_ones(X, self._intercept)

    def objective(self, X: np.ndarray, y: np.ndarray) -> LinearObjective:
        features, theta = self.features(X), self.theta()
        targets = self._loss.targets(y)
        self._in_use = cross_entropy_of(self._logit_loss.losses, features @ theta, targets) or self._logit_loss
        penalised = np.ones(features.shape[1])
        if self._intercept:
            penalised[-1] = 0.0
        return LinearObjective(
            features, self._encode(targets), self._in_use, self._l2, penalised, "mean", theta.shape[1]
        )

    def targets(self, y: np.ndarray) -> np.ndarray:
        targets = self._loss.targets(y)
        if self._in_use.cross_entropy:
            check_labels(targets, max(2, self.theta().shape[1]))
        return self._encode(targets)

    def _encode(self, targets: np.ndarray) -> np.ndarray:
        return targets.reshape(len(targets)).astype(np.int64) if self._in_use.cross_entropy else targets

    def corrected(self, theta: Floats, model: Any, inplace: bool) -> Any:
        """Params of the same structure and dtypes. Raises ModelError for `inplace`: JAX arrays cannot be written to."""
        if inplace:
            raise ModelError("JAX params cannot be changed in place; take the result's .model, and leave out inplace=")
        with jax.enable_x64(True):
            return jax.tree_util.tree_map(
                lambda new, old: (jnp if isinstance(old, jax.Array) else np).asarray(new, old.dtype),
                self._layout.placed(theta, model),
                model,
            )

    def class_major(self, gradient: Any) -> Floats:
        """Take a gradient of the structure of the params, or a vector of its leaves in their order."""
        shapes = [np.shape(leaf) for leaf in jax.tree_util.tree_leaves(self.model)]
        vector = flattened(gradient)
        sizes = [int(np.prod(shape)) for shape in shapes]
        if len(vector) != sum(sizes):
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {sum(sizes)} parameters")
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        tree = jax.tree_util.tree_structure(self.model)
        return flat(self._layout.theta(jax.tree_util.tree_unflatten(tree, leaves)))
