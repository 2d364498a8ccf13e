"""JAX params: linear ones, by factors; any others, by per-sample gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats, SampleLoss, Terms
from traceprop.passes.attribution.objective import LinearObjective, flat
from traceprop.training.adapter import (
    AbstractAdapter,
    AbstractGradientAdapter,
    AbstractLinearAdapter,
    check_width,
    with_ones,
)
from traceprop.training.data import check_finite, plain_array
from traceprop.training.loss import check_batch, check_labels, cross_entropy_of
from traceprop.training.projection import Projection

PROBED = 16
CHUNK = 64
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
    """Params whose form shows when training is over and the data known."""

    def __init__(self, params: Any, loss: Callable[..., Any], l2: float, projection: Projection | None) -> None:
        self.model = params
        self._loss = loss
        self._l2 = l2
        self._projection = projection

    def with_model(self, model: Any) -> AbstractAdapter:
        mine, theirs = map(jax.tree_util.tree_structure, (self.model, model))
        if mine != theirs:
            raise ModelError(f"the params handed back are {theirs}, those given to training_context {mine}")
        return Params(model, self._loss, self._l2, self._projection)

    def settled(self, X: np.ndarray, y: np.ndarray) -> AbstractAdapter:
        for leaf in jax.tree_util.tree_leaves(self.model):
            check_finite(np.asarray(leaf), "the params")
        loss = single_loss(self._loss, self.model, X, y)
        for layout in _layouts(self.model, X):
            if layout.holds(loss, X, y):
                return LinearParamsAdapter(self.model, loss, self._l2, layout)
        return ParamsAdapter(self.model, loss, self._projection)

    def of_gradients(self, X: np.ndarray, y: np.ndarray) -> AbstractGradientAdapter:
        return ParamsAdapter(self.model, single_loss(self._loss, self.model, X, y), self._projection)


@dataclass(frozen=True, eq=False)
class SingleLoss:
    """loss(params, x[None], y[None]) as a scalar, in float64; `dtype` is what the loss takes its targets in."""

    loss: Callable[..., Any]
    dtype: np.dtype[Any]

    def __call__(self, params: Any, x: Any, target: Any) -> Any:
        return jnp.reshape(self.loss(params, x[None], target[None]), ())

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Give targets in the type that the loss takes. Raises ModelError where that would change them."""
        targets = y.astype(self.dtype)
        if not np.array_equal(targets, y):
            row = int(np.argwhere(targets != y)[0][0])
            raise ModelError(f"target {y[row].tolist()!r} of row {row} is no {self.dtype}, which the loss takes")
        return targets


def single_loss(loss: Callable[..., Any], params: Any, X: np.ndarray, y: np.ndarray) -> SingleLoss:
    """Find how to call a loss on single samples, and check that batches give those values, their mean or their sum.

    Raises
    ------
    ModelError
        The loss fails, gives other shapes than one value per sample, or mixes the samples of a batch.
    """
    if y.dtype.kind not in "biuf":
        raise ModelError(f"y holds {y.dtype}, and a JAX loss needs numbers; encode the labels first")
    own = np.dtype(np.float64) if y.dtype.kind == "f" else y.dtype
    first: Exception | None = None
    some = X[:PROBED].astype(np.float64)
    for dtype in dict.fromkeys([own, np.dtype(np.int64), np.dtype(np.float64)]):
        single = SingleLoss(loss, dtype)
        targets = y[:PROBED].astype(dtype)
        if not np.array_equal(targets, y[:PROBED]):
            continue
        try:
            with jax.enable_x64(True):
                losses = np.asarray(
                    jax.vmap(single, (None, 0, 0))(_wide(params), jnp.asarray(some), jnp.asarray(targets))
                )
                value = np.asarray(loss(_wide(params), jnp.asarray(some), jnp.asarray(targets)))
        except (TypeError, ValueError, IndexError) as error:
            first = first or error
            continue
        check_batch(value, losses, some.shape, targets.shape)
        return single
    raise ModelError(
        f"loss(params, x, y) fails on a single sample, with x of shape (1, {', '.join(map(str, X.shape[1:]))}) and a target "
        f"of {y.dtype} {('1', *map(str, y.shape[1:]))}: {first}; give one value per sample"
    ) from first


def _wide(params: Any) -> Any:
    """Floating leaves in float64; within `enable_x64`."""
    return jax.tree_util.tree_map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.asarray(leaf),
        params,
    )


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
            return loss(self.placed(first, _wide(self.params)), jnp.asarray(x), target)

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
                theirs = of_params(self.placed(jnp.asarray(tried), _wide(self.params)), rows, labels)
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
        vector = _flattened(gradient)
        sizes = [int(np.prod(shape)) for shape in shapes]
        if len(vector) != sum(sizes):
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {sum(sizes)} parameters")
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        tree = jax.tree_util.tree_structure(self.model)
        return flat(self._layout.theta(jax.tree_util.tree_unflatten(tree, leaves)))


class JaxLoss:
    """A loss of the user's as a function of the logits, with derivatives by JAX, in float64."""

    cross_entropy = False
    self_concordance = None

    def __init__(self, of_logits: Callable[[Any, Any], Any]) -> None:
        self._losses = jax.jit(jax.vmap(of_logits))
        self._first = jax.jit(jax.vmap(jax.value_and_grad(of_logits)))
        self._second = jax.jit(jax.vmap(jax.hessian(of_logits)))

    def losses(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Give the losses of (n, k) logits: float64 (n,)."""
        with jax.enable_x64(True):
            return np.asarray(self._losses(jnp.asarray(logits, jnp.float64), jnp.asarray(targets)))

    def terms(self, logits: Floats, y: np.ndarray) -> Terms:
        """Evaluate at logits (n, k) with targets y."""
        with jax.enable_x64(True):
            z, target = jnp.asarray(logits, jnp.float64), jnp.asarray(y)
            (loss, gradient), hessian = self._first(z, target), np.asarray(self._second(z, target))
        return Terms(np.asarray(loss), np.asarray(gradient), 0.5 * (hessian + hessian.swapaxes(1, 2)))


class ParamsAdapter(AbstractGradientAdapter):
    """Any other params: gradients of each sample's loss in all of their floats, in float64."""

    def __init__(self, params: Any, loss: SingleLoss, projection: Projection | None) -> None:
        super().__init__(projection)
        self.model = params
        self._loss = loss

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in _floating(self.model))

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        """Per-sample losses (m,) and gradients (m, p), projected where asked for, one chunk of samples at a time."""
        self.check_room(len(X))
        targets = self._loss.targets(y)
        losses, rows = [], []
        with jax.enable_x64(True):
            leaves, tree = jax.tree_util.tree_flatten(_wide(self.model))
            trained = tuple(bool(jnp.issubdtype(leaf.dtype, jnp.floating)) for leaf in leaves)
            of_many = _differentiated(self._loss, tree, trained)
            floats = [leaf for leaf, float_ in zip(leaves, trained, strict=True) if float_]
            others = [leaf for leaf, float_ in zip(leaves, trained, strict=True) if not float_]
            for start in range(0, len(X), CHUNK):
                x, target = X[start : start + CHUNK].astype(np.float64), targets[start : start + CHUNK]
                loss, found = of_many(floats, others, jnp.asarray(x), jnp.asarray(target))
                block = np.concatenate([np.asarray(part).reshape(len(x), -1) for part in found], axis=1)
                rows.append(self.projected(block))
                losses.append(np.asarray(loss))
        return np.concatenate(losses), np.concatenate(rows)

    def with_model(self, model: Any) -> ParamsAdapter:
        return ParamsAdapter(model, self._loss, self._projection)

    def flattened(self, gradient: Any) -> Floats:
        return _flattened(gradient)

    def parameters(self) -> Floats:
        return _flattened(_floating(self.model))

    def frozen(self) -> ParamsAdapter:
        copied = jax.tree_util.tree_map(
            lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray) else leaf, self.model
        )
        return ParamsAdapter(copied, self._loss, self._projection)


@lru_cache(maxsize=16)
def _differentiated(loss: SingleLoss, tree: Any, trained: tuple[bool, ...]) -> Any:
    """Losses and gradients of single samples, compiled once for all params of one structure."""

    def of_trained(floats: list[Any], others: list[Any], x: Any, target: Any) -> Any:
        free, fixed = iter(floats), iter(others)
        whole = [next(free) if float_ else next(fixed) for float_ in trained]
        return loss(jax.tree_util.tree_unflatten(tree, whole), x, target)

    return jax.jit(jax.vmap(jax.value_and_grad(of_trained), (None, None, 0, 0)))


def _floating(params: Any) -> list[Any]:
    return [leaf for leaf in jax.tree_util.tree_leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _flattened(gradient: Any) -> Floats:
    """The leaves of a gradient, one behind the other."""
    leaves = [plain_array(leaf, "the gradient") for leaf in jax.tree_util.tree_leaves(gradient)]
    floats = [leaf for leaf in leaves if np.issubdtype(leaf.dtype, np.number) and leaf.dtype != jax.dtypes.float0]
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in floats])
