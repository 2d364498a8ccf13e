"""The loss of one sample under JAX, found in a loss that was written for batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.training.loss import check_batch, exact_targets

PROBED = 16


@dataclass(frozen=True, eq=False)
class SingleLoss:
    """loss(params, x[None], y[None]) as a scalar, in float64; `dtype` is what the loss takes its targets in.

    `ids`: the loss takes features as the integers that they are (ids of an embedding), and not as floats.
    """

    loss: Callable[..., Any]
    dtype: np.dtype[Any]
    ids: bool = False

    def __call__(self, params: Any, x: Any, target: Any) -> Any:
        return jnp.reshape(self.loss(params, x[None], target[None]), ())

    def inputs(self, X: np.ndarray) -> np.ndarray:
        """Give features in the type that the loss takes."""
        return X.astype(np.int64 if self.ids else np.float64)

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Give targets in the type that the loss takes. Raises ModelError where that would change them."""
        return exact_targets(y, self.dtype)


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
    for ids in (False, True) if X.dtype.kind in "iu" else (False,):
        for dtype in dict.fromkeys([own, np.dtype(np.int64), np.dtype(np.float64)]):
            single = SingleLoss(loss, dtype, ids)
            some, targets = single.inputs(X[:PROBED]), y[:PROBED].astype(dtype)
            if not np.array_equal(targets, y[:PROBED]):
                continue
            try:
                with jax.enable_x64(True):
                    given = wide(params), jnp.asarray(some), jnp.asarray(targets)
                    losses = np.asarray(jax.vmap(single, (None, 0, 0))(*given))
                    value = np.asarray(loss(*given))
            except (TypeError, ValueError, IndexError) as error:
                first = first or error
                continue
            check_batch(value, losses, some.shape, targets.shape)
            return single
    raise ModelError(
        f"loss(params, x, y) fails on a single sample, with x of shape (1, {', '.join(map(str, X.shape[1:]))}) and a target "
        f"of {y.dtype} {('1', *map(str, y.shape[1:]))}: {first}; give one value per sample"
    ) from first


def wide(params: Any) -> Any:
    """Floating leaves in float64; within `enable_x64`."""
    return jax.tree_util.tree_map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.asarray(leaf),
        params,
    )


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
