"""Estimators for linear models: exact Hessians, and gradients that are never formed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects
from traceprop.passes.attribution.dot import cosine_scores, dot_scores, gradient_lengths
from traceprop.passes.attribution.effect import removal_effects
from traceprop.passes.attribution.halves import DERIVATIVE, places, settled
from traceprop.passes.attribution.influence import influence_scores, parameter_gradients
from traceprop.passes.attribution.leverage import ALONE, HIGH
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective, unflat
from traceprop.passes.attribution.outcome import outcome_gradients
from traceprop.training.adapter import AbstractLinearAdapter
from traceprop.training.store import GradientStore

LARGEST_HESSIAN = 10_000


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

    def refusal(self) -> str | None:
        """Why no scores are given; None where they are."""
        return self.store.undecided

    def refused(self, why: str, many: int) -> Found:
        """No scores of `many` test rows."""
        return np.empty((many, len(self.store)), dtype=np.float32), "refused", why

    def _test_rows(
        self, X: np.ndarray, y: np.ndarray, theta: Floats | None = None
    ) -> tuple[Floats, np.ndarray, Floats]:
        """Features, encoded targets, and the outcomes' gradients in the logits, at other parameters if given."""
        features, targets = self.adapter.features(X), self.adapter.targets(y)
        logits = features @ (self.theta if theta is None else theta)
        return features, targets, outcome_gradients(self.kind, self.objective.loss, logits, targets)


class Influence(AbstractLinearEstimator):
    """Exact influence: the Hessian of the whole objective, factored once (Koh & Liang 2017)."""

    name = "influence"
    leave_out = False

    def __init__(self, store: GradientStore, outcome: str) -> None:
        super().__init__(store, outcome)
        if self.objective.size > LARGEST_HESSIAN:
            raise ModelError(
                f"the exact Hessian of {self.objective.size:,} parameters takes more memory than is sensible; "
                "estimator='dot' needs none"
            )

    def refusal(self) -> str | None:
        fit = self.store.fit
        return fit.why if fit.verdict == "refused" else super().refusal()

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        features, _, slopes = self._test_rows(X, y)
        return self._of_gradients(parameter_gradients(features, slopes))

    def _of_gradients(self, gradients: Floats) -> Found:
        verdict, why = self.judged(gradients)
        if verdict == "refused":
            return self.refused(why, len(gradients))
        fit = self.store.fit
        scores = influence_scores(self.objective, self.theta, fit.curvature, gradients, self.leave_out, fit.terms)
        return scores, verdict, why

    def judged(self, gradients: Floats) -> tuple[str, str]:
        """How far scores by those gradients of outcomes (t, k * d) are to be trusted, and why."""
        fit, why_not = self.store.fit, self.refusal()
        if why_not is not None:
            return "refused", why_not
        verdict, why = self._with_leverages(fit.verdict, fit.why)
        undetermined = int((fit.curvature.flatness(gradients) > 1e-6).sum())
        if undetermined:
            verdict, why = (
                "estimated",
                (
                    f"the training rows leave {fit.curvature.null.shape[1]} directions of the parameters open, and "
                    f"{undetermined} test rows depend on them; scores take the fit to stay where it is there. {why}"
                ),
            )
        return verdict, why

    def _with_leverages(self, verdict: str, why: str) -> tuple[str, str]:
        """Name rows that hold so much of their own fit that removing them is no small change."""
        if self.objective.classes > 1 and not self.leave_out:
            return verdict, why  # as dear as the Hessian itself
        high = self.store.leverages > HIGH
        if not high.any():
            return verdict, why
        first, largest = int(np.argmax(self.store.leverages)), float(self.store.leverages.max())
        rows = f"{int(high.sum()):,} training rows have a leverage above {HIGH:g} ({largest:.3g}, row {first}, the largest)"
        if not self.leave_out:
            return verdict, (
                f"{why}; {rows}: removing one of them does more than twice what its score, a derivative, says; "
                "estimator='newton' counts it in"
            )
        if largest > ALONE:
            return (
                "estimated",
                f"{why}; {rows}: without that row nothing decides some direction, and its score is a derivative",
            )
        return verdict, f"{why}; {rows}, which is counted in"

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        """One Newton step per set, on the rows that stay."""
        fit = self.store.fit
        features, targets, _ = self._test_rows(X, y)
        if fit.verdict == "refused":
            return np.empty((len(subsets), len(features)), dtype=np.float32), "refused", fit.why
        effects = removal_effects(self.objective, self.theta, fit.hessian, subsets, features, targets, self.kind)
        why = f"one Newton step on the rows that stay, and nothing beyond it; {fit.why}"
        if self.store.undecided is not None:
            why = f"{why}; small sets alone can be foretold: {self.store.undecided}"
        return effects, "estimated", why

    def of_gradient(self, gradient: Any) -> Found:
        scores, verdict, why = self._of_gradients(-self.adapter.class_major(gradient)[None])
        return scores[0], verdict, why


class Newton(Influence):
    """Influence with the Hessian of the rows that stay: what one Newton step does when a row is gone (leverages corrected)."""

    name = "newton"
    leave_out = True


class Banzhaf(Influence):
    """What a row adds to half of the others, in the mean: influence at the minima of such objectives."""

    name = "banzhaf"

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        features, _, slopes = self._test_rows(X, y)
        verdict, why = self.judged(parameter_gradients(features, slopes))
        if verdict == "refused":
            return self.refused(why, len(X))
        found = np.zeros((len(X), len(self.store)), dtype=np.float32)
        for share, kept, weight in places(self.objective.kept):
            _, theta, fit = settled(self.objective, kept, weight, self.theta)
            if fit.verdict == "refused":
                return found, "refused", f"at half of the rows, {fit.why}"
            gradients = parameter_gradients(features, self._test_rows(X, y, theta)[2])
            found += share / weight * influence_scores(self.objective, theta, fit.curvature, gradients)
        return found, "estimated", f"{why}; {DERIVATIVE}"

    def of_gradient(self, gradient: Any) -> Found:
        raise ModelError(
            "estimator='banzhaf' fits other models, in which a test gradient of this one means nothing; use engine.explain or "
            "engine.scores"
        )


class Dot(AbstractLinearEstimator):
    """Gradient dot products of a linear model, by its factors."""

    name = "dot"

    why = "gradient dot products ignore curvature: their order means something, their size does not"

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        features, _, slopes = self._test_rows(X, y)
        why_not = self.refusal()
        if why_not is not None:
            return self.refused(why_not, len(features))
        return self.products(features, slopes), "estimated", self.why

    def products(self, features: Floats, slopes: Floats) -> np.ndarray:
        """Of test rows with all training rows: float32 (t, n)."""
        return dot_scores(self.objective, self.theta, features, slopes)

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        scores, verdict, why = self.scores(X, y)
        return subset_effects(scores, subsets), verdict, why

    def of_gradient(self, gradient: Any) -> Found:
        vector, why_not = self.adapter.class_major(gradient), self.refusal()
        if why_not is not None:
            return self.refused(why_not, 1)[0][0], "refused", why_not
        return self.products_of(vector).astype(np.float32), "estimated", self.why

    def products_of(self, vector: Floats) -> Floats:
        """Of one gradient of a test loss, class-major, with the training rows': (n,)."""
        logit_gradient = self.objective.row_terms(self.theta).gradient
        direction = unflat(vector, self.objective.classes)
        return np.asarray((logit_gradient * (self.objective.features @ direction)).sum(axis=1))


class Cosine(Dot):
    """Cosines between gradients of a linear model: which rows pull the same way, however hard."""

    name = "cosine"
    why = "cosines between gradients ignore curvature and size: only their order means something"

    def products(self, features: Floats, slopes: Floats) -> np.ndarray:
        return cosine_scores(self.objective, self.theta, features, slopes)

    def products_of(self, vector: Floats) -> Floats:
        lengths = gradient_lengths(self.objective, self.theta) * np.linalg.norm(vector)
        return np.asarray(super().products_of(vector) / np.where(lengths > 0, lengths, 1.0))
