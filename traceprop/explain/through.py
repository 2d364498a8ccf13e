"""How far influence and unlearning go back: to the features, or through the pipeline that made them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.tracing.lazy import is_lazy
from traceprop.tracing.reweighted import Reweighting
from traceprop.training.store import GradientStore


def check_through(through: str | None) -> str | None:
    """Give the argument back. Raises ModelError for what is none of the three."""
    if through not in (None, "features", "pipeline"):
        raise ModelError(f"through is None, 'features' or 'pipeline', not {through!r}")
    return through


def weights_now(store: GradientStore, source_ids: Iterable[str]) -> dict[str, np.ndarray]:
    """Weights of source rows, float64 by source id: 0 for rows that were taken out of the pipeline already, else 1."""
    return {name: store.weights.get(name, np.ones(int(store.owners.source(name).n_rows))) for name in source_ids}


def has_pipeline(store: GradientStore) -> bool:
    """Whether the training features are lazy values, with a program behind them."""
    return store.lazies is not None and is_lazy(store.lazies[0])


def follows_rows(store: GradientStore, source_ids: Iterable[str]) -> bool:
    """Whether the pipeline behind the training data reduces rows of those sources in a form that follows weights."""
    if not has_pipeline(store):
        return False
    work = Reweighting(weights_now(store, source_ids))
    for value in store.lazies or ():
        if is_lazy(value):
            work.call(value.call())
    return work.forms > 0


def held_for(store: GradientStore, X_test: Any) -> str | None:
    """Say why scores of these test rows hold the features fixed where nothing else is asked for; None where they do not."""
    if not has_pipeline(store):
        return "the training data are plain arrays"
    if not is_lazy(X_test):
        return "the test rows are plain arrays, so what the pipeline does to them is unknown"
    assert store.lazies is not None
    work = Reweighting(weights_now(store, store.owners.source_ids))
    if work.rows(store.lazies[0]) is None:
        return "the training rows cannot be told apart behind the pipeline"
    if not work.forms:
        return "the pipeline has no reduction over rows with a weighted form"
    if work.call(X_test.call()) is None:
        return "the test rows come from another program than the training rows"
    return None
