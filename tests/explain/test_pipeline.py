"""Rows taken out of the pipeline and the model: against the whole pipeline run again without them, and a model retrained."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

import traceprop as tp
from tests.explain.conftest import C
from traceprop.errors import ModelError
from traceprop.tracing.reweighted import Reweighting


def new_model():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=200)


def fit(X, y):
    return new_model().fit(X, y)


def context(model, X, y):
    with tp.training_context(model, X, y) as ctx:
        pass
    return ctx.gradient_store


# -- small, by expressions --------------------------------------------------------------------------------------------------


class TestClinics:
    """Features scaled by all rows' mean and deviation, outside of any traced function."""

    def test_the_model_is_that_of_the_whole_run_without_the_rows(self, clinics, store):
        result = tp.unlearn(gradient_store=store, source_id="north", rows=range(10, 30), through="pipeline")
        gone = [k for k, (name, row) in enumerate(clinics.rows) if name == "north" and 10 <= row < 30]
        stays = np.setdiff1d(np.arange(len(clinics.rows)), gone)
        raw = clinics.features[stays]
        again = (raw - raw.mean(axis=0)) / raw.std(axis=0)  # scaling scaled rows anew is scaling the raw ones
        retrained = fit(again, clinics.y[stays])
        np.testing.assert_allclose(result.model.coef_, retrained.coef_, rtol=1e-6)
        np.testing.assert_allclose(result.model.intercept_, retrained.intercept_, rtol=1e-6, atol=1e-9)
        assert result.verified
        assert result.verdict == "certified"
        assert "without the forgotten rows" in result.why
        frozen = tp.unlearn(gradient_store=store, source_id="north", rows=range(10, 30), through="features")
        assert np.abs(frozen.model.coef_ - retrained.coef_).max() > 1e-3, "and fixed features do not lead there"

    def test_forgetting_in_two_steps_is_forgetting_at_once(self, store):
        first = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 8], through="pipeline")
        both = tp.unlearn(gradient_store=first.gradient_store, source_id="south", rows=[1], through="pipeline")
        assert {name: np.flatnonzero(w == 0).tolist() for name, w in both.weights.items()} == {
            "north": [3, 8],
            "south": [1],
        }
        once = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 8], through="pipeline")
        once = tp.unlearn(gradient_store=once.gradient_store, source_id="south", rows=[1], through="pipeline")
        np.testing.assert_array_equal(both.model.coef_, once.model.coef_)

    def test_retraining_agrees(self, store):
        result = tp.unlearn(
            gradient_store=store, source_id="south", rows=range(20), through="pipeline", verify="retrain"
        )
        assert result.verified
        assert abs(result.metrics["gap_closed"] - 100) < 0.1
        assert result.metrics["test_of_the_way"] < 1e-4
        assert result.compliance_report["held_fixed"] == "nothing"

    def test_plain_arrays_have_no_pipeline(self, clinics):
        store = context(clinics.sklearn(), clinics.features, clinics.y)
        with pytest.raises(ModelError, match="needs the pipeline: give training_context the lazy values"):
            tp.unlearn(gradient_store=store, source_id="X_train", rows=[1], through="pipeline")


def test_steps_without_a_weighted_form_are_named_and_lower_the_verdict():
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = (x[:, 0] + np.random.default_rng(1).normal(size=60) > 0).astype(int)
    features = tp.trace(lambda x: x - np.median(x, axis=0))(tp.from_numpy(x, source_id="x"))
    result = tp.unlearn(
        gradient_store=context(fit(features, y), features, y), source_id="x", rows=[4], through="pipeline"
    )
    assert result.verdict == "estimated"
    assert not result.verified
    assert "numpy.median" in result.why


HELD = {
    "numpy.quantile": lambda x: (x - x.mean(axis=0)) / np.quantile(x, 0.9, axis=0),
    "filter": lambda x: (x - x.mean(axis=0))[np.argsort(x[:, 0])][np.abs(x[:, 1] - x[:, 1].mean()) < 2],
}


@pytest.mark.parametrize("step", HELD)
def test_scores_name_what_they_hold_fixed_with_the_line(step):
    x = np.random.default_rng(0).normal(size=(60, 2))
    features = tp.trace(HELD[step])(tp.from_numpy(x, source_id="x"))
    y = (features.compute()[:, 0] + np.random.default_rng(1).normal(size=len(features)) > 0).astype(int)
    store = context(fit(features, y), features, y)
    scores = tp.attribution_engine(store).scores(features[:3], y[:3])
    assert scores.verdict == "estimated"
    held = scores.why.split("held fixed: ")[1]
    assert step in held
    assert "test_pipeline.py:" in held
    result = tp.unlearn(gradient_store=store, source_id="x", rows=[4])
    assert result.verdict == "estimated"
    assert step in result.why


def test_a_pipeline_that_reduces_no_rows_says_so():
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = (x[:, 0] + np.random.default_rng(1).normal(size=60) > 0).astype(int)
    features = tp.trace(lambda x: np.tanh(x))(tp.from_numpy(x, source_id="x"))
    store = context(fit(features, y), features, y)
    result = tp.unlearn(gradient_store=store, source_id="x", rows=[4], through="pipeline")
    assert "no other row's features changed" in result.why
    frozen = tp.unlearn(gradient_store=store, source_id="x", rows=[4])
    np.testing.assert_allclose(result.model.coef_, frozen.model.coef_, rtol=1e-12)


# -- real rows: Adult with target-encoded categories ----------------------------------------------------------------------------

pytestmark = pytest.mark.filterwarnings("ignore:.*was not among the fitting rows")
COLUMNS = ["workclass", "education", "marital-status", "occupation", "relationship", "native-country"]
NUMBERS = ["age", "education-num", "hours-per-week"]


@tp.trace
def prepare(people):
    encoded = people.target_encode(COLUMNS, "rich", smoothing=1.0).select([*COLUMNS, *NUMBERS]).to_numpy("float64")
    return (encoded - encoded.mean(axis=0)) / encoded.std(axis=0), people["rich"]


@pytest.fixture(scope="module")
def adult(data_dir):
    table = pl.read_csv(data_dir / "adult.csv.gz")
    rich = (table["income"].str.strip_chars(" .") == ">50K").cast(pl.Int64)
    return table.select([*COLUMNS, *NUMBERS]).with_columns(rich=rich).sample(2400, seed=0, shuffle=True)


class Fitted:
    """2,000 people and 400 new ones: features of both, and a model of the first."""

    def __init__(self, adult: pl.DataFrame) -> None:
        self.people, self.new = adult[:2000], adult[2000:2400]
        self.X, self.y = prepare(tp.from_dataframe(self.people, source_id="people"))
        self.model = fit(self.X, np.asarray(self.y))
        self.store = context(self.model, self.X, self.y)
        fitted = prepare.fit(tp.from_dataframe(self.people, source_id="people"))
        self.X_new, labels = fitted(tp.from_dataframe(self.new, source_id="new"))
        self.y_new = np.asarray(labels)

    def margins_without(self, kept: np.ndarray) -> np.ndarray:
        """Everything once more: the encoder, the scaler, the features of the new people, and the model."""
        again = tp.from_dataframe(self.people.filter(pl.Series(kept)), source_id="people")
        X, y = prepare(again)
        X_new, _ = prepare.fit(again)(tp.from_dataframe(self.new, source_id="new"))
        return fit(X.compute(), y.compute()).decision_function(X_new.compute()) * (2 * self.y_new - 1)


@pytest.fixture(scope="module")
def fitted(adult):
    return Fitted(adult)


class TestInfluence:
    def test_it_is_the_derivative_of_the_whole_run(self, fitted):
        engine = tp.attribution_engine(fitted.store, through="pipeline")
        scores = engine.scores(fitted.X_new[:20], fitted.y_new[:20])
        assert scores.verdict == "exact"
        assert "follow their weights" in scores.why
        for row in (0, 7, 1234):
            high, low = (self.weighted_margins(fitted, row, 1e-3 * sign) for sign in (1, -1))
            want = (high - low) / 2e-3
            np.testing.assert_allclose(scores[:, row], want, rtol=1e-4, atol=1e-5 * np.abs(want).max())

    @staticmethod
    def weighted_margins(fitted, row, step):
        weights = np.ones(2000)
        weights[row] += step
        work = Reweighting({"people": weights})
        model = new_model().fit(work.value(fitted.X).compute(), np.asarray(fitted.y), sample_weight=weights)
        logits = model.decision_function(work.value(fitted.X_new[:20]).compute())
        return logits * (2 * fitted.y_new[:20] - 1)

    def test_it_ranks_retrained_pipelines_where_frozen_features_do_not(self, fitted):
        rng = np.random.default_rng(0)
        kept = np.zeros((30, 2000), dtype=bool)
        for mask in kept:
            mask[rng.permutation(2000)[:1000]] = True
        truth = np.array([fitted.margins_without(mask)[:120] for mask in kept])
        asked = fitted.X_new[:120], fitted.y_new[:120]

        def lds(predicted):
            return np.mean([spearmanr(predicted[:, t], truth[:, t]).statistic for t in range(truth.shape[1])])

        engine = tp.attribution_engine(fitted.store, through="pipeline")
        scores = engine.scores(*asked)
        frozen = tp.attribution_engine(fitted.store, through="features").scores(*asked)
        effects = engine.effect(~kept, *asked)
        assert lds(kept @ np.asarray(frozen).T) < 0.85
        assert lds(kept @ np.asarray(scores).T) > 0.90
        halves = tp.attribution_engine(fitted.store, "banzhaf").scores(*asked)
        assert lds(kept @ np.asarray(halves).T) > lds(kept @ np.asarray(scores).T)
        assert lds(np.asarray(effects)) > 0.98

    def test_explanations_of_lazy_rows(self, fitted):
        engine = tp.attribution_engine(fitted.store, through="pipeline")
        result = engine.explain(fitted.X_new[3:4], fitted.y_new[3:4])
        scores = engine.scores(fitted.X_new[3:4], fitted.y_new[3:4])
        assert result.top(1)[0]["row"] == int(scores[0].argmax())

    def test_without_fitted_state_it_is_influence_with_features_fixed(self):
        x = np.random.default_rng(0).normal(size=(80, 3))
        y = (x[:, 0] + np.random.default_rng(1).normal(size=80) > 0).astype(int)
        features = tp.trace(lambda x: np.tanh(x))(tp.from_numpy(x, source_id="x"))
        store = context(fit(features, y), features, y)
        scores = tp.attribution_engine(store, through="pipeline").scores(x[:5], y[:5])
        np.testing.assert_allclose(scores, tp.attribution_engine(store).scores(x[:5], y[:5]), rtol=1e-5, atol=1e-7)

    def test_errors(self, clinics):
        store = context(clinics.sklearn(), clinics.features, clinics.y)
        with pytest.raises(ModelError, match="needs the pipeline"):
            tp.attribution_engine(store, through="pipeline")
        engine = tp.attribution_engine(clinics.store(), through="pipeline")
        with pytest.raises(ModelError, match="does not say which row it is of"):
            engine.attribute(np.zeros(4))


def test_unlearning(fitted):
    people, new = fitted.people, fitted.new
    store, X_new = fitted.store, fitted.X_new
    rows = np.flatnonzero((people["occupation"] == "Exec-managerial").to_numpy())[:150]

    result = tp.unlearn(gradient_store=store, source_id="people", rows=rows, through="pipeline")

    kept = np.setdiff1d(np.arange(len(people)), rows)
    again = tp.from_dataframe(people[kept], source_id="people")
    X_again, y_again = prepare(again)
    X_new_again, _ = prepare.fit(again)(tp.from_dataframe(new, source_id="new"))
    retrained = fit(X_again.compute(), y_again.compute())
    want = retrained.decision_function(X_new_again.compute())
    got = result.model.decision_function(result.refitted(X_new).compute())
    before = store.model.decision_function(X_new.compute())
    frozen = tp.unlearn(gradient_store=store, source_id="people", rows=rows, through="features")
    fixed = frozen.model.decision_function(X_new.compute())
    way = np.linalg.norm(before - want)
    assert np.linalg.norm(got - want) < 1e-4 * way
    assert np.linalg.norm(fixed - want) > 0.2 * way, "with features held fixed much of the way is left"


class TestWhereNothingIsAsked:
    """`through=None`: by the pipeline where it can be followed, else with features fixed; `.why` says which."""

    def test_lazy_test_rows_are_followed_and_plain_ones_are_not(self, fitted):
        engine = tp.attribution_engine(fitted.store)
        some = fitted.X_new[:5], fitted.y_new[:5]
        ours = engine.scores(*some)
        np.testing.assert_array_equal(ours, tp.attribution_engine(fitted.store, through="pipeline").scores(*some))
        assert "through the pipeline" in ours.why
        plain = engine.scores(np.asarray(some[0]), some[1])
        np.testing.assert_array_equal(
            plain, tp.attribution_engine(fitted.store, through="features").scores(np.asarray(some[0]), some[1])
        )
        assert "features held fixed: the test rows are plain arrays" in plain.why
        mask = np.zeros((1, 2000), dtype=bool)
        mask[0, :50] = True
        assert "the pipeline without each set" in engine.effect(mask, *some).why
        assert "plain arrays" in engine.effect(mask, np.asarray(some[0]), some[1]).why
        assert engine.explain(some[0][:1], some[1][:1]).why == engine.scores(some[0][:1], some[1][:1]).why
        assert len(engine.attribute(np.zeros(fitted.X_new.shape[1] + 1)).top(3)) == 3

    def test_test_rows_of_another_program_are_not(self, fitted):
        other = tp.trace(lambda x: np.tanh(x))(tp.from_numpy(np.asarray(fitted.X_new[:5]), source_id="elsewhere"))
        scores = tp.attribution_engine(fitted.store).scores(other, fitted.y_new[:5])
        assert "features held fixed: the test rows come from another program" in scores.why

    def test_a_pipeline_without_weighted_forms_is_not(self):
        x = np.random.default_rng(0).normal(size=(60, 2))
        y = (x[:, 0] + np.random.default_rng(1).normal(size=60) > 0).astype(int)
        features = tp.trace(lambda x: x - np.median(x, axis=0))(tp.from_numpy(x, source_id="x"))
        store = context(fit(features, y), features, y)
        scores = tp.attribution_engine(store).scores(features[:4], y[:4])
        assert "features held fixed: the pipeline has no reduction over rows with a weighted form" in scores.why
        result = tp.unlearn(gradient_store=store, source_id="x", rows=[4])
        assert (result.verdict, result.metrics["through"]) == ("certified", "features")

    def test_other_estimators_hold_features_fixed(self, fitted):
        newton = tp.attribution_engine(fitted.store, "newton").scores(fitted.X_new[:3], fitted.y_new[:3])
        assert "through the pipeline" not in newton.why
        with pytest.raises(ModelError, match="is for estimator='influence' and 'banzhaf', not 'newton'"):
            tp.attribution_engine(fitted.store, "newton", through="pipeline")

    def test_unlearning_follows_the_pipeline(self, store):
        ours = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 8])
        theirs = tp.unlearn(gradient_store=store, source_id="north", rows=[3, 8], through="pipeline")
        np.testing.assert_array_equal(ours.model.coef_, theirs.model.coef_)
        assert ours.metrics["through"] == "pipeline"
