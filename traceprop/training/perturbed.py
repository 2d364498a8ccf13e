"""Fits of which removals can be certified against any test: a logistic regression with a random linear term."""

from __future__ import annotations

from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.unlearning.certificate import budget_for
from traceprop.passes.unlearning.newton import minimise
from traceprop.training.data import check_lengths, plain_array, plain_features


def fit_perturbed(model: Any, X: Any, y: Any, sigma: float, seed: int | None = None) -> Any:
    """Fit a scikit-learn LogisticRegression with a random linear term in its objective, and give it back.

        model = tp.fit_perturbed(LogisticRegression(C=1.0), X, y, sigma=0.1)
        with tp.training_context(model, X, y) as ctx: pass
        tp.unlearn(gradient_store=ctx.gradient_store, rows=[3], budget=tp.removal_budget(0.1, epsilon=0.5, delta=1e-5))

    Its parameters theta minimise sum_i loss_i + |w|^2 / (2 C) + b . theta, b ~ N(0, sigma^2) in each parameter, the intercept
    included. b hides what a removal leaves of the gradient: of such a model, removals that stay within
    `removal_budget(sigma, epsilon, delta)` are (epsilon, delta)-certified (Guo et al. 2020, "Certified data removal from machine
    learning models", theorem 3). Newton removal leaves so little that a sigma far below one row's gradient is enough.

    b is kept as `model.perturbation_`, (d,) or (k, d) with the intercept's last, for removals need it. Whoever knows it
    is certified nothing: hand out `coef_` and `intercept_` alone.

    Parameters
    ----------
    model
        An unfitted or fitted LogisticRegression with an L2 penalty; it is fitted in place, in float64.
    X, y
        Features (n, d) and labels (n,), lazy or plain.
    sigma
        The deviation of each number of b, above 0; in units of the gradient of the *sum* of losses.
    seed
        Of b; None draws it from the system, as it must be where the certificate is to mean something.

    Raises
    ------
    ModelError
        Another model, no penalty, a sigma that is not above 0, or a minimum that Newton steps do not find.
    """
    from sklearn.linear_model import LogisticRegression

    from traceprop.training.sklearn import LogisticAdapter

    if type(model) is not LogisticRegression:
        raise ModelError(f"a perturbed fit is of scikit-learn's LogisticRegression, not of a {type(model).__name__}")
    if not (np.isfinite(sigma) and sigma > 0):
        raise ModelError(f"sigma is the deviation of the perturbation, above 0, not {sigma!r}")
    features, labels = plain_features(X, "X").astype(np.float64), plain_array(y, "y")
    check_lengths(features, labels, ("X", "y"))
    adapter = LogisticAdapter(model)
    adapter.check()
    if not adapter.strength:
        raise ModelError("a perturbed fit needs the L2 penalty: without it a linear term can have no minimum")
    model.__dict__.pop("perturbation_", None)
    model.fit(features, labels)
    theta = adapter.theta()
    shape = theta.T.shape if theta.shape[1] > 1 else len(theta)
    model.perturbation_ = np.random.default_rng(seed).normal(scale=sigma, size=shape)
    if theta.shape[1] > 1 and model.fit_intercept:  # softmax sees intercepts up to a constant, which nothing penalises
        model.perturbation_[:, -1] -= model.perturbation_[:, -1].mean()
    run = minimise(adapter.objective(features, labels), theta)
    if not run.converged:
        raise ModelError(
            f"the perturbed fit stopped at a gradient norm of {run.gradient_norms[-1]:.1e}: no minimum was found; take a "
            "smaller sigma, or a stronger penalty"
        )
    return adapter.corrected(run.theta, model, inplace=True)


def removal_budget(sigma: float, epsilon: float, delta: float) -> float:
    """Give the `budget=` of `tp.unlearn` within which removals from a fit by `fit_perturbed` are (epsilon, delta)-certified.

    No test then tells the corrected model from one fitted anew without the rows (and with a perturbation of its own) with better
    odds than e^epsilon, up to delta. Raises ModelError for numbers out of range.
    """
    try:
        return budget_for(sigma, epsilon, delta)
    except ValueError as error:
        raise ModelError(str(error)) from error
