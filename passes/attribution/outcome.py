"""The number that a prediction is explained by, larger is better: the margin of the true label, or minus the loss."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.losses import Floats, SampleLoss

Outcome = Literal["margin", "loss"]


def outcome_values(outcome: Outcome, loss: SampleLoss, logits: Floats, y: NDArray[Any]) -> Floats:
    """Give log p_y / (1 - p_y) or -loss of each test row: float64 (t,) from logits (t, k)."""
    if outcome == "loss":
        return np.negative(loss.terms(logits, y).loss)
    if logits.shape[1] == 1:
        binary: Floats = (2.0 * np.asarray(y, dtype=np.float64) - 1.0) * logits[:, 0]
        return binary
    others, at = _others(logits, y)
    top = others.max(axis=1)
    margin: Floats = logits[at, y] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    return margin


def outcome_gradients(outcome: Outcome, loss: SampleLoss, logits: Floats, y: NDArray[Any]) -> Floats:
    """Give the gradient of each outcome in its own logits: float64 (t, k)."""
    if outcome == "loss":
        return -loss.terms(logits, y).gradient
    if logits.shape[1] == 1:
        binary: Floats = (2.0 * np.asarray(y, dtype=np.float64) - 1.0)[:, None]
        return binary
    others, at = _others(logits, y)
    weight = np.exp(others - others.max(axis=1, keepdims=True))
    gradient: Floats = -weight / weight.sum(axis=1, keepdims=True)
    gradient[at, y] = 1.0
    return gradient


def _others(logits: Floats, y: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    at = np.arange(len(logits))
    others = logits.copy()
    others[at, y] = -np.inf
    return others, at
