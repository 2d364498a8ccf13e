"""What a loss that the user gives as a function is: its closed form, and what it makes of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats, LogisticLoss, SampleLoss, SoftmaxLoss

Losses = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cross_entropy_of(losses: Losses, logits: Floats, targets: np.ndarray) -> SampleLoss | None:
    """Find the cross-entropy that `losses(logits, targets)` equals, on all rows at their logits and at spread-out ones."""
    labels = np.ravel(targets)
    classes = max(2, logits.shape[1])
    if logits.ndim != 2 or len(labels) != len(logits) or not np.isin(labels, np.arange(classes)).all():
        return None
    closed: SampleLoss = LogisticLoss() if logits.shape[1] == 1 else SoftmaxLoss()
    spread = np.random.default_rng(0).uniform(-8, 8, logits.shape)
    for tried in (logits, spread):
        mine = closed.terms(tried, labels.astype(np.int64)).loss
        if not np.allclose(losses(tried, targets), mine, rtol=1e-6, atol=1e-9):
            return None
    return closed


def exact_targets(y: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Give targets in the type that a loss takes. Raises ModelError where that would change them."""
    targets = y.astype(dtype)
    if not np.array_equal(targets, y):
        row = int(np.argwhere(targets != y)[0][0])
        raise ModelError(f"target {y[row].tolist()!r} of row {row} is no {dtype}, which the loss takes")
    return targets


def check_labels(targets: np.ndarray, classes: int) -> None:
    """Raise ModelError for a label that is no class."""
    bad = ~np.isin(targets, np.arange(classes))
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ModelError(
            f"label {np.ravel(targets[row]).tolist()[0]!r} of row {row} is none of the classes 0 to {classes - 1}"
        )


def check_batch(
    value: np.ndarray, losses: np.ndarray, outputs: tuple[int, ...], targets: tuple[int, ...], largest: float = 1.0
) -> None:
    """Raise ModelError unless a batch gives the losses of its samples, their mean or their sum.

    `largest`: of the outputs. A loss that was taken in float32 is a difference of numbers of that size.
    """
    near = 1e-8 if value.dtype == np.float64 else 1e-8 + 4 * float(np.finfo(np.float32).eps) * largest
    same = value.size == len(losses) and np.allclose(value.ravel(), losses, rtol=1e-5, atol=near)
    reduced = value.size == 1 and any(
        np.allclose(value.ravel()[0], whole, rtol=1e-5, atol=near) for whole in (losses.mean(), losses.sum())
    )
    if same or reduced:
        return
    found = f"shape {value.shape}" if value.size > 1 else f"{value.ravel()[0]:.6g}"
    raise ModelError(
        f"the loss of {len(losses)} samples gives {found}, which is neither one value per sample nor their mean "
        f"({losses.mean():.6g}) or sum ({losses.sum():.6g}); give reduction='none', and outputs {outputs} and targets "
        f"{targets} that do not broadcast against each other"
    )
