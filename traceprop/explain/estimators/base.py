"""What every estimator answers, and what several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.outcome import Outcome
from traceprop.training.store import GradientStore

Found = tuple[np.ndarray, str, str]
"""An array, its verdict, and why."""


class AbstractEstimator(ABC):
    """Scores of one gradient store. Test rows come as plain arrays, X (t, d) and y of length t."""

    name: ClassVar[str]

    def __init__(self, store: GradientStore, outcome: str) -> None:
        self.store = store
        self._asked = outcome

    @abstractmethod
    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        """Give float32 (t, n): positive where the training row raises the outcome."""

    @abstractmethod
    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        """Give float32 (s, t): the predicted change of each outcome when each set of rows is removed."""

    @abstractmethod
    def of_gradient(self, gradient: Any) -> Found:
        """Give float32 (n,): scores for the outcome -loss, given the gradient of that loss in the parameters."""

    def prepare(self, X: np.ndarray, y: np.ndarray) -> None:
        """Settle what depends on all test rows, so that `scores` of some of them are what they are among all."""
        return

    def top_of_gradients(self, gradients: Any, k: int, sign: int) -> tuple[np.ndarray, np.ndarray, str, str] | None:
        """The k samples with the largest `sign` times score for each of several test gradients, where there is a short cut.

        Scores and samples (t, k), verdict and why; None where each gradient is to be asked by `of_gradient`.
        """
        return None

    def outcome(self, cross_entropy: bool) -> Outcome:
        """Settle what "auto" means. Raises ModelError where a margin was asked for that does not exist."""
        if self._asked == "auto":
            return "margin" if cross_entropy else "loss"
        if self._asked == "margin" and not cross_entropy:
            raise ModelError(
                "outcome='margin' is log p_y / (1 - p_y), and the loss is no cross-entropy of the model's outputs; "
                "use outcome='loss'"
            )
        return cast(Outcome, self._asked)


def subset_effects(scores: np.ndarray, subsets: Sequence[np.ndarray]) -> np.ndarray:
    """Minus the sum of the scores of each set: float32 (s, t)."""
    member = np.zeros((len(subsets), scores.shape[1]), dtype=np.float32)
    for position, rows in enumerate(subsets):
        member[position, rows] = 1.0
    return -(member @ scores.T)
