"""Losses of one sample as functions of its logits, with first and second derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Terms(NamedTuple):
    """What `n` samples add to the objective, as functions of their `k` logits.

    loss (n,), its gradient (n, k) and its Hessian (n, k, k) in the logits, all float64.
    """

    loss: Floats
    gradient: Floats
    hessian: Floats


class SampleLoss(Protocol):
    """A loss that is a smooth function of one sample's logits and its target."""

    @property
    def cross_entropy(self) -> bool:
        """Whether it is -log p_y, so that the margin log p_y / (1 - p_y) is defined."""
        ...

    @property
    def self_concordance(self) -> float | None:
        """The least known r such that |l'''[v,v,v]| <= r |v| l''[v,v] for every direction v of the logits."""
        ...

    def terms(self, logits: Floats, y: NDArray[Any]) -> Terms:
        """Evaluate at logits (n, k) with targets y of length n."""
        ...


@dataclass(frozen=True)
class LogisticLoss:
    """log(1 + exp(-s z)) of one logit z; y is 0 or 1 and s = 2y - 1."""

    cross_entropy = True
    # |p (1-p) (1-2p)| <= p (1-p); Bach 2010, "Self-concordant analysis for logistic regression".
    self_concordance = 1.0

    def terms(self, logits: Floats, y: NDArray[Any]) -> Terms:
        sign = 2.0 * y - 1.0
        margin = sign * logits[:, 0]
        small = np.exp(-np.abs(margin))
        loss = np.log1p(small) + np.maximum(-margin, 0.0)
        miss = np.where(margin > 0, small, 1.0) / (1.0 + small)  # the probability of the other label
        return Terms(loss, (-sign * miss)[:, None], (miss * (1.0 - miss))[:, None, None])


@dataclass(frozen=True)
class SoftmaxLoss:
    """-log softmax(z)_y of k >= 2 logits; y is the class, an integer in 0..k-1."""

    cross_entropy = True
    # A third cumulant is at most (largest - smallest) times the second, and max v - min v <= sqrt(2) |v|.
    self_concordance = 2.0**0.5

    def terms(self, logits: Floats, y: NDArray[Any]) -> Terms:
        at = np.arange(len(logits))
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        gradient = p.copy()
        gradient[at, y] -= 1.0
        hessian = -p[:, :, None] * p[:, None, :]
        diagonal = np.arange(logits.shape[1])
        hessian[:, diagonal, diagonal] += p
        return Terms(-log_p[at, y], gradient, hessian)


@dataclass(frozen=True)
class SquaredLoss:
    """Half the squared distance of k outputs to y, (n,) or (n, k)."""

    cross_entropy = False
    self_concordance = 0.0

    def terms(self, logits: Floats, y: NDArray[Any]) -> Terms:
        residual = logits - np.asarray(y, dtype=np.float64).reshape(logits.shape)
        eye = np.eye(logits.shape[1])
        return Terms(0.5 * (residual**2).sum(axis=1), residual, np.broadcast_to(eye, (len(logits), *eye.shape)))
