"""Estimators: from a gradient store and test rows to scores and effects. One class each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.dot import dot_scores
from traceprop.passes.attribution.effect import removal_effects
from traceprop.passes.attribution.influence import influence_scores, parameter_gradients
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective, unflat
from traceprop.passes.attribution.outcome import Outcome, outcome_gradients
from traceprop.training.adapter import AbstractGradientAdapter, AbstractLinearAdapter
from traceprop.training.store import GradientStore

Found = tuple[np.ndarray, str, str]
"""An array, its verdict, and why."""

LARGEST_HESSIAN = 10_000


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


class AbstractLinearEstimator(AbstractEstimator):
    """What estimators for linear models share: test rows as features, outcomes as functions of the logits."""

    def __init__(self, store: GradientStore, outcome: str) -> None:
        super().__init__(store, outcome)
        store.linear(f"estimator={self.name!r}")
        self.kind = self.outcome(self.objective.loss.cross_entropy)

    # Read from the store at each question: a model that was corrected in place takes its store along.

    @property
    def adapter(self) -> AbstractLinearAdapter:
        return self.store.linear("attribution")[0]

    @property
    def objective(self) -> LinearObjective:
        return self.store.linear("attribution")[1]

    @property
    def theta(self) -> Floats:
        return self.store.linear("attribution")[2]

    def _test_rows(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, np.ndarray, Floats]:
        """Features, encoded targets, and the outcomes' gradients in the logits."""
        features, targets = self.adapter.features(X), self.adapter.targets(y)
        return features, targets, outcome_gradients(self.kind, self.objective.loss, features @ self.theta, targets)


class Influence(AbstractLinearEstimator):
    """Exact influence: the Hessian of the whole objective, factored once (Koh & Liang 2017)."""

    name = "influence"

    def __init__(self, store: GradientStore, outcome: str) -> None:
        super().__init__(store, outcome)
        if self.objective.size > LARGEST_HESSIAN:
            raise ModelError(
                f"the exact Hessian of {self.objective.size:,} parameters takes more memory than is sensible; "
                "estimator='dot' needs none"
            )

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        features, _, slopes = self._test_rows(X, y)
        return self._of_gradients(parameter_gradients(features, slopes))

    def _of_gradients(self, gradients: Floats) -> Found:
        fit = self.store.fit
        if fit.verdict == "refused":
            return np.empty((len(gradients), len(self.store)), dtype=np.float32), "refused", fit.why
        scores = influence_scores(self.objective, self.theta, fit.curvature, gradients)
        verdict, why = fit.verdict, fit.why
        undetermined = int((fit.curvature.flatness(gradients) > 1e-6).sum())
        if undetermined:
            verdict, why = (
                "estimated",
                (
                    f"the training rows leave {fit.curvature.null.shape[1]} directions of the parameters open, and "
                    f"{undetermined} test rows depend on them; scores take the fit to stay where it is there. {why}"
                ),
            )
        return scores, verdict, why

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        """One Newton step per set, on the rows that stay."""
        fit = self.store.fit
        features, targets, _ = self._test_rows(X, y)
        if fit.verdict == "refused":
            return np.empty((len(subsets), len(features)), dtype=np.float32), "refused", fit.why
        effects = removal_effects(self.objective, self.theta, fit.hessian, subsets, features, targets, self.kind)
        why = f"one Newton step on the rows that stay, and nothing beyond it; {fit.why}"
        return effects, "estimated", why

    def of_gradient(self, gradient: Any) -> Found:
        scores, verdict, why = self._of_gradients(-self.adapter.class_major(gradient)[None])
        return scores[0], verdict, why


class Dot(AbstractLinearEstimator):
    """Gradient dot products of a linear model, by its factors."""

    name = "dot"

    why = "gradient dot products ignore curvature: their order means something, their size does not"

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        features, _, slopes = self._test_rows(X, y)
        return dot_scores(self.objective, self.theta, features, slopes), "estimated", self.why

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        return subset_effects(self.scores(X, y)[0], subsets), "estimated", self.why

    def of_gradient(self, gradient: Any) -> Found:
        direction = unflat(self.adapter.class_major(gradient), self.objective.classes)
        logit_gradient = self.objective.row_terms(self.theta).gradient
        scores = (logit_gradient * (self.objective.features @ direction)).sum(axis=1)
        return scores.astype(np.float32), "estimated", self.why


class StoredDot(AbstractEstimator):
    """Gradient dot products of stored gradients: other torch modules, and gradients logged by hand."""

    name = "dot"
    why = Dot.why

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        adapter = self.store.adapter
        if not isinstance(adapter, AbstractGradientAdapter):
            raise ModelError(
                "gradients were logged by hand, so those of test rows have to be given too: "
                "engine.attribute(test_gradient)"
            )
        losses, gradients = adapter.gradients(X, y)
        if self.outcome(adapter.cross_entropy) == "margin":
            # With loss = -log p, margin = log p / (1 - p): its gradient is -(grad loss) / (1 - p).
            gradients = gradients / np.maximum(-np.expm1(-losses), np.finfo(np.float64).tiny)[:, None]
        return self._products(gradients), "estimated", self.why

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        return subset_effects(self.scores(X, y)[0], subsets), "estimated", self.why

    def of_gradient(self, gradient: Any) -> Found:
        adapter, stored = self.store.adapter, self._stored()
        if isinstance(adapter, AbstractGradientAdapter):
            vector = adapter.project(gradient)
        else:
            vector = np.ravel(np.asarray(gradient, dtype=np.float64))
        if len(vector) != stored.shape[1]:
            raise ModelError(f"the gradient has {len(vector)} numbers, but those in the store {stored.shape[1]}")
        return self._products(vector[None])[0], "estimated", self.why

    def _products(self, loss_gradients: Floats) -> np.ndarray:
        return (loss_gradients @ self._stored().T).astype(np.float32)

    def _stored(self) -> np.ndarray:
        assert self.store.gradients is not None
        return self.store.gradients


def estimator(name: str, store: GradientStore, outcome: str) -> AbstractEstimator:
    """Choose the estimator called `name` for a store; "auto" is influence for linear models, else dot.

    Raises
    ------
    ModelError
        There is no such estimator, or it cannot work with what the store holds.
    """
    linear = store.objective is not None
    if name == "auto":
        affordable = store.objective is not None and store.objective.size <= LARGEST_HESSIAN
        name = "influence" if affordable else "dot"
    if name == "dot":
        return Dot(store, outcome) if linear else StoredDot(store, outcome)
    if name == "influence":
        return Influence(store, outcome)
    planned = name in ("trak", "newton", "ekfac")
    raise ModelError(
        f"estimator={name!r} is {'not in this version' if planned else 'unknown'}; there are 'auto', 'influence' "
        "(exact Hessian, linear models) and 'dot'"
    )


def subset_effects(scores: np.ndarray, subsets: Sequence[np.ndarray]) -> np.ndarray:
    """Minus the sum of the scores of each set: float32 (s, t)."""
    member = np.zeros((len(subsets), scores.shape[1]), dtype=np.float32)
    for position, rows in enumerate(subsets):
        member[position, rows] = 1.0
    return -(member @ scores.T)
