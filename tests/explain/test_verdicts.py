"""Every reason that an answer may have to be careful, or to be none, is given by name."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import traceprop as tp

RNG_SEED = 4


def kept(model, X, y, **options):
    with tp.training_context(model, X, y, **options) as ctx:
        pass
    return ctx.gradient_store


def regression(n=60, d=3):
    rng = np.random.default_rng(RNG_SEED)
    X = rng.normal(size=(n, d))
    return X, X @ rng.normal(size=d) + rng.normal(size=n)


class TestConditionNumber:
    def test_columns_that_all_but_repeat_one_another_cost_the_digits(self):
        from sklearn.linear_model import LinearRegression

        X, y = regression()
        twice = np.column_stack([X, X[:, 0] + 1e-6 * np.random.default_rng(0).normal(size=len(X))])
        scores = tp.attribution_engine(kept(LinearRegression().fit(twice, y), twice, y)).scores(twice[:2], y[:2])
        assert scores.verdict == "estimated"
        assert "condition number is" in scores.why

    def test_units_do_not(self):
        from sklearn.linear_model import LinearRegression

        X, y = regression()
        X = X * [1e-6, 1.0, 1e6]
        scores = tp.attribution_engine(kept(LinearRegression().fit(X, y), X, y)).scores(X[:2], y[:2])
        assert scores.verdict == "exact"
        assert "condition number" in scores.why


@pytest.fixture
def rare():
    """Row 7 alone has the last column."""
    X, y = regression()
    return np.column_stack([X, np.arange(60) == 7]).astype(float), y


class TestLeverage:
    @pytest.mark.parametrize("estimator", ["influence", "newton"])
    def test_rows_that_hold_most_of_their_own_fit_are_named(self, rare, estimator):
        from sklearn.linear_model import Ridge

        X, y = rare
        model = Ridge(alpha=0.5, tol=1e-12).fit(X, y)
        scores = tp.attribution_engine(kept(model, X, y), estimator).scores(X[7:8], y[7:8])
        assert scores.verdict == "exact"
        assert "1 training rows have a leverage above 0.5" in scores.why
        assert "row 7" in scores.why
        assert ("estimator='newton' counts it in" in scores.why) == (estimator == "influence")

    def test_counted_in_a_row_of_high_leverage_is_told_of_as_retraining_does(self, rare):
        from sklearn.linear_model import Ridge

        X, y = rare
        model, rest = Ridge(alpha=0.5).fit(X, y), np.arange(60) != 7
        without = Ridge(alpha=0.5).fit(X[rest], y[rest])
        x, label = X[7:8] + 0.1, y[7:8]
        before, after = (-0.5 * (label - one.predict(x)) ** 2 for one in (model, without))
        gradient = -(label - model.predict(x)) * np.append(x, 1.0)  # of the loss
        moved = np.append(without.coef_ - model.coef_, without.intercept_ - model.intercept_)
        score = tp.attribution_engine(kept(model, X, y), "newton").scores(x, label)[0, 7]
        assert score == pytest.approx(gradient @ moved, rel=1e-5)
        assert score > 0
        assert after < before

    def test_what_stands_alone_has_no_fit_without_it(self, rare):
        from sklearn.linear_model import LinearRegression

        X, y = rare
        scores = tp.attribution_engine(kept(LinearRegression().fit(X, y), X, y), "newton").scores(X[:2], y[:2])
        assert np.isfinite(scores).all()
        assert scores.verdict == "estimated"
        assert "without that row nothing decides some direction" in scores.why

    def test_of_several_classes_too(self):
        from sklearn.linear_model import LogisticRegression

        rng = np.random.default_rng(0)
        X = np.column_stack([rng.normal(size=(90, 2)), 30.0 * (np.arange(90) == 7)])
        y = (X[:, :2] @ rng.normal(size=(2, 3)) + 2 * rng.normal(size=(90, 3))).argmax(axis=1)
        model = LogisticRegression(C=10.0, tol=1e-10, max_iter=5_000).fit(X, y)
        assert "row 7" in tp.attribution_engine(kept(model, X, y), "newton").scores(X[:2], y[:2]).why


@pytest.fixture
def rows():
    rng = np.random.default_rng(RNG_SEED)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    return X, (X[:, 0] + rng.normal(size=60) > 0).astype(int)


class TestNetworks:
    def trained(self, rows, *layers, used=slice(None)):
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        model, (X, y) = torch.nn.Sequential(*layers), rows
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = torch.nn.CrossEntropyLoss()
        with tp.training_context(model, X, y, loss=loss, source_id="rows") as ctx:
            ctx.checkpoint()
            for at in np.array_split(np.arange(60)[used], 3):
                optimizer.zero_grad()
                value = loss(model(torch.from_numpy(X[at])), torch.from_numpy(y[at]))
                value.backward()
                optimizer.step()
                ctx.step(value, at)
        return ctx.gradient_store

    @pytest.mark.parametrize(
        "estimator", ["influence", "newton", "ekfac", "trak", "tracin", "dot", "cosine", "last-layer"]
    )
    def test_batch_norms_stand_still(self, rows, estimator):
        nn = pytest.importorskip("torch").nn
        store = self.trained(rows, nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
        scores = tp.attribution_engine(store, estimator).scores(rows[0][:3], rows[1][:3])
        assert scores.verdict == "estimated"
        assert "1 is a batch norm in evaluation mode" in scores.why
        plain = self.trained(rows, nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
        assert "batch norm" not in tp.attribution_engine(plain, estimator).scores(rows[0][:3], rows[1][:3]).why

    def test_rows_that_no_step_used_are_counted(self, rows):
        torch = pytest.importorskip("torch")
        nn = torch.nn
        layers = nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)
        store = self.trained(rows, *layers, used=slice(0, 48))
        options = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1)}
        for engine in (tp.attribution_engine(store), tp.attribution_engine(store, "replay", **options)):
            scores = engine.scores(rows[0][:3], rows[1][:3])
            assert "12 of 60 training rows, 48 the first, are in no recorded step" in scores.why
            assert scores.verdict == engine.effect([[0]], rows[0][:3], rows[1][:3]).verdict == "estimated"
            assert "no recorded step" in engine.top_k(rows[0][:3], rows[1][:3], k=2).why
        assert not np.asarray(scores)[:, 48:].any()  # of the recorded run they are no part


def test_rows_without_a_logged_gradient_are_counted():
    with tp.training_context(None, np.zeros((5, 2)), np.zeros(5)) as ctx:
        for sample in (0, 1, 3):
            ctx.log_gradient(np.arange(2.0) + sample, sample)
    result = tp.attribution_engine(ctx.gradient_store).attribute(np.ones(2))
    assert result.verdict == "estimated"
    assert "2 of 5 training rows have no gradient in the store, and score 0" in result.why


def test_inexact_lineage_is_told_of(tmp_path):
    from sklearn.linear_model import Ridge

    (tmp_path / "people.csv").write_text("\n".join(["a,b,y", *(f"{k % 7 + 1},{k % 5},{k % 3}" for k in range(40))]))

    @tp.trace
    def guessed(people):
        return np.polymul(people[:, 0], np.array([2.0]))

    @tp.trace
    def known(people):
        return people[:, 0] * 2.0

    people = tp.from_csv(tmp_path / "people.csv")
    y = np.asarray(people)[:, 2]
    for prepare, verdict in ((guessed, "estimated"), (known, "exact")):
        with pytest.warns(UserWarning, match="no lineage rule") if prepare is guessed else nullcontext():
            X = prepare(people)[:, None]
        plain = np.asarray(X)
        scores = tp.attribution_engine(kept(Ridge().fit(plain, y), X, y)).scores(plain[:2], y[:2])
        assert scores.verdict == verdict
        assert ("the lineage of the training rows is inexact" in scores.why) == (prepare is guessed)
