"""On real rows: linear datamodeling score and unlearning, against models retrained for real."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import traceprop as tp

pytest.importorskip("pandas")

SUBSETS = 60  # ranks of fewer are too coarse to reach 0.97; benchmarks/lds.py has more


@pytest.fixture(autouse=True)
def one_thread():
    """Small fits lose more time to a second BLAS thread than they win."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def adult(data_dir):
    from benchmarks.tasks.adult import load

    return load(data_dir)


def fit(X, y):
    """The benchmark's objective by a faster solver of scikit-learn's, to rounding."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, solver="newton-cholesky", tol=1e-8, max_iter=200).fit(X, y)


@pytest.fixture(scope="module")
def store(adult):
    with tp.training_context(fit(adult.X, adult.y), adult.X, adult.y) as ctx:
        pass
    return ctx.gradient_store


def test_influence_ranks_subsets_as_retraining_does(adult, store):
    rng = np.random.default_rng(0)
    kept = np.zeros((SUBSETS, len(adult.y)), dtype=bool)
    truth = np.empty((SUBSETS, len(adult.y_test)))
    sign = 2 * adult.y_test - 1
    for mask, margins in zip(kept, truth, strict=True):
        mask[rng.permutation(len(adult.y))[: len(adult.y) // 2]] = True
        margins[:] = fit(adult.X[mask], adult.y[mask]).decision_function(adult.X_test) * sign

    def score(predicted):
        return np.mean([spearmanr(predicted[:, t], truth[:, t]).statistic for t in range(len(sign))])

    engine = tp.attribution_engine(store)
    influence = engine.scores(adult.X_test, adult.y_test)
    assert influence.verdict == "exact"
    assert score(kept.astype(np.float32) @ np.asarray(influence).T) >= 0.97
    assert score(np.asarray(engine.effect(~kept, adult.X_test, adult.y_test))) >= 0.98
    dot = tp.attribution_engine(store, "dot").scores(adult.X_test, adult.y_test)
    assert 0.6 < score(kept.astype(np.float32) @ np.asarray(dot).T) < 0.85


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_unlearning_closes_the_gap(adult, store, share):
    rng = np.random.default_rng(1)
    rows = rng.choice(len(adult.y), int(share * len(adult.y)), replace=False)
    result = tp.unlearn(gradient_store=store, rows=rows, verify="retrain", X_test=adult.X_test, y_test=adult.y_test)
    assert result.verified
    assert result.metrics["gap_closed"] == pytest.approx(100, abs=1)
    assert result.metrics["forget_of_the_way"] < 0.01
    assert result.metrics["test_of_the_way"] < 0.01
