"""The training data as the pipeline gives them without some source rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.forgetting import Request
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.tracing.lazy import is_lazy
from traceprop.tracing.reweighted import Reweighting
from traceprop.training.adapter import AbstractLinearAdapter
from traceprop.training.data import plain_array, plain_features
from traceprop.training.store import GradientStore


@dataclass(frozen=True, eq=False)
class Refit:
    """A pipeline's values without the rows that were forgotten, now and before.

    Attributes
    ----------
    weights
        float64 per row, by source id: 0 for the rows that are gone, else 1. What `tp.reweight` takes.
    X, y
        The training data: the rows that stay as the pipeline without the others gives them.
    gone
        bool (n,): the samples of which no row is left.
    """

    weights: dict[str, np.ndarray]
    X: np.ndarray
    y: np.ndarray
    gone: np.ndarray
    work: Reweighting

    @property
    def held(self) -> tuple[str, ...]:
        """The steps that have no weighted form and stay as they are with all rows, and why."""
        return tuple(self.work.held)

    def changes(self, store: GradientStore) -> bool:
        """Whether anything of a store's training data is another without those rows."""
        assert store.objective is not None
        stays = ~self.gone
        return not (
            np.array_equal(stays, store.objective.kept)
            and np.array_equal(self.X[stays], store.X[stays], equal_nan=True)  # type: ignore[index]
            and np.array_equal(self.y[stays], store.y[stays])  # type: ignore[index]
        )

    def objective(self, adapter: AbstractLinearAdapter, objective: LinearObjective) -> LinearObjective:
        """What a fit to those data minimises."""
        rest = objective.without(np.flatnonzero(self.gone))
        targets = rest.y if self.y is None else adapter.targets(self.y)
        return replace(rest, features=adapter.features(self.X), y=targets)

    def value(self, lazy: Any) -> Any:
        """A lazy value as the pipeline without those rows gives it; what is not lazy is itself."""
        return self.work.value(lazy) if is_lazy(lazy) else lazy


def refit(store: GradientStore, request: Request) -> Refit:
    """Run the pipeline behind a store's training data with weight 0 for the rows to forget.

    Raises
    ------
    ModelError
        The training data came as plain arrays: no pipeline is known; or its labels change with its rows.
    """
    if store.lazies is None or not is_lazy(store.lazies[0]):
        raise ModelError(
            "through='pipeline' needs the pipeline: give training_context the lazy values of a traced function, not plain arrays"
        )
    weights = {name: array.copy() for name, array in store.weights.items()}
    for name, rows in request.rows.items():
        weights.setdefault(name, np.ones(int(store.owners.source(name).n_rows)))[rows] = 0.0
    assert store.objective is not None
    assert store.X is not None
    assert store.y is not None
    work = Reweighting(weights)
    gone = ~store.objective.kept
    gone[request.samples] = True
    for value in store.lazies:
        rows = work.rows(value) if is_lazy(value) else None
        if rows is not None:
            gone |= np.asarray(rows.compute()) == 0
    X, y = store.X.copy(), store.y.copy()
    X[~gone] = plain_features(_rows(work, store.lazies[0])[~gone], "X_train without those rows")
    if is_lazy(store.lazies[1]):
        again = plain_array(work.value(store.lazies[1]), "y_train without those rows")
        y = y.astype(np.result_type(y, again)) if y.dtype.kind in "biuf" else y
        y[~gone] = again[~gone]
    return Refit(weights, X, y, gone, work)


def _rows(work: Reweighting, lazy: Any) -> np.ndarray:
    return plain_array(work.value(lazy), "X_train without those rows")
