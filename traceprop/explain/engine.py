"""Attribution as a user calls it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.cautions import cautions
from traceprop.explain.ensemble import members
from traceprop.explain.estimators import Banzhaf, Found, Influence
from traceprop.explain.estimators import estimator as choose_estimator
from traceprop.explain.pipeline_influence import PipelineBanzhaf, PipelineInfluence
from traceprop.explain.result import AttributionResult
from traceprop.explain.scores import Scores
from traceprop.explain.through import check_through, has_pipeline, held_for
from traceprop.explain.top_rows import TopRows, checked_count, in_parts
from traceprop.stores import GradientBlocks
from traceprop.tracing.lazy import is_lazy
from traceprop.training.data import plain_array, test_data
from traceprop.training.store import GradientStore


def attribution_engine(
    gradient_store: GradientStore | GradientBlocks | Sequence[GradientStore],
    estimator: str = "auto",
    through: str | None = None,
    outcome: str = "auto",
    model: Any = None,
    checkpoints: int | None = None,
    damping: float | None = None,
    optimizer: Any = None,
    curvature: str | None = None,
    average: str | None = None,
) -> AttributionEngine:
    """Make an engine that says which training rows made a prediction.

    Parameters
    ----------
    gradient_store
        A training context's `ctx.gradient_store`, or the `tp.stores.GradientBlocks` that some process has written: of those,
        "dot" and "cosine" with test gradients. A sequence of stores is an ensemble: networks trained independently, from other
        starts, on the same rows; scores are the mean over them.
    estimator
        "influence": exact Hessian for linear models, Gauss-Newton for networks; "newton": the same with the curvature of the
        rows that stay; "banzhaf": influence at half of the rows, in the mean, which is nearer to what removing many does (of
        linear models); "trak": Gauss-Newton of projected gradients; "ekfac": layer by layer; "tracin", "dot", "cosine",
        "last-layer": gradient dot products, without curvature; "batch-mean": of one gradient per step; "replay": the recorded
        run itself, differentiated; "auto": influence, where it can be had. docs/attribution.md says when to use which.
    through
        "features": the features are held fixed. "pipeline": what a removed row does to means, scalers, imputers and
        encodings, and so to all rows' features, counts too; the training data, and test rows that are new to the
        pipeline, must be lazy. What has no weighted form or no derivative is held fixed and named in `.why`.
        None: "pipeline" with the estimators "influence" and "banzhaf", where training and test rows are lazy values of one
        program or of its fitted pipeline and at least one reduction over rows has a weighted form; else "features". `.why`
        says which.
    outcome
        What is explained: "margin", log p_y / (1 - p_y) of the given y; "loss", minus the loss; "auto", the margin for
        a cross-entropy loss or a classifier, else minus the loss.
    model
        Leave it out: the store knows its model.
    checkpoints
        Of networks: over how many moments of training scores are averaged, evenly spread, the last among them; by
        default at most 5 for "influence", "newton", "trak" and "tracin", 1 for the others.
    damping
        Of the Gauss-Newton matrix, in units of the mean diagonal of its dual form; None: found from the data.
    optimizer
        For "replay": a function from parameters to the optimizer that training used.
    curvature
        For "replay": "hessian", the exact derivative, or "gauss-newton", which is better where activations have kinks; None:
        by the module's activations. docs/attribution.md compares them.
    average
        For "trak", what is averaged over checkpoints and the networks of an ensemble: "scores", the default, or "factors", the
        kernel and 1 - p apart, as Park et al. 2023 do.

    Raises
    ------
    ModelError
        An estimator that does not exist or does not fit the model; names those that do. Stores of an ensemble that are not of
        networks, or that differ in rows, sources, data or projection; says which, and in what.
    """
    store, *others = members(gradient_store)
    check_through(through)
    if outcome not in ("auto", "margin", "loss"):
        raise ModelError(f"outcome is 'auto', 'margin' or 'loss', not {outcome!r}")
    if model is not None and (others or model is not store.model):
        raise ModelError("model is not the one whose gradients the store holds; leave it out, or train it in a context")
    return AttributionEngine(
        store,
        estimator,
        outcome,
        through,
        others=others,
        checkpoints=checkpoints,
        damping=damping,
        optimizer=optimizer,
        curvature=curvature,
        average=average,
    )


_FOLLOWED: dict[type, type[PipelineInfluence]] = {Influence: PipelineInfluence, Banzhaf: PipelineBanzhaf}
"""The estimators that go through the pipeline, and what does so."""


class AttributionEngine:
    """Which training rows raise or lower the outcome of test rows. See `attribution_engine`.

    Test rows may be lazy. Scores are in units of the outcome for "influence", and in none for "dot".
    """

    def __init__(
        self, store: GradientStore, estimator: str, outcome: str, through: str | None = "features", **options: Any
    ) -> None:
        self.store = store
        self.through = through
        self._estimator = choose_estimator(estimator, store, outcome, **options)
        self._pipeline: PipelineInfluence | None = None
        followed = _FOLLOWED.get(type(self._estimator))
        if through == "pipeline" and followed is None:
            raise ModelError(
                f"through='pipeline' is for estimator='influence' and 'banzhaf', not {self._estimator.name!r}"
            )
        if followed is not None and (through == "pipeline" or (through is None and has_pipeline(store))):
            self._pipeline = followed(store, outcome)

    @property
    def estimator(self) -> str:
        """The estimator's name."""
        return self._estimator.name

    def scores(self, X_test: Any, y_test: Any, source: str | None = None) -> Scores:
        """Score every training row for every test row: float32 (t, n), positive where it raises the outcome.

        A row's score is, to first order, minus the change of the outcome when that row's own loss is dropped from
        the fit. Scores of samples that were forgotten are 0. `.verdict` and `.why` tell how far to trust them.

        With `source`, the rows of that source instead: float32 (t, rows). A row of a table that was joined counts with
        all the samples that are made of it, and through the pipeline one that is behind none counts by the statistics.

        Raises
        ------
        ModelError
            Test rows of another width, of unequal length, not finite, or with labels that training had not.
        LineageError
            A source that is not among the training data's.
        """
        if source is not None:
            self.store.owners.check_source(source)
        pipeline, note = self._followed(X_test)
        if pipeline is not None:
            return self._noted(pipeline.scores(X_test, y_test, source))
        values, verdict, why = self._estimator.scores(*test_data(X_test, y_test))
        if source is not None:
            values = self.store.owners.summed(source, values)
            why = f"{why}; a row of {source!r} has the sum of the samples that are made of it"
        return self._noted((values, verdict, why), note)

    def effect(self, subsets: Any, X_test: Any, y_test: Any, source: str | None = None) -> Scores:
        """Predict the change of each outcome when each set of training rows is removed: float32 (s, t).

        `subsets` is a list of sets of sample positions, or a boolean (s, n) array of the rows to remove; with `source`, of
        rows of that source, each of which takes all the samples along that are made of it.

        Raises
        ------
        LineageError
            A position out of range, or a source that is not among the training data's.
        """
        owners = self.store.owners
        sets = _subsets(subsets, len(self.store) if source is None else owners.rows_in(source))
        pipeline, note = self._followed(X_test)
        if pipeline is not None:
            return self._noted(pipeline.effect(sets, X_test, y_test, source))
        X, y = test_data(X_test, y_test)
        if source is not None:
            sets = [owners.samples_of(source, rows) for rows in sets]
        return self._noted(self._estimator.effect(sets, X, y), note)

    def attribute(self, test_gradient: Any, top_k: int = 10) -> AttributionResult:
        """Explain by the gradient of a test *loss* in the model's parameters; the outcome is minus that loss.

        `test_gradient`: flat, or a sequence or dict of arrays in the order of the model's parameters; for
        scikit-learn coef_'s, then intercept_'s.
        """
        asked = self._pipeline if self.through == "pipeline" else None
        found = (asked or self._estimator).of_gradient(test_gradient)
        return AttributionResult(self._noted(found), self.store.owners, top_k)

    def explain(self, x: Any, y: Any, top_k: int = 10, source: str | None = None) -> AttributionResult:
        """Explain the outcome of one row x, (d,) or (1, d), with its label y: the rows that raise and lower it most.

        With `source`, rows of that source are ranked instead of training rows: those of a table that was joined, say.
        """
        owners = self.store.owners if source is None else self.store.owners.of_rows(source)
        if self._pipeline is not None and is_lazy(x):
            return AttributionResult(
                self.scores(x[None] if x.ndim == 1 else x, np.atleast_1d(plain_array(y, "y")), source)[0],
                owners,
                top_k,
            )
        features, label = plain_array(x, "x"), np.atleast_1d(plain_array(y, "y"))
        expected = 1 if self.store.X is None else self.store.X.ndim - 1
        if features.ndim == expected:
            features = features[None]
        if len(features) != 1 or len(label) != 1:
            raise ModelError(
                f"explain takes one row and its label, not {features.shape} and {label.shape}; scores() takes many"
            )
        return AttributionResult(self.scores(features, label, source)[0], owners, top_k)

    def top_k(
        self, X_test: Any = None, y_test: Any = None, k: int = 10, *, test_gradients: Any = None, harmful: bool = False
    ) -> TopRows:
        """Find the k training rows that raise the outcome of each test row most: `scores`, without the matrix of them.

        Memory does not grow with the number of test rows, the answer apart: test rows are scored a few at a time, and
        gradients on disk are read once, block by block.

        Parameters
        ----------
        X_test, y_test
            As `scores` takes them.
        k
            How many; all, where there are fewer.
        test_gradients
            In place of test rows: (t, p), gradients of test losses in the model's parameters, as `attribute` takes one;
            gradients that were logged by hand, or opened from a folder, are asked by these.
        harmful
            Those that lower the outcome most instead.

        Raises
        ------
        ModelError
            What `scores` and `attribute` raise; both test rows and gradients, or neither; a k below 1.
        """
        n, sign = len(self.store), -1 if harmful else 1
        k = checked_count(k, n)
        if (test_gradients is None) == (X_test is None):
            raise ModelError("top_k takes test rows with their labels, or test_gradients=")
        if test_gradients is not None:
            return self._told(*self._top_of_gradients(test_gradients, k, sign))
        pipeline, note = self._followed(X_test)
        if pipeline is not None:
            followed = pipeline
            return self._told(
                *in_parts(lambda part: followed.scores(X_test[part], y_test[part]), len(X_test), n, k, sign)
            )
        X, y = test_data(X_test, y_test)
        self._estimator.prepare(X, y)
        return self._told(*in_parts(lambda part: self._estimator.scores(X[part], y[part]), len(X), n, k, sign), note)

    def _top_of_gradients(self, gradients: Any, k: int, sign: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        rows = plain_array(gradients, "test_gradients")
        if rows.ndim != 2:
            raise ModelError(f"test_gradients are (t, p), a flat gradient per test row, not of shape {rows.shape}")
        asked = self._pipeline if self.through == "pipeline" else None
        found = None if asked is not None else self._estimator.top_of_gradients(rows, k, sign)
        if found is not None:
            return found

        def one_by_one(part: slice) -> Found:
            each = [(asked or self._estimator).of_gradient(gradient) for gradient in rows[part]]
            return np.stack([values for values, _, _ in each]), each[-1][1], each[-1][2]

        return in_parts(one_by_one, len(rows), len(self.store), k, sign)

    def _followed(self, X_test: Any) -> tuple[PipelineInfluence | None, str | None]:
        """What answers for these test rows by the pipeline, or None and, where the choice was open, why."""
        if self._pipeline is None or self.through == "pipeline":
            return self._pipeline, None
        reason = held_for(self.store, X_test)
        return (self._pipeline, None) if reason is None else (None, reason)

    @cached_property
    def _cautions(self) -> list[str]:
        return cautions(self.store)

    def _judged(self, verdict: str, why: str, note: str | None) -> tuple[str, str]:
        """With what holds for every estimator: whatever there is to be careful about makes "exact" an estimate."""
        why = why if note is None else f"{why}; features held fixed: {note}"
        if verdict == "refused" or not self._cautions:
            return verdict, why
        return "estimated", "; ".join([why, *self._cautions])

    def _noted(self, found: Found, note: str | None = None) -> Scores:
        values, verdict, why = found
        return Scores.of(values, *self._judged(verdict, why, note))

    def _told(
        self, scores: np.ndarray, samples: np.ndarray, verdict: str, why: str, note: str | None = None
    ) -> TopRows:
        return TopRows(scores, samples, *self._judged(verdict, why, note), self.store.owners)


def _subsets(subsets: Any, n: int) -> Sequence[np.ndarray]:
    if isinstance(subsets, np.ndarray) and subsets.dtype == bool:
        if subsets.ndim != 2 or subsets.shape[1] != n:
            raise ModelError(f"boolean subsets have shape {subsets.shape}, expected (s, {n})")
        return [np.flatnonzero(row) for row in subsets]
    return [_positions(rows, n) for rows in subsets]


def _positions(rows: Any, n: int) -> np.ndarray:
    from traceprop.errors import LineageError

    positions = np.asarray(rows if not isinstance(rows, set | range) else list(rows))
    if positions.dtype == bool and positions.shape == (n,):
        return np.flatnonzero(positions)
    if positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
        raise ModelError(
            f"a subset is a list of training row positions, or a boolean mask of {n}, not {positions.dtype} "
            f"{positions.shape}"
        )
    positions = np.unique(positions.astype(np.int64))
    if positions.size and (positions[0] < 0 or positions[-1] >= n):
        bad = positions[0] if positions[0] < 0 else positions[-1]
        raise LineageError(f"row {bad} of a subset is out of range: there are {n} training rows")
    return positions
