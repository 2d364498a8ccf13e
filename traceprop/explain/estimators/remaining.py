"""Estimators of a network that was made to forget some rows: those score 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from traceprop.explain.estimators.base import AbstractEstimator, Found
from traceprop.training.owners import Owners
from traceprop.training.store import GradientStore


class Remaining(AbstractEstimator):
    """An estimator of the rows that stay, answering in positions of all rows."""

    def __init__(self, inner: AbstractEstimator, store: GradientStore, outcome: str) -> None:
        super().__init__(store, outcome)
        self._inner = inner
        self._kept = staying(store)
        self._place = np.full(len(store), -1)
        self._place[self._kept] = np.arange(len(self._kept))

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the estimator itself."""
        return self._inner.name

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        found, verdict, why = self._inner.scores(X, y)
        return self._spread(found), verdict, why

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        places = [self._place[rows] for rows in subsets]
        return self._inner.effect([at[at >= 0] for at in places], X, y)

    def of_gradient(self, gradient: Any) -> Found:
        found, verdict, why = self._inner.of_gradient(gradient)
        return self._spread(found), verdict, why

    def _spread(self, found: np.ndarray) -> np.ndarray:
        out = np.zeros((*found.shape[:-1], len(self.store)), dtype=found.dtype)
        out[..., self._kept] = found
        return out


def staying(store: GradientStore) -> np.ndarray:
    """The samples that were not forgotten, sorted."""
    return np.setdiff1d(np.arange(len(store)), store.forgotten)


def without_forgotten(store: GradientStore) -> GradientStore:
    """A store of the samples that stay, numbered anew."""
    kept = staying(store)
    assert store.X is not None
    assert store.y is not None
    nothing = np.empty(0, dtype=np.int64)
    return replace(store, owners=Owners(len(kept), {}), X=store.X[kept], y=store.y[kept], forgotten=nothing)
