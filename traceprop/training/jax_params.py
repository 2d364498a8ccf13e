"""JAX params of networks: gradients by layers, as factors, and written out by `vmap(grad)`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats
from traceprop.training.adapter import AbstractGradientAdapter
from traceprop.training.data import plain_array
from traceprop.training.jax_loss import SingleLoss, wide
from traceprop.training.jax_network import Network
from traceprop.training.jax_steps import Samples
from traceprop.training.linearised import Linearised, of_losses, of_margins, of_outputs
from traceprop.training.loss import check_labels
from traceprop.training.projection import Projection

CHUNK = 64


class ParamsAdapter(AbstractGradientAdapter):
    """Any other params: gradients of each sample's loss in all of their floats, in float64.

    `networks`: what was found out of the loss, by the shapes of params and samples; shared by a network's checkpoints.
    """

    in_place = False

    def __init__(
        self,
        params: Any,
        loss: SingleLoss,
        projection: Projection | None,
        networks: dict[Any, Network] | None = None,
    ) -> None:
        super().__init__(projection)
        self.model = params
        self._loss = loss
        self._networks: dict[Any, Network] = {} if networks is None else networks
        self.cross_entropy = any(network.kind == "margin" for network in self._networks.values())

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in _floating(self.model))

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        """Per-sample losses (m,) and gradients (m, p), projected where asked for, one chunk of samples at a time."""
        self.check_room(len(X))
        targets = self._loss.targets(y)
        losses, rows = [], []
        with jax.enable_x64(True):
            leaves, tree = jax.tree_util.tree_flatten(wide(self.model))
            trained = tuple(bool(jnp.issubdtype(leaf.dtype, jnp.floating)) for leaf in leaves)
            of_many = _differentiated(self._loss, tree, trained)
            floats = [leaf for leaf, float_ in zip(leaves, trained, strict=True) if float_]
            others = [leaf for leaf, float_ in zip(leaves, trained, strict=True) if not float_]
            for start in range(0, len(X), CHUNK):
                x, target = self._loss.inputs(X[start : start + CHUNK]), targets[start : start + CHUNK]
                loss, found = of_many(floats, others, jnp.asarray(x), jnp.asarray(target))
                block = np.concatenate([np.asarray(part).reshape(len(x), -1) for part in found], axis=1)
                rows.append(self.projected(block))
                losses.append(np.asarray(loss))
        return np.concatenate(losses), np.concatenate(rows)

    def with_model(self, model: Any) -> ParamsAdapter:
        return ParamsAdapter(model, self._loss, self._projection, self._networks)

    def network(self, X: np.ndarray, y: np.ndarray) -> Network:
        """What is known of the loss, for samples of this shape. Raises ModelError for a shape that the loss fails on."""
        leaves, tree = jax.tree_util.tree_flatten(self.model)
        shapes = tuple(np.shape(leaf) for leaf in leaves)
        key = (tree, shapes, X.shape[1:], y.shape[1:])
        if key not in self._networks:
            self._networks[key] = Network(self._loss, self.model, X, y)
        found = self._networks[key]
        self.cross_entropy = found.kind == "margin"
        return found

    def one_number(self, X: np.ndarray, y: np.ndarray) -> bool:
        return self.network(X, y).kind != "loss"

    def linearised(self, X: np.ndarray, y: np.ndarray) -> Linearised:
        network = self.network(X, y)
        if network.kind == "loss":
            return super().linearised(X, y)
        if network.kind == "margin":
            check_classes(network, self._loss.targets(y))
        found = network.captured(self.model, X, y, network.kind)
        if network.kind == "margin":
            return of_margins(found)
        return of_outputs(found, lambda values: network.terms(self.model, values, X, y))

    def of_losses(self, X: np.ndarray, y: np.ndarray) -> Linearised:
        return of_losses(self.network(X, y).captured(self.model, X, y, "loss"))

    def of(self, params: Any) -> ParamsAdapter:
        """The adapter of other params of the same network."""
        return self.with_model(params)

    def deciding(self, X: np.ndarray, y: np.ndarray) -> Samples:
        """Give samples with what their losses are made of. Raises ModelError where no one number decides a sample's loss."""
        network = self.network(X, y)
        if network.kind == "loss":
            super().linearised(X, y)
        targets = self._loss.targets(y)
        labels = None
        if network.kind == "margin":
            check_classes(network, targets)
            labels = network.labels(targets)
        return Samples(network, self._loss.inputs(X), targets, np.zeros(len(X), np.int64) if labels is None else labels)

    def by_layers(self, gradient: Any, names: Sequence[tuple[str, ...]]) -> list[Floats]:
        vector = self.flattened(gradient)
        if len(vector) != self.size:
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {self.size} parameters")
        network = next(one for one in self._networks.values() if one.layer_names == list(names))
        return network.in_order(vector)

    def flattened(self, gradient: Any) -> Floats:
        return flattened(gradient)

    def parameters(self) -> Floats:
        return flattened(_floating(self.model))

    def frozen(self) -> ParamsAdapter:
        copied = jax.tree_util.tree_map(
            lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray) else leaf, self.model
        )
        return ParamsAdapter(copied, self._loss, self._projection, self._networks)


def check_classes(network: Network, targets: np.ndarray) -> None:
    """Raise ModelError for a target that is none of the network's classes."""
    labels = network.labels(targets)
    check_labels(targets if labels is None else labels, network.classes)


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


def flattened(gradient: Any) -> Floats:
    """The leaves of a gradient, one behind the other."""
    leaves = [plain_array(leaf, "the gradient") for leaf in jax.tree_util.tree_leaves(gradient)]
    floats = [leaf for leaf in leaves if np.issubdtype(leaf.dtype, np.number) and leaf.dtype != jax.dtypes.float0]
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in floats])
