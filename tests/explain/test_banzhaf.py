"""What a row adds to half of the others: against the definition, pipelines and models fitted with other weights."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.passes.attribution.halves import places
from traceprop.tracing.reweighted import Reweighting

N = 60
RNG = np.random.default_rng(3)
RAW = RNG.normal(size=(N, 3)) * [1.0, 2.0, 0.5]
Y = (RAW[:, 0] + RNG.normal(size=N) > 0).astype(int)


def new_model():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12, max_iter=200)


@pytest.fixture(scope="module")
def features():
    return tp.trace(lambda x: (x - x.mean(axis=0)) / x.std(axis=0))(tp.from_numpy(RAW, source_id="x"))


@pytest.fixture(scope="module")
def store(features):
    with tp.training_context(new_model().fit(features.compute(), Y), features, Y) as ctx:
        pass
    return ctx.gradient_store


def test_places_are_one_in_all_and_count_each_row_alike():
    kept = np.ones(N, dtype=bool)
    kept[5] = False
    found = list(places(kept))
    assert sum(share for share, _, _ in found) == pytest.approx(1)
    counted = sum(share * rows * weight for share, rows, weight in found)
    np.testing.assert_allclose(counted[kept], 0.5)
    assert counted[5] == 0


@pytest.mark.parametrize("through", ["features", "pipeline"])
def test_it_is_the_mean_derivative_of_fits_at_those_weights(features, store, through):
    labels = np.arange(6) % 2

    def margins(weights):
        X = features.compute()
        asked = X[:6]
        if through == "pipeline":
            X = Reweighting({"x": weights}).value(features).compute()
            asked = X[:6]
        model = new_model().fit(X, Y, sample_weight=weights)
        return model.decision_function(asked) * (2 * labels - 1)

    engine = tp.attribution_engine(store, "banzhaf", through=through)
    asked = features[:6] if through == "pipeline" else features.compute()[:6]
    scores = engine.scores(asked, labels)
    assert scores.verdict == "estimated"
    assert "half of every row's weight" in scores.why
    for row in (0, 17, 59):
        want = np.zeros(6)
        for share, rows, weight in places(np.ones(N, dtype=bool)):
            sides = [rows * weight + sign * 1e-4 * (np.arange(N) == row) for sign in (1, -1)]
            want += share * (margins(sides[0]) - margins(sides[1])) / 2e-4
        np.testing.assert_allclose(scores[:, row], want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_forgotten_rows_add_nothing(features, store):
    again = tp.unlearn(gradient_store=store, source_id="x", rows=[4, 9])
    for name in ("influence", "banzhaf"):
        engine = tp.attribution_engine(again.gradient_store, name)
        for source in (None, "x"):
            scores = np.asarray(engine.scores(features[:3], [0, 1, 1], source=source))
            np.testing.assert_array_equal(scores[:, [4, 9]], 0)
            assert (scores[:, [3, 10]] != 0).all()


def test_a_test_gradient_is_of_one_model(store):
    with pytest.raises(ModelError, match="fits other models"):
        tp.attribution_engine(store, "banzhaf", through="features").attribute(np.zeros(4))
