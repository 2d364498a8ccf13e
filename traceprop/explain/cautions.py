"""What every answer about a training run has to say, whichever estimator gives it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from traceprop.training.store import GradientStore


def cautions(store: GradientStore) -> list[str]:
    """What stands between scores and the rows that they are told of: one sentence each, none where nothing does."""
    found = (_batch_norms(store.model), _unrecorded(store), _without_gradient(store), _inexact_lineage(store))
    return [caution for caution in found if caution is not None]


def _batch_norms(model: Any) -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return None
    kind = torch.nn.modules.batchnorm._BatchNorm
    names = [name for name, part in model.named_modules() if isinstance(part, kind) and part.track_running_stats]
    if not names:
        return None
    are = "is a batch norm" if len(names) == 1 else "are batch norms"
    return f"{_some(names)} {are} in evaluation mode: what a row did to the running statistics is left out"


def _unrecorded(store: GradientStore) -> str | None:
    """Of a linear model the fit's own residual tells whether all rows are in it."""
    if not store.schedule or store.objective is not None:
        return None
    used = np.zeros(len(store), dtype=bool)
    for _, rows in store.schedule:
        used[rows] = True
    missing = np.flatnonzero(~used)
    if not len(missing):
        return None
    return (
        f"{len(missing):,} of {len(store):,} training rows, {missing[0]} the first, are in no recorded step: their scores are of "
        "rows that training never saw"
    )


def _without_gradient(store: GradientStore) -> str | None:
    if store.adapter is not None or store.blocks is None:
        return None
    missing = len(store) - len(np.unique(store.blocks.columns()["sample"]))
    return (
        f"{missing:,} of {len(store):,} training rows have no gradient in the store, and score 0" if missing else None
    )


def _inexact_lineage(store: GradientStore) -> str | None:
    views = [view for view in (store.owners.view, store.owners.label_view) if view is not None]
    if all(getattr(view, "exact", True) for view in views):
        return None
    return (
        "the lineage of the training rows is inexact: a score is its training row's own, and the source rows named behind it may "
        "be more than it was made of"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
