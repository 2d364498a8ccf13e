"""Unlearned models against retrained ones."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.unlearning.gap import gap_closed, logit_distance, of_the_way
from traceprop.training.store import GradientStore

GAP_TOLERANCE = 1.0  # percent
WAY_TOLERANCE = 0.01


def against_retraining(
    store: GradientStore,
    rest: LinearObjective,
    forgotten: np.ndarray,
    theta: Floats,
    seconds: float,
    test: tuple[Floats, np.ndarray | None] | None,
    test_before: Floats | None = None,
    data: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[dict[str, Any], bool]:
    """Retrain on the rows that stay, and compare: metrics, and whether the unlearned model is as good as that one.

    It is where the gap is closed to within 1 % and the logits, of forgotten and of test rows, are within 1 % of the way;
    or where it fits the rows that stay better than the retrained model, by objective and by gradient norm: then what is
    left between them is what the retraining's own tolerance left.

    Where the pipeline changed too, `data` are the training data as it gives them now, and `test_before` the test features as
    it gave them before.
    """
    adapter, objective, original = store.linear("retraining")
    assert store.X is not None
    assert store.y is not None
    start = time.perf_counter()
    retrained = adapter.retrain(*(data or (store.X, store.y)), rest)
    retraining = time.perf_counter() - start

    fitted, fitted_again = _fit_to(rest, theta), _fit_to(rest, retrained)
    losses = [_losses(objective, at, forgotten) for at in (original, theta, retrained)]
    here = objective.features[forgotten]
    there = rest.features[rest.kept] if test is None else test[0]
    there_before = objective.features[rest.kept] if test is None else there if test_before is None else test_before
    if objective.loss.cross_entropy and objective.classes > 1:
        # Softmax sees logits up to a constant, so that is no distance.
        original, theta, retrained = (at - at.mean(axis=1, keepdims=True) for at in (original, theta, retrained))
    found: dict[str, Any] = {
        "retraining": adapter.retraining,
        "gap_closed": gap_closed(*losses),
        "forget_loss_retrained": float(losses[2].mean()),
        "forget_logit_distance": logit_distance(here @ theta, here @ retrained),
        "forget_logit_distance_original": logit_distance(here @ original, here @ retrained),
        "forget_of_the_way": of_the_way(here @ original, here @ theta, here @ retrained),
        "test_rows": "the training rows that stay" if test is None else "X_test",
        "test_logit_distance": logit_distance(there @ theta, there @ retrained),
        "test_logit_distance_original": logit_distance(there_before @ original, there @ retrained),
        "test_of_the_way": of_the_way(there_before @ original, there @ theta, there @ retrained),
        "retrained_gradient_norm": fitted_again[1],
        "seconds_retraining": retraining,
        "time_over_retraining": seconds / retraining,
    }
    if test is not None and test[1] is not None:
        for name, rows, at in (
            ("original", there_before, original),
            ("unlearned", there, theta),
            ("retrained", there, retrained),
        ):
            found[f"test_loss_{name}"] = float(objective.loss.terms(rows @ at, test[1]).loss.mean())
            if objective.loss.cross_entropy:
                right = _labels(rows @ at) == test[1]
                found[f"accuracy_{name}"] = float(right.mean())
    near = (
        abs(found["gap_closed"] - 100.0) <= GAP_TOLERANCE
        and found["forget_of_the_way"] <= WAY_TOLERANCE
        and found["test_of_the_way"] <= WAY_TOLERANCE
    )
    better = fitted[0] <= fitted_again[0] and fitted[1] <= fitted_again[1]
    return found, bool(near or better)


def _labels(logits: Floats) -> np.ndarray:
    """The class that logits (m, k) say, as the objective's targets number them."""
    return (logits[:, 0] > 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmax(axis=1)


def _fit_to(rest: LinearObjective, theta: Floats) -> tuple[float, float]:
    """Objective and gradient norm, both of the mean form, on the rows that stay."""
    value, gradient, _ = rest.derivatives(theta)
    return value / rest.count, float(np.linalg.norm(gradient)) / rest.count


def mean_loss(objective: LinearObjective, theta: Floats, rows: np.ndarray) -> float:
    """Mean loss of training rows, without the penalty."""
    return float(_losses(objective, theta, rows).mean())


def _losses(objective: LinearObjective, theta: Floats, rows: np.ndarray) -> Floats:
    return objective.loss.terms(objective.features[rows] @ theta, objective.y[rows]).loss
