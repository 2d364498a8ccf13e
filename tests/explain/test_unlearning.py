"""Unlearning compared with retraining for real, and what is no request to forget."""

import json

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import LineageError, ModelError, NothingToForgetError


def samples_of(clinics, *rows):
    return np.array([clinics.rows.index(row) for row in rows])


def torch_store(clinics, dtype="float64", source=None):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 1, dtype=getattr(torch, dtype))
    sklearn = clinics.sklearn()
    with torch.no_grad():
        model.weight.copy_(torch.as_tensor(sklearn.coef_))
        model.bias.copy_(torch.as_tensor(sklearn.intercept_))

    def loss(out, y):
        return torch.nn.functional.binary_cross_entropy_with_logits(out.squeeze(-1), y.to(out.dtype), reduction="none")

    with tp.training_context(model, clinics.X, clinics.y, loss=loss, l2=1.0 / 138) as ctx:
        pass
    return ctx.gradient_store


class TestModels:
    def test_it_is_the_model_that_the_rest_gives(self, clinics, store):
        before = store.model.coef_.copy()
        result = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 6, 59], through="features")
        gone = samples_of(clinics, ("north", 3), ("north", 6), ("north", 59))
        retrained = clinics.sklearn(np.setdiff1d(np.arange(138), gone))
        np.testing.assert_allclose(result.model.coef_, retrained.coef_, atol=1e-9)
        np.testing.assert_allclose(result.model.intercept_, retrained.intercept_, atol=1e-9)
        np.testing.assert_array_equal(result.model.predict(clinics.X_test), retrained.predict(clinics.X_test))
        np.testing.assert_array_equal(store.model.coef_, before)
        assert result.verdict == "certified"
        assert result.verified is True
        assert result.metrics["parameter_bound"] < 1e-9
        assert f"{result.metrics['parameter_bound']:.1e}" in result.why
        assert result.influence_before > 1e-3
        assert result.influence_after < 1e-6 * result.influence_before

    def test_retraining_measures_it(self, clinics, store):
        result = tp.unlearn(
            gradient_store=store,
            source_id="south",
            rows=range(10, 20),
            verify="retrain",
            X_test=clinics.X_test,
            y_test=clinics.y_test,
        )
        assert result.verified
        metrics = result.metrics
        assert metrics["gap_closed"] == pytest.approx(100, abs=1e-3)
        assert metrics["forget_of_the_way"] < 1e-6
        assert metrics["test_of_the_way"] < 1e-6
        assert metrics["test_rows"] == "X_test"
        assert metrics["test_loss_unlearned"] == pytest.approx(metrics["test_loss_retrained"])
        assert "% of the gap closed" in result.why
        assert result.influence_before == metrics["forget_logit_distance_original"]

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_torch_models_are_corrected_too(self, clinics, dtype):
        torch = pytest.importorskip("torch")
        store = torch_store(clinics, dtype)
        result = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 6], verify="retrain", through="features")
        assert result.verified
        assert result.verdict == "certified"
        assert isinstance(result.model, torch.nn.Linear)
        assert result.model.weight.dtype == getattr(torch, dtype)
        assert result.metrics["parameter_bound"] < (1e-9 if dtype == "float64" else 1e-6)
        assert "from zero" in result.metrics["retraining"]
        # The penalty on the mean loss grows as rows go: against scikit-learn with C / m instead of C / n.
        gone = samples_of(clinics, ("north", 3), ("north", 6))
        stay = np.setdiff1d(np.arange(138), gone)
        from sklearn.linear_model import LogisticRegression

        same = LogisticRegression(C=138 / 136, solver="newton-cholesky", tol=1e-12)
        same.fit(clinics.features[stay], clinics.y[stay])
        np.testing.assert_allclose(
            result.model.weight.detach().numpy(), same.coef_, atol=1e-8 if dtype == "float64" else 1e-6
        )

    def test_in_place_changes_the_model_and_the_store(self, clinics, store):
        model, engine = store.model, tp.attribution_engine(store, through="features")
        result = tp.unlearn(model, store, source_id="north", rows=[3], inplace=True, through="features")
        assert result.model is model
        assert result.gradient_store is store
        second = tp.unlearn(model, store, source_id="north", rows=[3, 4], inplace=True, through="features")
        assert second.metrics["forgotten"] == 1
        gone = samples_of(clinics, ("north", 3), ("north", 4))
        retrained = clinics.sklearn(np.setdiff1d(np.arange(138), gone))
        np.testing.assert_allclose(model.coef_, retrained.coef_, atol=1e-9)
        scores = tp.attribution_engine(store).scores(clinics.X_test, clinics.y_test)
        assert (scores[:, gone] == 0).all()
        np.testing.assert_array_equal(engine.scores(clinics.X_test, clinics.y_test), scores)

    def test_forgetting_goes_on_from_a_result(self, clinics, store):
        first = tp.unlearn(gradient_store=store, source_id="north", rows=[3], through="features")
        second = tp.unlearn(gradient_store=first.gradient_store, source_id="south", rows=[8], through="features")
        gone = samples_of(clinics, ("north", 3), ("south", 8))
        retrained = clinics.sklearn(np.setdiff1d(np.arange(138), gone))
        np.testing.assert_allclose(second.model.coef_, retrained.coef_, atol=1e-9)
        with pytest.raises(ModelError, match="earlier result"):
            tp.unlearn(first.model, store, source_id="south", rows=[8])
        with pytest.raises(NothingToForgetError, match="forgotten already"):
            tp.unlearn(gradient_store=first.gradient_store, source_id="north", rows=[3], through="features")

    @pytest.mark.parametrize("targets", [1, 2])
    @pytest.mark.parametrize(
        ("name", "options"), [("Ridge", {"alpha": 3.0}), ("Ridge", {"fit_intercept": False}), ("LinearRegression", {})]
    )
    def test_one_step_is_exact_for_squares(self, name, options, targets):
        linear_model = pytest.importorskip("sklearn.linear_model")
        rng = np.random.default_rng(0)
        X = rng.normal(size=(60, 4))
        y = (X @ rng.normal(size=(4, targets)) + rng.normal(size=(60, targets))).squeeze()
        model = getattr(linear_model, name)(**options).fit(X, y)
        with tp.training_context(model, X, y, source_id="people") as ctx:
            pass
        result = tp.unlearn(gradient_store=ctx.gradient_store, source_id="people", rows=[1, 2, 40], verify="retrain")
        retrained = getattr(linear_model, name)(**options).fit(np.delete(X, [1, 2, 40], 0), np.delete(y, [1, 2, 40], 0))
        assert (result.verdict, result.verified) == ("certified", True)
        assert result.metrics["newton_steps"] == 1
        assert result.metrics["gap_closed"] == pytest.approx(100, abs=1e-8)
        np.testing.assert_allclose(result.model.coef_, retrained.coef_, atol=1e-10)
        np.testing.assert_allclose(result.model.intercept_, retrained.intercept_, atol=1e-10)

    def test_rows_without_pull_leave_the_model_unverified(self):
        from sklearn.linear_model import Ridge

        X = np.array([[-1.0], [0.0], [1.0]])
        model = Ridge(alpha=0.0).fit(X, X[:, 0])
        model.coef_, model.intercept_ = np.array([1.0]), 0.0
        with tp.training_context(model, X, X[:, 0]) as ctx:
            pass
        result = tp.unlearn(gradient_store=ctx.gradient_store, rows=[2])
        assert not result.verified
        assert "left as it was" in result.why

    def test_a_class_that_would_vanish_is_refused(self, clinics, store):
        ones = np.flatnonzero(clinics.y == 1)
        model = store.model
        with tp.training_context(model, clinics.features, clinics.y) as ctx:
            pass
        result = tp.unlearn(gradient_store=ctx.gradient_store, rows=ones)
        assert result.verdict == "refused"
        assert result.model is None
        assert "1 of 2 classes" in result.why
        assert result.compliance_report["verdict"] == "refused"

    def test_the_report_is_plain(self, store):
        result = tp.unlearn(gradient_store=store, source_id="north", rows=np.array([3, 5]))
        report = json.loads(json.dumps(result.compliance_report))
        assert report["source_rows"] == {"north": [3, 5]}
        assert report["source_rows_not_in_training"] == {"north": 1}
        assert report["training_rows"] == [3]
        assert report["verified"] is True


class TestRequests:
    def test_predicates(self, clinics, store):
        result = tp.unlearn(gradient_store=store, source_id="south", where="client = 2 AND a > 0")
        table = np.genfromtxt(clinics.paths["south"], delimiter=",", skip_header=1)
        expected = np.flatnonzero((table[:, 3] == 2) & (table[:, 0] > 0))
        assert result.compliance_report["source_rows"] == {"south": expected.tolist()}
        assert result.metrics["forgotten"] == len(expected)

    def test_keys_reach_every_source_with_the_column(self, store):
        report = tp.unlearn(gradient_store=store, key=("client", 2)).compliance_report
        assert report["source_rows"] == {"north": list(range(2, 60, 7)), "south": list(range(2, 80, 7))}
        only = tp.unlearn(gradient_store=store, source_id="south", key=("client", 2)).compliance_report
        assert list(only["source_rows"]) == ["south"]

    def test_a_whole_source(self, clinics, store):
        result = tp.unlearn(gradient_store=store, source_id="north", through="features")
        retrained = clinics.sklearn(slice(58, None))
        np.testing.assert_allclose(result.model.coef_, retrained.coef_, atol=1e-9)

    @pytest.mark.parametrize(
        ("request_", "error", "message"),
        [
            ({}, NothingToForgetError, "give source_id="),
            ({"source_id": "north", "rows": []}, NothingToForgetError, "empty"),
            ({"source_id": "north", "rows": [5, 17]}, NothingToForgetError, "none of the 2 rows .* reached training"),
            ({"source_id": "north", "where": "a > 99"}, NothingToForgetError, "no row with a > 99"),
            ({"key": ("client", 99)}, NothingToForgetError, "client = 99"),
            ({"rows": [1]}, LineageError, "say which with source_id=: 'north', 'south'"),
            ({"source_id": "nort", "rows": [1]}, LineageError, "did you mean 'north'"),
            ({"source_id": "nort"}, LineageError, "did you mean 'north'"),
            ({"source_id": "north", "rows": [60]}, LineageError, "row 60 is out of range: 'north' has 60 rows"),
            ({"source_id": "north", "rows": [-1]}, LineageError, "row -1 is out of range"),
            ({"source_id": "north", "rows": [0.5]}, LineageError, "integers"),
            ({"source_id": "north", "where": "nope = 1"}, LineageError, "nope"),
            ({"key": ("nope", 1)}, LineageError, "no source has a column 'nope'"),
            ({"key": "client"}, ModelError, "a column and a value"),
            ({"source_id": "north", "rows": [1], "where": "a > 0"}, ModelError, "one of"),
            ({"source_id": "north", "rows": [1], "through": "both"}, ModelError, "None, 'features' or 'pipeline'"),
            ({"source_id": "north", "rows": [1], "method": "sisa"}, ModelError, "'auto' and 'newton'"),
            ({"source_id": "north", "rows": [1], "verify": "yes"}, ModelError, "'auto' or 'retrain'"),
        ],
    )
    def test_one_clear_error_each(self, store, request_, error, message):
        before = store.model.coef_.copy()
        with pytest.raises(error, match=message):
            tp.unlearn(gradient_store=store, inplace=True, **request_)
        np.testing.assert_array_equal(store.model.coef_, before)

    def test_nothing_would_be_left(self, clinics):
        with tp.training_context(clinics.sklearn(), clinics.features, clinics.y) as ctx:
            pass
        with pytest.raises(NothingToForgetError, match="nothing would be left"):
            tp.unlearn(gradient_store=ctx.gradient_store, source_id="X_train")

    def test_other_models_than_the_stores(self, clinics, store):
        with pytest.raises(ModelError, match="needs gradient_store"):
            tp.unlearn(store.model, rows=[1])
        other = clinics.sklearn(slice(30, None))
        with pytest.raises(ModelError, match="not those that the store describes"):
            tp.unlearn(other, store, source_id="north", rows=[1])
        with pytest.raises(ModelError, match="describes a LogisticRegression"):
            tp.unlearn(object(), store, source_id="north", rows=[1])
        with tp.training_context() as ctx:
            ctx.log_gradient(np.ones((5, 2)), np.arange(5))
        with pytest.raises(ModelError, match="gradients logged by hand"):
            tp.unlearn(gradient_store=ctx.gradient_store, rows=[1])


class TestCertificates:
    """The residual of every certified removal is entered into one ledger, which refuses what it does not afford."""

    def test_the_ledger_adds_up_over_a_chain(self, store):
        first = tp.unlearn(gradient_store=store, source_id="north", rows=[3])
        second = tp.unlearn(gradient_store=first.gradient_store, source_id="south", rows=[8])
        ledger = second.gradient_store.ledger
        assert ledger is store.ledger
        assert [asked for asked, _ in ledger.entries] == ["1 rows of 'north'", "1 rows of 'south'"]
        residuals = [result.metrics["residual"] for result in (first, second)]
        assert second.metrics["budget_spent"] == ledger.spent == pytest.approx(sum(residuals))
        gradient = second.gradient_store.objective.gradient(second.gradient_store.theta)
        assert residuals[1] == pytest.approx(np.linalg.norm(gradient))
        assert 0 < ledger.spent < ledger.budget

    def test_a_spent_budget_refuses(self, store):
        first = tp.unlearn(gradient_store=store, source_id="north", rows=[3])
        enough = first.metrics["residual"] * 1.5
        before = first.gradient_store.model.coef_.copy()
        refused = tp.unlearn(
            gradient_store=first.gradient_store, source_id="south", rows=range(40), budget=enough / 2, inplace=True
        )
        assert (refused.verdict, refused.model, refused.verified) == ("refused", None, False)
        assert "the removal budget is spent" in refused.why
        np.testing.assert_array_equal(first.gradient_store.model.coef_, before)
        assert len(store.ledger.entries) == 1, "what was refused spends nothing"
        again = tp.unlearn(gradient_store=first.gradient_store, source_id="south", rows=range(40), budget=1.0)
        assert again.verdict == "certified"

    def test_float32_models_spend_what_rounding_leaves(self, clinics):
        result = tp.unlearn(gradient_store=torch_store(clinics, "float32"), source_id="north", rows=[3])
        assert 1e-9 < result.metrics["residual"] < 1e-2 * result.metrics["budget"]

    def test_a_budget_is_above_zero(self, store):
        with pytest.raises(ModelError, match="a number above 0"):
            tp.unlearn(gradient_store=store, source_id="north", rows=[3], budget=0.0)


def test_the_result_names_what_was_touched(clinics, store):
    result = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 5])
    touched = result.touched
    assert {name: rows.tolist() for name, rows in touched.source_rows.items()} == {"north": [3, 5]}
    np.testing.assert_array_equal(touched.training_rows, samples_of(clinics, ("north", 3)))
    assert [text.split(" at ")[0] for text in touched.statistics] == ["reduce[numpy.mean]", "reduce[numpy.std]"]
    assert all("conftest.py:" in text for text in touched.statistics)
    assert touched.models == ("LogisticRegression",)
    assert json.loads(json.dumps(result.compliance_report))["touched"] == touched.to_dict()
    fixed = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 5], through="features")
    assert fixed.touched.statistics == ()


class TestPerturbedFits:
    """A fit with a random linear term, of which removals are certified against any test (Guo et al. 2020)."""

    def fitted(self, clinics, sigma=0.05, labels=None, rows=slice(None), seed=7):
        from sklearn.linear_model import LogisticRegression

        y = clinics.y if labels is None else labels
        return tp.fit_perturbed(LogisticRegression(C=2.0), clinics.features[rows], y[rows], sigma=sigma, seed=seed)

    def store_of(self, model, clinics, labels=None):
        with tp.training_context(model, clinics.features, clinics.y if labels is None else labels) as ctx:
            pass
        return ctx.gradient_store

    def test_it_is_at_the_minimum_of_the_perturbed_objective(self, clinics):
        from scipy.optimize import minimize

        model = self.fitted(clinics)
        signs, X = 2 * clinics.y - 1, clinics.features

        def objective(theta):
            loss = np.logaddexp(0, -signs * (X @ theta[:3] + theta[3])).sum()
            return loss + theta[:3] @ theta[:3] / 4 + model.perturbation_ @ theta

        found = minimize(objective, np.zeros(4), tol=1e-12).x
        np.testing.assert_allclose(np.append(model.coef_[0], model.intercept_), found, atol=1e-5)
        assert model.perturbation_.shape == (4,)
        assert np.abs(model.coef_ - self.fitted(clinics, sigma=1e-9).coef_).max() > 1e-5

    @pytest.mark.parametrize("classes", [2, 3])
    def test_removal_is_the_perturbed_fit_to_the_rest(self, clinics, classes):
        labels = clinics.y if classes == 2 else clinics.y + (clinics.features[:, 2] > 0.5)
        model = self.fitted(clinics, labels=labels)
        budget = tp.removal_budget(0.05, epsilon=1e-3, delta=1e-5)
        result = tp.unlearn(
            gradient_store=self.store_of(model, clinics, labels), rows=range(9), budget=budget, verify="retrain"
        )
        assert (result.verdict, result.verified) == ("certified", True)
        assert result.metrics["budget_spent"] < budget
        assert result.metrics["retraining"].startswith("Newton")
        rest = self.fitted(clinics, labels=labels, rows=slice(9, None))
        np.testing.assert_array_equal(rest.perturbation_, model.perturbation_)
        np.testing.assert_allclose(result.model.coef_, rest.coef_, atol=1e-8)
        np.testing.assert_array_equal(result.model.perturbation_, model.perturbation_)
        plain = self.store_of(self.fitted(clinics, 1e-9, labels), clinics, labels)
        assert np.abs(tp.unlearn(gradient_store=plain, rows=range(9)).model.coef_ - rest.coef_).max() > 1e-5

    def test_a_budget_that_the_removals_do_not_fit_in_refuses(self, clinics):
        store = self.store_of(self.fitted(clinics), clinics)
        tiny = tp.removal_budget(1e-14, epsilon=1e-3, delta=1e-5)
        result = tp.unlearn(gradient_store=store, rows=[3], budget=tiny)
        assert result.verdict == "refused"
        assert "budget is spent" in result.why

    def test_what_cannot_be_perturbed_is_an_error(self, clinics):
        from sklearn.linear_model import LogisticRegression, Ridge

        with pytest.raises(ModelError, match="not of a Ridge"):
            tp.fit_perturbed(Ridge(), clinics.features, clinics.y, sigma=1.0)
        with pytest.raises(ModelError, match="above 0"):
            self.fitted(clinics, sigma=0.0)
        with pytest.raises(ModelError, match="L2 penalty"):
            tp.fit_perturbed(LogisticRegression(C=np.inf), clinics.features, clinics.y, sigma=1.0)
        with pytest.raises(ModelError, match="above 0"):
            tp.removal_budget(1.0, epsilon=-1.0, delta=0.1)
