"""scikit-learn's linear models: LogisticRegression, Ridge, LinearRegression."""

from __future__ import annotations

from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats, LogisticLoss, SampleLoss, SoftmaxLoss, SquaredLoss
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.training.adapter import AbstractLinearAdapter, check_width, with_ones
from traceprop.training.data import check_finite


def adapt_estimator(model: Any, loss: Any, l2: float) -> AbstractLinearAdapter:
    """Find the adapter for an estimator. Raises ModelError for one that has none, with the reason."""
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

    if loss is not None or l2:
        raise ModelError(f"{type(model).__name__} brings its own loss and penalty; leave out loss= and l2=")
    if type(model) is LogisticRegression:
        return LogisticAdapter(model)
    if type(model) in (Ridge, LinearRegression):
        return LeastSquaresAdapter(model)
    hint = ""
    if hasattr(model, "steps"):
        hint = "; of a Pipeline, give the last step, and as X_train the features that reach it"
    raise ModelError(
        f"{type(model).__name__} has no known objective; known are LogisticRegression, Ridge and LinearRegression{hint}"
    )


class AbstractEstimatorAdapter(AbstractLinearAdapter):
    """What scikit-learn's linear models share: coef_ (k, d) or (d,), intercept_ (k,) or a number."""

    retraining = "scikit-learn: a clone fitted to the rows that stay"

    def __init__(self, model: Any) -> None:
        self.model = model

    def _check_fitted(self, model: Any) -> None:
        if not hasattr(model, "coef_"):
            raise ModelError(
                f"{type(model).__name__} is not fitted; call model.fit(X, y) before the training context exits"
            )

    def theta(self, model: Any = None) -> Floats:
        model = self.model if model is None else model
        self._check_fitted(model)
        coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64)).T
        check_finite(coefficients, "model.coef_")
        if not model.fit_intercept:
            return np.ascontiguousarray(coefficients)
        return np.vstack([coefficients, np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64))])

    def features(self, X: np.ndarray) -> Floats:
        self._check_fitted(self.model)
        check_width(X, np.shape(self.model.coef_)[-1])
        return with_ones(X, self.model.fit_intercept)

    def corrected(self, theta: Floats, model: Any, inplace: bool) -> Any:
        out = model if inplace else _copy(model)
        width = np.shape(model.coef_)[-1]
        out.coef_ = theta[:width].T.reshape(np.shape(model.coef_)).astype(np.asarray(model.coef_).dtype)
        if model.fit_intercept:
            intercept = theta[width].reshape(np.shape(model.intercept_))
            out.intercept_ = intercept.astype(np.asarray(model.intercept_).dtype)[()]
        return out

    def retrain(self, X: np.ndarray, y: np.ndarray, objective: LinearObjective) -> Floats:
        from sklearn.base import clone

        try:
            return self.theta(clone(self.model).fit(X[objective.kept], y[objective.kept]))
        except ValueError as error:
            raise ModelError(f"scikit-learn cannot be fitted to the rows that stay: {error}") from error

    def class_major(self, gradient: Any) -> Floats:
        """Take coef_'s gradient and then intercept_'s, as one flat array or as a pair."""
        parts = gradient if isinstance(gradient, list | tuple) else [gradient]
        vector = np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts])
        theta = self.theta()
        if len(vector) != theta.size:
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {theta.size} parameters")
        if not self.model.fit_intercept:
            return vector
        k = theta.shape[1]
        return np.hstack([vector[:-k].reshape(k, -1), vector[-k:, None]]).ravel()


class LogisticAdapter(AbstractEstimatorAdapter):
    """LogisticRegression, binary or multinomial: C * sum loss + |w|^2 / 2, the intercept unpenalised.

    The liblinear solver does penalise it, as (b / intercept_scaling)^2 / 2, and so does this. Sample weights given to
    `fit` leave no trace in the model: a fit with them shows as one that has not converged.
    """

    def check(self) -> None:
        model = self.model
        if model.class_weight is not None:
            raise ModelError(
                f"class_weight={model.class_weight!r} weighs rows by how many there are of each class, so removing one "
                "changes the weight of others; fit without class_weight"
            )
        penalty, ratio = getattr(model, "penalty", "l2"), getattr(model, "l1_ratio", None)
        if penalty == "l1" or (penalty in ("elasticnet", "deprecated") and ratio):
            raise ModelError("an L1 penalty has no Hessian where a coefficient is zero; fit with penalty='l2'")

    @property
    def strength(self) -> float:
        """1 / C, or 0 without a penalty."""
        penalty = getattr(self.model, "penalty", "l2")
        return 0.0 if penalty in (None, "none") else 1.0 / float(self.model.C)

    def objective(self, X: np.ndarray, y: np.ndarray) -> LinearObjective:
        self.check()
        features, targets = self.features(X), self.targets(y)
        classes = len(np.atleast_2d(self.model.coef_))
        if classes > 1 and (self.model.solver == "liblinear" or getattr(self.model, "multi_class", "") == "ovr"):
            raise ModelError("one-versus-rest fits one model per class; fit the multinomial one: solver='lbfgs'")
        penalised = np.ones(features.shape[1])
        if self.model.fit_intercept:
            liblinear = self.model.solver == "liblinear"
            penalised[-1] = 1.0 / float(self.model.intercept_scaling) ** 2 if liblinear else 0.0
        loss: SampleLoss = LogisticLoss() if classes == 1 else SoftmaxLoss()
        linear = getattr(self.model, "perturbation_", None)
        if linear is not None:
            self.retraining = "Newton steps from zero, with the perturbation of the fit"
            linear = np.atleast_2d(linear).T
        return LinearObjective(features, targets, loss, self.strength, penalised, "sum", classes, linear=linear)

    def retrain(self, X: np.ndarray, y: np.ndarray, objective: LinearObjective) -> Floats:
        if objective.linear is not None:  # which scikit-learn's own fit does not know
            return AbstractLinearAdapter.retrain(self, X, y, objective)
        return super().retrain(X, y, objective)

    def targets(self, y: np.ndarray) -> np.ndarray:
        self._check_fitted(self.model)
        known, labels = np.asarray(self.model.classes_), np.ravel(y)
        if known.dtype.kind not in "OUS" and labels.dtype.kind in "OUS":
            raise ModelError(f"labels are {labels.dtype}, but the model was fitted to {known.tolist()}")
        unknown = ~np.isin(labels, known)
        if unknown.any():
            first = int(np.flatnonzero(unknown)[0])
            label = labels[first : first + 1].tolist()[0]
            raise ModelError(f"label {label!r} of row {first} is none that the model was fitted to: {known.tolist()}")
        return np.searchsorted(known, labels).astype(np.int64)


class LeastSquaresAdapter(AbstractEstimatorAdapter):
    """Ridge and LinearRegression: |y - X w - b|^2 + alpha |w|^2, halved."""

    def check(self) -> None:
        if getattr(self.model, "positive", False):
            raise ModelError("positive=True constrains the coefficients, so the fit is no stationary point")
        if np.ndim(getattr(self.model, "alpha", 0.0)):
            raise ModelError("an alpha per target is not in this version; fit one Ridge per target")

    def objective(self, X: np.ndarray, y: np.ndarray) -> LinearObjective:
        self.check()
        features = self.features(X)
        penalised = np.ones(features.shape[1])
        if self.model.fit_intercept:
            penalised[-1] = 0.0
        strength = float(getattr(self.model, "alpha", 0.0))
        classes = len(np.atleast_2d(self.model.coef_))
        return LinearObjective(features, self.targets(y), SquaredLoss(), strength, penalised, "sum", classes)

    def targets(self, y: np.ndarray) -> np.ndarray:
        check_finite(np.asarray(y), "y")
        return np.asarray(y, dtype=np.float64)


def _copy(model: Any) -> Any:
    """Copy a fitted estimator: a clone of its settings, and every fitted attribute."""
    from copy import deepcopy

    from sklearn.base import clone

    out = clone(model)
    out.__dict__.update(deepcopy({name: value for name, value in vars(model).items() if name.endswith("_")}))
    return out
