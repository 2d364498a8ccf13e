"""Gradient dot products of gradients that were logged by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects


class LoggedDot(AbstractEstimator):
    """Dot products, or (`cosine`) cosines, of gradients logged by hand with a test gradient that is given too."""

    name = "dot"
    why = "gradient dot products ignore curvature: their order means something, their size does not"

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        raise ModelError(
            "gradients were logged by hand, so those of test rows have to be given too: engine.attribute(test_gradient)"
        )

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        return subset_effects(self.scores(X, y)[0], subsets), "estimated", self.why

    def of_gradient(self, gradient: Any) -> Found:
        stored = self.store.gradients
        assert stored is not None
        vector = np.ravel(np.asarray(gradient, dtype=np.float64))
        if len(vector) != stored.shape[1]:
            raise ModelError(f"the gradient has {len(vector)} numbers, but those in the store {stored.shape[1]}")
        return self._products(stored, vector), "estimated", self.why

    def _products(self, stored: np.ndarray, vector: np.ndarray) -> np.ndarray:
        return (stored @ vector).astype(np.float32)


class LoggedCosine(LoggedDot):
    """Cosines between gradients logged by hand and a test gradient."""

    name = "cosine"
    why = "cosines between gradients ignore curvature and size: only their order means something"

    def _products(self, stored: np.ndarray, vector: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(vector)
        return (stored @ vector / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
