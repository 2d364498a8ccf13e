"""Gradient dot products of gradients that were logged by hand, or that another process wrote: read block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects
from traceprop.stores import GradientBlocks
from traceprop.training.logged import as_stored


class LoggedDot(AbstractEstimator):
    """Dot products of gradients logged by hand with a test gradient that is given too."""

    name = "dot"
    why = "gradient dot products ignore curvature: their order means something, their size does not"

    @property
    def blocks(self) -> GradientBlocks:
        """The gradients."""
        assert self.store.blocks is not None
        return self.store.blocks

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        raise ModelError(
            "gradients were logged by hand, so those of test rows have to be given too: engine.attribute(test_gradient)"
        )

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        return subset_effects(self.scores(X, y)[0], subsets), "estimated", self.why

    def of_gradient(self, gradient: Any) -> Found:
        vector = np.ravel(as_stored(self.blocks, gradient))
        if len(vector) != self.blocks.width:
            raise ModelError(f"the gradient has {len(vector)} numbers, but those in the store {self.blocks.width}")
        return self._products(vector).astype(np.float32), "estimated", self.why

    def _products(self, vector: np.ndarray) -> np.ndarray:
        """Products with each sample's gradients, which add up: float64 (n,)."""
        total = np.zeros(len(self.store))
        for block in self.blocks:
            rows = block.gradients()
            found = rows @ vector.astype(rows.dtype)
            np.add.at(total, block.columns["sample"], found)
        return total

    def lengths(self) -> np.ndarray:
        """The length of each sample's gradient: float64 (n,)."""
        samples = self.blocks.columns()["sample"]
        if len(np.unique(samples)) < len(samples):  # what is logged again adds up before it has a length
            return np.linalg.norm(self._whole(), axis=1)
        squares = np.zeros(len(self.store))
        for block in self.blocks:
            rows = block.gradients()
            squares[block.columns["sample"]] = np.einsum("ij,ij->i", rows, rows)
        return np.sqrt(squares)

    def _whole(self) -> np.ndarray:
        found = self.store.gradients
        assert found is not None
        return found


class LoggedCosine(LoggedDot):
    """Cosines between gradients logged by hand and a test gradient."""

    name = "cosine"
    why = "cosines between gradients ignore curvature and size: only their order means something"

    def _products(self, vector: np.ndarray) -> np.ndarray:
        lengths = self.lengths() * np.linalg.norm(vector)
        return super()._products(vector) / np.where(lengths > 0, lengths, 1.0)
