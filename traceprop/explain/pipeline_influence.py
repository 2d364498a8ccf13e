"""Influence through the pipeline: what a row's weight does to an outcome by way of the model and of all fitted statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.sparse

from traceprop.errors import ModelError
from traceprop.explain.estimators import Found, Influence
from traceprop.explain.forgetting import Request
from traceprop.explain.place import Place
from traceprop.explain.refit import refit
from traceprop.explain.through import has_pipeline
from traceprop.passes.attribution.adjoint import blocks
from traceprop.passes.attribution.curvature import Curvature
from traceprop.passes.attribution.halves import DERIVATIVE, places
from traceprop.passes.attribution.influence import parameter_gradients
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import unflat
from traceprop.passes.attribution.outcome import outcome_values
from traceprop.tracing.lazy import is_lazy
from traceprop.training.data import plain_features, test_data
from traceprop.training.store import GradientStore


class PipelineInfluence:
    """d outcome / d weight of each source row, its loss term and its part in every reduction over rows included.

    With F(theta, w) the objective on features X(w), g the outcome's gradient in the parameters and s in the test row's logits:

        d outcome / dw = -g^T H^-1 d(grad F)/dw + s^T theta^T dx/dw,

    where d(grad F)/dw = grad loss_i + sum_j w_j d(grad loss_j)/dx_j dx_j/dw. Both sums over rows come from backward sweeps of
    the program of the pass `reweight`: the first is linear in H^-1 g, so it is swept once per parameter and serves all test
    rows; the second once, for all of them together.
    """

    name: ClassVar[str] = "influence"
    derivative: ClassVar[str] = ""

    def __init__(self, store: GradientStore, outcome: str) -> None:
        if not has_pipeline(store):
            raise ModelError(
                "through='pipeline' needs the pipeline: give training_context the lazy values of a traced function, not "
                "plain arrays"
            )
        self.store = store
        self._frozen = Influence(store, outcome)

    def scores(self, X_test: Any, y_test: Any, source: str | None = None) -> Found:
        """Give float32 (t, n) for test rows, lazy ones (of a fitted pipeline, say) followed as well.

        With `source`, of the rows of that source: float32 (t, rows), whether they stand behind one sample, several or none.
        """
        if source is not None:
            self.store.owners.check_source(source)
        X, y = test_data(X_test, y_test)
        features, _, slopes = self._frozen._test_rows(X, y)
        verdict, why = self._frozen.judged(parameter_gradients(features, slopes))
        columns = len(self.store) if source is None else self.store.owners.rows_in(source)
        found = np.zeros((len(X), columns), dtype=np.float32)
        if verdict == "refused":
            return found, verdict, why
        held: dict[str, None] = {}
        forms = 0
        for share, place in self._places():
            if place.fit.verdict == "refused":
                return found, "refused", f"at other weights, {place.fit.why}"
            self._add_scores(found, share, place, X_test, y, source)
            held.update(dict.fromkeys(self._held(place, source)))
            forms = place.work.forms
        if source is None:
            found[:, ~self._frozen.objective.kept] = 0
        elif source in self.store.weights:
            found[:, self.store.weights[source] == 0] = 0
        why = f"{why}{self.derivative}; through the pipeline: {forms} reductions over rows follow their weights"
        if held:
            why = f"{why}; held fixed: {'; '.join(held)}"
        return found, "estimated" if held or self.derivative else verdict, why

    def _places(self) -> Iterator[tuple[float, Place]]:
        """Where derivatives are taken, and the share of each in the scores."""
        yield 1.0, self._as_fitted

    @cached_property
    def _as_fitted(self) -> Place:
        return Place.as_fitted(self.store)

    def _add_scores(
        self, scores: np.ndarray, share: float, place: Place, X_test: Any, y: np.ndarray, source: str | None
    ) -> None:
        test = place.work.value(X_test) if is_lazy(X_test) else None
        features, _, slopes = self._frozen._test_rows(
            plain_features(X_test if test is None else test, "X_test"), y, place.theta
        )
        moved = -place.fit.curvature.solve(parameter_gradients(features, slopes).T).T / place.count
        self._through_the_fit(scores, share * moved, place, source)
        if test is not None:
            self._through_the_test_rows(scores, share * slopes, place, test, source)

    def _through_the_fit(self, scores: np.ndarray, moved: Floats, place: Place, source: str | None) -> None:
        """Add what comes by way of the parameters: linear in the (t, p) directions, so p sweeps serve any number of tests."""
        basis = np.eye(moved.shape[1]) if moved.shape[1] <= len(moved) else None
        directions = moved if basis is None else basis
        for part in blocks(len(directions), place.objective.features.size):
            pushes = [place.pushes(direction) for direction in directions[part]]
            own, to_rows = (np.stack(each) for each in zip(*pushes, strict=True))
            slopes = place.sweep.pull([(place.rows, own), (place.train, to_rows)])
            found = self._told(slopes, len(own), source)
            if basis is None:
                scores[part] += found
            else:
                scores += (moved[:, part] @ found).astype(np.float32)

    def _through_the_test_rows(
        self, scores: np.ndarray, slopes: Floats, place: Place, test: Any, source: str | None
    ) -> None:
        """Add what comes by way of the test rows' own features."""
        shape = (len(scores), place.width)
        pushed = slopes @ place.theta[: place.width].T
        for part in blocks(len(scores), max(math.prod(shape), place.sweep.widest)):
            rows = np.arange(part.start, part.stop)
            scores[part] += self._told(place.sweep.pull_rows(test, pushed, rows), len(rows), source)

    def effect(self, subsets: Sequence[np.ndarray], X_test: Any, y_test: Any, source: str | None = None) -> Found:
        """Give float32 (s, t): the pipeline run with weight 0 for each set, and one Newton step on the rows that stay.

        The sets are of samples, or with `source` of rows of that source.
        """
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
        for effect, rows in zip(effects, subsets, strict=True):
            again = refit(store, self._request(rows) if source is None else self._rows_of(source, rows))
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

    def _rows_of(self, source: str, rows: np.ndarray) -> Request:
        """Rows of a source, and the samples that are made of them."""
        return Request(
            f"{len(rows)} rows of {source!r}", {source: rows}, self.store.owners.samples_of(source, rows), {}
        )

    def of_gradient(self, gradient: Any) -> Found:
        raise ModelError(
            "a test gradient does not say which row it is of, so what the pipeline does to that row is unknown; use "
            "engine.explain or engine.scores with through='pipeline'"
        )

    def _told(self, slopes: dict[str, np.ndarray], functions: int, source: str | None) -> np.ndarray:
        """Slopes of source rows (k, rows) as they were asked for: by sample, (k, n), or of one source."""
        if source is None:
            return self._of_samples(slopes, functions)
        return slopes.get(source, np.zeros((functions, self.store.owners.rows_in(source))))

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

    def _held(self, place: Place, source: str | None) -> list[str]:
        """What does not follow the weights at a place."""
        held = [*place.work.held, *place.sweep.stopped]
        if source is None:
            held += [
                f"the rows of {name!r} stand behind several samples each; source={name!r} asks about those"
                for name, (_, rows) in self.store.owners.pairs.items()
                if len(np.unique(rows)) < len(rows)
            ]
        assert self.store.lazies is not None
        y = self.store.lazies[1]
        if is_lazy(y) and place.work.changes(y):
            held.append("the labels change with the rows")
        return held


class PipelineBanzhaf(PipelineInfluence):
    """The mean of that derivative over weights as they are when half of the rows are there. See `passes.attribution.halves`."""

    name: ClassVar[str] = "banzhaf"
    derivative: ClassVar[str] = f"; {DERIVATIVE}"

    def _places(self) -> Iterator[tuple[float, Place]]:
        for share, kept, weight in places(self._frozen.objective.kept):
            yield share, Place.with_rows(self.store, kept, weight)
