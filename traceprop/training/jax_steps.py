"""Steps that move JAX params: `torch_steps.py` says what each does, and this is the same, of the same batches.

Every function gives params of the same structure and dtypes; arithmetic is in float64. A step is the loss as the user wrote it,
what it adds for the parameters included; numbers and losses of samples leave that out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats
from traceprop.runtime.progress import progress
from traceprop.training.batches import batches_of
from traceprop.training.jax_loss import wide
from traceprop.training.jax_network import Network

CHUNK = 1024
ALONE = 64
BETAS, EPSILON = (0.9, 0.999), 1e-8
Leaves = list[Any]
Objective = Callable[..., Any]
"""Of leaves, and of a batch as arrays, one number."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a network: features (n, …), targets and labels (n,), and what is known of their loss."""

    network: Network
    inputs: np.ndarray
    targets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: np.ndarray | slice) -> Samples:
        return Samples(self.network, self.inputs[rows], self.targets[rows], self.labels[rows])

    @property
    def steps(self) -> Any:
        """The functions of this module."""
        import traceprop.training.jax_steps as steps

        return steps

    steps_seen = False
    """Whether a context sees the steps of such a network's training."""

    def unlabelled(self, params: Any, X: np.ndarray) -> Samples:
        """Other samples of the network, of which nothing but the outputs will be asked."""
        first = np.zeros(len(X), dtype=np.int64)
        return Samples(self.network, self.network.loss.inputs(X), self.targets[first], self.labels[first])

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        """Features, targets and labels, within `enable_x64`."""
        return jnp.asarray(self.inputs), jnp.asarray(self.targets), jnp.asarray(self.labels)


def outputs(params: Any, data: Samples) -> Floats:
    """Give what a network makes of samples: float64 (n, k)."""
    return _facts(params, data)[0]


def numbers(params: Any, data: Samples) -> Floats:
    """Give the numbers that decide the samples' losses: float64 (n,)."""
    return _facts(params, data)[1]


def losses(params: Any, data: Samples) -> Floats:
    """Give the samples' losses: float64 (n,)."""
    return _facts(params, data)[2]


def numbers_and_losses(params: Any, data: Samples) -> tuple[Floats, Floats]:
    """Give both, by one pass over the samples."""
    _, found, theirs = _facts(params, data)
    return found, theirs


def trained(
    params: Any,
    data: Samples,
    steps: int,
    batch: int,
    seed: int,
    rate: float,
    make: Any = None,
    sign: float = 1.0,
) -> Any:
    """`make` gives, of the params, an object with optax's `init` and `update`; Adam at `rate` without it."""

    def objective(network: Network) -> Objective:
        def mean(leaves: Leaves, x: Any, target: Any, label: Any, sign: Any) -> Any:
            return sign * jax.vmap(network.of_leaves, (None, 0, 0))(leaves, x, target).mean()

        return mean

    run = _Run(params, data.network, ("loss", objective), rate, steps, falling=False, make=make)
    with progress("training steps", steps) as done:
        for at in batches_of(len(data), batch, steps, seed):
            run.step(data[at], np.float64(sign))
            done(1)
    return run.params


def towards(
    params: Any,
    data: Samples,
    wanted: Floats,
    first: int,
    steps: int,
    seed: int,
    rate: float,
    sizes: tuple[int, int] = (32, 64),
) -> Any:
    """By Adam with a rate that falls to 0 on a cosine; the `first` samples and the others weigh the same in every step."""

    def objective(network: Network) -> Objective:
        def huber(leaves: Leaves, x: Any, target: Any, label: Any, goals: Any, weights: Any) -> Any:
            off = jnp.abs(network.facts(leaves, x, target, label)[1] - goals)
            return (jnp.where(off < 1.0, 0.5 * off**2, off - 0.5) * weights).sum()

        return huber

    run = _Run(params, data.network, ("huber", objective), rate, steps, falling=True)
    parts = (
        batches_of(first, sizes[0], steps, seed),
        batches_of(len(data) - first, sizes[1], steps, seed + 1),
    )
    for here, there in zip(*parts, strict=True):
        at = np.concatenate([here, there + first])
        weights = np.repeat([1.0 / len(here), 1.0 / len(there)], [len(here), len(there)])
        run.step(data[at], wanted[at], weights)
    return run.params


def scrubbed(params: Any, forgotten: Samples, staying: Samples, rounds: int, batch: int, seed: int, rate: float) -> Any:
    """SCRUB, Kurmanji et al. 2023, "Towards unbounded machine unlearning"."""

    def objective(network: Network) -> Objective:
        def apart(leaves: Leaves, x: Any, target: Any, label: Any, before: Any, staying: Any) -> Any:
            far = _divergence(network.facts(leaves, x, target, label)[0], before)
            loss = jax.vmap(network.of_leaves, (None, 0, 0))(leaves, x, target).mean()
            return jnp.where(staying > 0, far + loss, -far)

        return apart

    away, near = outputs(params, forgotten), outputs(params, staying)
    run = _Run(params, forgotten.network, ("apart", objective), rate, 1, falling=False)
    for one in range(rounds):
        turns = [(forgotten, away, 0.0)] if 3 * one < 2 * rounds else []
        for data, before, stays in [*turns, (staying, near, 1.0)]:
            for at in batches_of(len(data), batch, math.ceil(len(data) / batch), seed + one):
                run.step(data[at], before[at], np.float64(stays))
    return run.params


def importances(params: Any, data: Samples) -> Floats:
    """Give the mean squared gradient of single samples' losses in each trainable parameter: float64 (p,)."""
    network = data.network
    with jax.enable_x64(True):
        leaves = jax.tree_util.tree_leaves(wide(params))
        total = np.zeros(sum(leaf.size for leaf in network.trained(leaves)))

        def one(trained: Leaves, leaves: Leaves, x: Any, target: Any) -> Any:
            return network.of_leaves(network.with_trained(leaves, trained), x, target)

        of_many = jax.jit(jax.vmap(jax.grad(one), (None, None, 0, 0)))
        for start in range(0, len(data), ALONE):
            x, target, _ = data[start : start + ALONE].arrays
            found = of_many(network.trained(leaves), leaves, x, target)
            total += np.concatenate([np.square(np.asarray(part)).sum(axis=0).reshape(-1) for part in found])
    return total / len(data)


def along(params: Any, data: Samples, weights: np.ndarray) -> Any:
    """Add to the parameters the gradient of the weighted sum (n,) of the samples' numbers."""
    network = data.network
    with jax.enable_x64(True):
        leaves = jax.tree_util.tree_leaves(wide(params))

        def weighted(trained: Leaves, leaves: Leaves, x: Any, target: Any, label: Any, weight: Any) -> Any:
            return network.facts(network.with_trained(leaves, trained), x, target, label)[1] @ weight

        gradient = jax.jit(jax.grad(weighted))
        trained, total = network.trained(leaves), None
        for start in range(0, len(data), CHUNK):
            part = slice(start, start + CHUNK)
            found = gradient(trained, leaves, *data[part].arrays, jnp.asarray(weights[part], jnp.float64))
            total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
        assert total is not None
        moved = [a + b for a, b in zip(trained, total, strict=True)]
        return _placed(network.with_trained(leaves, moved), params)


def with_parameters(params: Any, vector: Floats) -> Any:
    """Give params of those trainable numbers (p,), leaf after leaf."""
    leaves, first = jax.tree_util.tree_leaves(params), 0
    for k, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            leaves[k] = vector[first : first + leaf.size].reshape(leaf.shape)
            first += leaf.size
    return _placed(leaves, params)


def carried_over(source: Any, params: Any, inplace: bool) -> Any:
    """Give `source` in the dtypes of `params`. Raises ModelError for `inplace`: JAX arrays cannot be written to."""
    if inplace:
        raise ModelError("JAX params cannot be changed in place; take the result's .model, and leave out inplace=")
    return _placed(jax.tree_util.tree_leaves(source), params)


class _Run:
    """A run of steps: params, and what an optimizer keeps of the way."""

    def __init__(
        self,
        params: Any,
        network: Network,
        objective: tuple[str, Callable[[Network], Objective]],
        rate: float,
        steps: int,
        falling: bool,
        make: Any = None,
    ) -> None:
        self._like, self._network = params, network
        optimizer = None if make is None else _checked(make(params))
        with jax.enable_x64(True):
            self._leaves = jax.tree_util.tree_leaves(wide(params))
            self._trained = network.trained(self._leaves)
            self._state: Any = (
                _adams(self._trained, rate, steps if falling else 0)
                if optimizer is None
                else optimizer.init(self._trained)
            )
        name, made = objective
        key = f"step of {name}"
        if optimizer is not None:
            self._step = _stepping(network, made(network), optimizer.update)
        elif key not in network.functions:
            network.functions[key] = _stepping(network, made(network), _adam)
        if optimizer is None:
            self._step = network.functions[key]

    def step(self, some: Samples, *others: Any) -> None:
        """Take one step down the objective on a batch, with what else it asks for."""
        with jax.enable_x64(True):
            more = [jnp.asarray(other, jnp.float64) for other in others]
            self._trained, self._state = self._step(self._trained, self._state, self._leaves, *some.arrays, *more)

    @property
    def params(self) -> Any:
        """The params as they are now, in their own dtypes."""
        with jax.enable_x64(True):
            return _placed(self._network.with_trained(self._leaves, self._trained), self._like)


def _stepping(network: Network, objective: Objective, update: Callable[..., Any]) -> Any:
    """One step of an optimizer, compiled once for each size of batch."""

    def step(trained: Leaves, state: Any, leaves: Leaves, *batch: Any) -> tuple[Leaves, Any]:
        gradient = jax.grad(lambda some: objective(network.with_trained(leaves, some), *batch))(trained)
        updates, state = update(gradient, state, trained)
        return [a + b for a, b in zip(trained, updates, strict=True)], state

    return jax.jit(step)


def _adams(trained: Leaves, rate: float, steps: int) -> Any:
    """Of Adam: steps so far, moments, the rate, and over how many steps that falls to 0; 0: it does not."""
    zeros = [jnp.zeros_like(leaf) for leaf in trained]
    return jnp.zeros(()), zeros, zeros, jnp.asarray(rate, jnp.float64), jnp.asarray(steps, jnp.float64)


def _adam(gradient: Leaves, state: Any, _: Leaves) -> tuple[Leaves, Any]:
    """Kingma & Ba 2015, with PyTorch's constants."""
    count, first, second, rate, steps = state
    lowered = jnp.where(steps > 0, 0.5 * (1 + jnp.cos(jnp.pi * count / jnp.maximum(steps, 1.0))), 1.0)
    count = count + 1
    first = [BETAS[0] * m + (1 - BETAS[0]) * g for m, g in zip(first, gradient, strict=True)]
    second = [BETAS[1] * v + (1 - BETAS[1]) * g**2 for v, g in zip(second, gradient, strict=True)]
    scale = rate * lowered / (1 - BETAS[0] ** count)
    updates = [
        -scale * m / (jnp.sqrt(v / (1 - BETAS[1] ** count)) + EPSILON) for m, v in zip(first, second, strict=True)
    ]
    return updates, (count, first, second, rate, steps)


def _checked(optimizer: Any) -> Any:
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise ModelError(
            f"optimizer= gave {type(optimizer).__name__}; for JAX params it gives an object with optax's init and update: "
            "optimizer=lambda params: optax.adam(1e-3)"
        )
    return optimizer


def _facts(params: Any, data: Samples) -> tuple[Floats, Floats, Floats]:
    """Outputs, numbers and losses of samples."""
    network = data.network
    with jax.enable_x64(True):
        if "facts" not in network.functions:
            network.functions["facts"] = jax.jit(network.facts)
        leaves = jax.tree_util.tree_leaves(wide(params))
        parts = [
            [np.asarray(found) for found in network.functions["facts"](leaves, *data[start : start + CHUNK].arrays)]
            for start in range(0, len(data), CHUNK)
        ]
    outputs_, numbers_, losses_ = (np.concatenate(found) for found in zip(*parts, strict=True))
    return outputs_, numbers_, losses_


def _divergence(out: Any, before: Any) -> Any:
    """KL(before, out) of the classes' probabilities; of single outputs half the squared difference."""
    if out.shape[1] == 1:
        return 0.5 * ((out - before) ** 2).mean()
    was = jax.nn.log_softmax(before, 1)
    return (jnp.exp(was) * (was - jax.nn.log_softmax(out, 1))).sum(axis=1).mean()


def _placed(leaves: Leaves, like: Any) -> Any:
    """Leaves in the structure and dtypes of params."""
    old, tree = jax.tree_util.tree_flatten(like)
    with jax.enable_x64(True):
        new = [
            (jnp if isinstance(was, jax.Array) else np).asarray(leaf, was.dtype)
            for leaf, was in zip(leaves, old, strict=True)
        ]
    return jax.tree_util.tree_unflatten(tree, new)
