"""Gradient dot products: cheap, no curvature, right in direction more often than in size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.attribution.pairs import pair_products, small


def dot_scores(
    objective: LinearObjective, theta: Floats, test_features: Floats, outcome_gradients: Floats
) -> NDArray[np.float32]:
    """Score -<grad outcome_t, grad loss_i> of test rows (t, d) and all n training rows: float32 (t, n).

    The outcome's change, per unit of step size, when gradient descent steps on row i (TracIn at one checkpoint:
    Pruthi et al. 2020). Gradients of a linear model are outer products, so that their dot product is one of logit
    gradients times one of features, and none is ever formed. Positive: the row raises the outcome.
    """
    gradient = objective.row_terms(theta).gradient
    if objective.classes == 1:
        return pair_products(-outcome_gradients * test_features, objective.features, gradient)
    if small(objective.features, gradient):
        return _products(test_features, objective.features, -outcome_gradients, gradient)
    single = np.float32
    return _products(
        test_features.astype(single),
        objective.features.astype(single),
        -outcome_gradients.astype(single),
        gradient.astype(single),
    )


def _products(tests: Any, features: Any, slopes: Any, gradient: Any) -> NDArray[np.float32]:
    """Of outer products: those of their factors, multiplied; float32 (t, n)."""
    out = np.empty((len(tests), len(gradient)), dtype=np.float32)
    for block in blocks(len(tests), len(gradient)):
        out[block] = (tests[block] @ features.T) * (slopes[block] @ gradient.T)
    return out


def gradient_lengths(objective: LinearObjective, theta: Floats) -> Floats:
    """Lengths of all training rows' gradients: float64 (n,)."""
    outer = np.square(objective.row_terms(theta).gradient).sum(axis=1) * np.square(objective.features).sum(axis=1)
    lengths: Floats = np.sqrt(outer)
    return lengths


def cosine_scores(
    objective: LinearObjective, theta: Floats, test_features: Floats, outcome_gradients: Floats
) -> NDArray[np.float32]:
    """`dot_scores` over the lengths of both gradients: float32 (t, n), between -1 and 1; 0 where one has no length."""
    scores = dot_scores(objective, theta, test_features, outcome_gradients)
    mine = np.sqrt(np.square(outcome_gradients).sum(axis=1) * np.square(test_features).sum(axis=1))
    for lengths in (mine[:, None], gradient_lengths(objective, theta)):
        scores /= np.where(lengths > 0, lengths, 1.0).astype(np.float32)
    return scores


def blocks(tests: int, rows: int, cells: int = 1 << 19) -> list[slice]:
    """Cut test rows into blocks whose (block, rows) intermediate results hold about `cells` numbers: 4 MB, near caches."""
    size = max(1, cells // max(rows, 1))
    return [slice(start, min(start + size, tests)) for start in range(0, tests, size)]
