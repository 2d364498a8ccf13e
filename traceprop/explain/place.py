"""A place where the derivative in the rows' weights is taken: some weights, and pipeline and model fitted with those."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.sweep import Sweep
from traceprop.explain.through import weights_now
from traceprop.passes.attribution.fit import FitCheck
from traceprop.passes.attribution.halves import settled
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.tracing.reweighted import Reweighting
from traceprop.training.data import plain_array, plain_features
from traceprop.training.store import GradientStore


@dataclass(frozen=True, eq=False)
class Place:
    """The pipeline with weights, and the model at its minimum there.

    Attributes
    ----------
    work, sweep
        The pipeline with those weights, and its backward sweep.
    train, rows
        The training features there, and the weight of each sample, lazily.
    objective, theta, fit
        Of the samples that are there, in units of `count`: F = count * objective.
    everyone
        The same objective with the samples that are not there, but could come.
    count
        The weight of each sample that is there.
    """

    work: Reweighting
    sweep: Sweep
    train: Any
    rows: Any
    objective: LinearObjective
    everyone: LinearObjective
    theta: Floats
    fit: FitCheck
    count: float = 1.0

    @property
    def width(self) -> int:
        """The number of features, an intercept apart."""
        return int(self.train.shape[1])

    @staticmethod
    def as_fitted(store: GradientStore) -> Place:
        """The weights that the rows have: 1, or 0 for those that were taken out."""
        _, objective, theta = store.linear("attribution")
        work, train, rows = _followed(store, weights_now(store, store.owners.source_ids))
        return Place(work, Sweep(work), train, rows, objective, objective, theta, store.fit)

    @staticmethod
    def with_rows(store: GradientStore, kept: np.ndarray, weight: float) -> Place:
        """The weights of some samples, the others' being 0, by way of the source rows of which nothing else is made."""
        adapter, objective, theta = store.linear("attribution")
        weights = {name: array.copy() for name, array in weights_now(store, store.owners.source_ids).items()}
        reached = np.zeros(len(store), dtype=np.bool_)
        for name, (samples, owners) in store.owners.pairs.items():
            if len(np.unique(owners)) == len(owners):
                first = ~reached[samples]
                weights[name][owners[first]] *= np.where(kept[samples[first]], weight, 0.0)
                reached[samples] = True
        if not reached.all():
            raise ModelError(
                f"estimator='banzhaf' counts halves of the training rows, and {int((~reached).sum())} of them are made of "
                "source rows alone that others are made of as well; estimator='influence' does without"
            )
        work, train, rows = _followed(store, weights)
        X = plain_array(train, "X_train")
        unknown = ~kept & ~np.isfinite(X).all(axis=1)  # a row that is not there may be of a category that nobody is in
        if unknown.any():
            assert store.X is not None
            X = np.where(unknown[:, None], store.X, X)
        features = adapter.features(plain_features(X, "X_train with other weights"))
        everyone = replace(objective, features=features)
        here, found, fit = settled(everyone, kept, weight, theta)
        return Place(work, Sweep(work), train, rows, here, everyone, found, fit, weight)

    def pushes(self, direction: Floats) -> tuple[Floats, Floats]:
        """Of sum_i w_i direction . grad loss_i: slopes in the weights (n,) and in the features (n, width)."""
        theta, width = self.theta, self.width
        terms = self.everyone.row_terms(theta)
        along = direction.reshape(theta.shape[1], -1).T
        logits = self.everyone.features @ along
        own = (logits * terms.gradient).sum(axis=1)
        curved = np.einsum("nkl,nl->nk", terms.hessian, logits)
        there = (self.count * self.objective.kept)[:, None]
        return own, there * (terms.gradient @ along[:width].T + curved @ theta[:width].T)


def _followed(store: GradientStore, weights: dict[str, np.ndarray]) -> tuple[Reweighting, Any, Any]:
    assert store.lazies is not None
    work = Reweighting(weights)
    rows = work.rows(store.lazies[0])
    if rows is None:
        raise ModelError("the training rows cannot be told apart behind the pipeline, so their weights mean nothing")
    return work, work.value(store.lazies[0]), rows
