"""Influence through the pipeline: what a row's weight does to an outcome by way of the model and of all fitted statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.sparse

from traceprop.errors import ModelError
from traceprop.explain.estimators import Found, Influence
from traceprop.explain.forgetting import Request
from traceprop.explain.refit import refit
from traceprop.explain.sweep import Sweep
from traceprop.explain.through import has_pipeline, weights_now
from traceprop.passes.attribution.adjoint import blocks
from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.influence import parameter_gradients
from traceprop.passes.attribution.losses import Floats, Terms
from traceprop.passes.attribution.objective import unflat
from traceprop.passes.attribution.outcome import outcome_values
from traceprop.tracing.lazy import is_lazy
from traceprop.tracing.reweighted import Reweighting
from traceprop.training.data import plain_features, test_data
from traceprop.training.store import GradientStore


class PipelineInfluence:
    """d outcome / d weight of each source row, its loss term and its part in every reduction over rows included.

    With F(theta, w) the objective on features X(w), g the outcome's gradient in the parameters and s in the test row's logits:

        d outcome / dw = -g^T H^-1 d(grad F)/dw + s^T theta^T dx/dw,

    where d(grad F)/dw = grad loss_i + sum_j d(grad loss_j)/dx_j dx_j/dw. Both sums over rows come from backward sweeps of the
    program of the pass `reweight`, at weights 1: the first is linear in H^-1 g, so it is swept once per parameter and serves
    all test rows; the second once, for all of them together.
    """

    name: ClassVar[str] = "influence"

    def __init__(self, store: GradientStore, outcome: str) -> None:
        if not has_pipeline(store):
            raise ModelError(
                "through='pipeline' needs the pipeline: give training_context the lazy values of a traced function, not "
                "plain arrays"
            )
        self.store = store
        self._frozen = Influence(store, outcome)

    def scores(self, X_test: Any, y_test: Any) -> Found:
        """Give float32 (t, n) for test rows, lazy ones (of a fitted pipeline, say) followed as well."""
        X, y = test_data(X_test, y_test)
        frozen, store = self._frozen, self.store
        features, _, slopes = frozen._test_rows(X, y)
        found, verdict, why = frozen._of_gradients(parameter_gradients(features, slopes))
        if verdict == "refused":
            return found, verdict, why
        assert store.lazies is not None
        work = Reweighting(weights_now(store, store.owners.source_ids))
        rows = work.rows(store.lazies[0])
        if rows is None:
            raise ModelError(
                "the training rows cannot be told apart behind the pipeline, so their weights mean nothing"
            )
        train = work.value(store.lazies[0])
        test = work.value(X_test) if is_lazy(X_test) else None
        sweep = Sweep(work)
        scores = np.zeros((len(X), len(store)), dtype=np.float32)
        moved = -store.fit.curvature.solve(parameter_gradients(features, slopes).T).T
        self._through_the_fit(scores, moved, sweep, rows, train, X.shape[1])
        if test is not None:
            self._through_the_test_rows(scores, slopes, sweep, test, X.shape)
        return scores, *self._verdict(work, sweep, verdict, why)

    def _through_the_fit(
        self, scores: np.ndarray, moved: Floats, sweep: Sweep, rows: Any, train: Any, width: int
    ) -> None:
        """Add what comes by way of the parameters: linear in the (t, p) directions, so p sweeps serve any number of tests."""
        frozen = self._frozen
        terms, features = frozen.objective.row_terms(frozen.theta), frozen.objective.features
        basis = np.eye(moved.shape[1]) if moved.shape[1] <= len(moved) else None
        directions = moved if basis is None else basis
        for part in blocks(len(directions), features.size):
            pushes = [_pushes(features, terms, frozen.theta, direction, width) for direction in directions[part]]
            own, to_rows = (np.stack(each) for each in zip(*pushes, strict=True))
            found = self._of_samples(sweep.pull([(rows, own), (train, to_rows)]), len(own))
            if basis is None:
                scores[part] += found
            else:
                scores += (moved[:, part] @ found).astype(np.float32)

    def _through_the_test_rows(
        self, scores: np.ndarray, slopes: Floats, sweep: Sweep, test: Any, shape: tuple[int, ...]
    ) -> None:
        """Add what comes by way of the test rows' own features."""
        pushed = slopes @ self._frozen.theta[: shape[1]].T
        for part in blocks(len(scores), max(math.prod(shape), sweep.widest)):
            size = part.stop - part.start
            push = np.zeros((size, *shape))
            push[np.arange(size), np.arange(part.start, part.stop)] = pushed[part]
            scores[part] += self._of_samples(sweep.pull([(test, push)]), size)

    def effect(self, subsets: Sequence[np.ndarray], X_test: Any, y_test: Any) -> Found:
        """Give float32 (s, t): the pipeline run with weight 0 for each set, and one Newton step on the rows that stay."""
        frozen, store = self._frozen, self.store
        X, y = test_data(X_test, y_test)
        features, targets, _ = frozen._test_rows(X, y)
        effects = np.empty((len(subsets), len(features)), dtype=np.float32)
        fit = store.fit
        if fit.verdict == "refused":
            return effects, "refused", fit.why
        loss, kind = frozen.objective.loss, frozen.kind
        before = outcome_values(kind, loss, features @ frozen.theta, targets)
        held: dict[str, None] = {}
        for effect, samples in zip(effects, subsets, strict=True):
            again = refit(store, self._request(samples))
            rest = again.objective(frozen.adapter, frozen.objective)
            _, gradient, hessian = rest.derivatives(frozen.theta)
            step = unflat(Curvature.of(hessian).solve(gradient), rest.classes)
            moved = frozen.adapter.features(plain_features(again.value(X_test), "X_test"))
            effect[:] = outcome_values(kind, loss, moved @ (frozen.theta - step), targets) - before
            held.update(dict.fromkeys(again.held))
        why = f"the pipeline without each set, and one Newton step on the rows that stay; {fit.why}"
        return effects, "estimated", why + (f"; held fixed: {'; '.join(held)}" if held else "")

    def _request(self, samples: np.ndarray) -> Request:
        """The rows behind samples that no other sample shares."""
        rows = {}
        for name, (owned, owners) in self.store.owners.pairs.items():
            if len(np.unique(owners)) == len(owners):
                rows[name] = owners[np.isin(owned, samples)]
        return Request(f"{len(samples)} samples", rows, samples, {})

    def of_gradient(self, gradient: Any) -> Found:
        raise ModelError(
            "a test gradient does not say which row it is of, so what the pipeline does to that row is unknown; use "
            "engine.explain or engine.scores with through='pipeline'"
        )

    def _of_samples(self, slopes: dict[str, np.ndarray], functions: int) -> np.ndarray:
        """From source rows (k, rows) to samples (k, n); a row that several samples share is not any one's own."""
        total = np.zeros((functions, len(self.store)))
        for name, slope in slopes.items():
            samples, rows = self.store.owners.pairs[name]
            if len(np.unique(rows)) < len(rows):
                continue
            if len(np.unique(samples)) == len(samples):
                total[:, samples] += slope[:, rows]
            else:
                shape = (len(self.store), len(rows))
                total += (
                    scipy.sparse.csr_array((np.ones(len(rows)), (samples, np.arange(len(rows)))), shape)
                    @ slope[:, rows].T
                ).T
        return total

    def _verdict(self, work: Reweighting, sweep: Sweep, verdict: str, why: str) -> tuple[str, str]:
        shared = [name for name, (_, rows) in self.store.owners.pairs.items() if len(np.unique(rows)) < len(rows)]
        fixed = [
            *work.held,
            *sweep.stopped,
            *(f"the rows of {name!r} stand behind several samples each" for name in shared),
        ]
        assert self.store.lazies is not None
        y = self.store.lazies[1]
        if is_lazy(y) and work.changes(y):
            fixed.append("the labels change with the rows")
        why = f"{why}; through the pipeline: {work.forms} reductions over rows follow their weights"
        if fixed:
            return "estimated", f"{why}; held fixed: {'; '.join(fixed)}"
        return verdict, why


def _pushes(features: Floats, terms: Terms, theta: Floats, direction: Floats, width: int) -> tuple[Floats, Floats]:
    """Of sum_i w_i direction . grad loss_i: slopes in the weights (n,) and in the features (n, width)."""
    along = direction.reshape(theta.shape[1], -1).T
    logits = features @ along
    own = (logits * terms.gradient).sum(axis=1)
    curved = np.einsum("nkl,nl->nk", terms.hessian, logits)
    return own, terms.gradient @ along[:width].T + curved @ theta[:width].T
