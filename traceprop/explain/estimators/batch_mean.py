"""The estimator of granularity "batch": a sample by the batches that it was in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects
from traceprop.passes.attribution.losses import Floats
from traceprop.stores import GradientBlocks
from traceprop.training.logged import as_stored, final_gradients
from traceprop.training.store import GradientStore


class BatchMean(AbstractEstimator):
    """Dot products of a test gradient with the gradients of the steps that a sample was in, its share of each (1 / b).

    One gradient per step is all that granularity "batch" keeps, and so the samples of one batch share its credit: with
    many passes in other orders they part. TracIn (Pruthi et al. 2020) at every step, as far as batches tell.
    """

    name = "batch-mean"
    why = (
        "gradient dot products with whole batches, at the steps of the recorded run: the samples of a batch share what it did, "
        "and curvature is ignored; their order means something, their size does not"
    )

    def __init__(self, store: GradientStore, outcome: str) -> None:
        super().__init__(store, outcome)
        blocks = store.steps
        if blocks is None or blocks.about.get("of") != "batches" or not store.schedule:
            raise ModelError(
                "estimator='batch-mean' needs the gradients of batches: train in a context with granularity=\"batch\", whose "
                "steps are seen (a torch optimizer's) or told (ctx.step)"
            )
        self._blocks: GradientBlocks = blocks

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        adapter = self.store.adapter
        assert adapter is not None
        if self._undecided is not None:
            return np.empty((len(X), len(self.store)), dtype=np.float32), "refused", self._undecided
        parts = []
        margin = None
        for _, losses, gradients in final_gradients(adapter, X, y):
            if margin is None:
                margin = self.outcome(bool(getattr(adapter, "cross_entropy", True))) == "margin"
            if margin:  # the loss is log(1 + e^-m) of the margin m, whose slope is -(1 - p)
                gradients = gradients / np.maximum(-np.expm1(-losses), np.finfo(np.float64).tiny)[:, None]
            parts.append(as_stored(self._blocks, gradients))
        return self._of(np.concatenate(parts)), "estimated", self.why

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        scores, verdict, why = self.scores(X, y)
        return subset_effects(scores, subsets), verdict, why

    def of_gradient(self, gradient: Any) -> Found:
        if self._undecided is not None:
            return np.empty(len(self.store), dtype=np.float32), "refused", self._undecided
        vector = np.ravel(as_stored(self._blocks, gradient))
        return self._of(vector[None])[0], "estimated", self.why

    @property
    def _undecided(self) -> str | None:
        """Of a linear model: why its scores mean nothing, where they do."""
        return None if self.store.objective is None else self.store.undecided

    def _of(self, asked: Floats) -> np.ndarray:
        """Scores (t, n) for gradients of test losses, in the length that the store has."""
        total = np.zeros((len(asked), len(self.store)))
        for block in self._blocks:
            products = asked @ block.gradients().T
            for column, step in enumerate(block.columns["step"]):
                rows = self.store.schedule[int(step)][1]
                np.add.at(total, (slice(None), rows), products[:, column, None] / len(rows))
        return total.astype(np.float32)
