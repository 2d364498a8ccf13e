"""Splits made inside the pipeline, joined tables and group statistics: against the whole pipeline run again without the rows.

For each: the values that `refitted` gives, the model, and the scores as derivatives of the whole run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from traceprop.errors import LineageError, NothingToForgetError
from traceprop.tracing.reweighted import Reweighting

RNG = np.random.default_rng(11)
N = 90
CITIES = pl.DataFrame(
    {"city": ["Bonn", "Cork", "Dole", "Elba"], "size": [3.0, 2.0, 1.0, 0.4], "rain": [0.2, 0.9, 0.5, 0.7]}
)


def people() -> pl.DataFrame:
    city = RNG.choice(CITIES["city"].to_list(), N, p=[0.4, 0.3, 0.2, 0.1])
    age = RNG.normal(40, 10, N)
    sick = (age + 8 * (city == "Cork") + RNG.normal(0, 8, N) > 43).astype(int)
    return pl.DataFrame({"city": city, "age": age, "dose": RNG.normal(size=N), "sick": sick, "fold": np.arange(N) % 3})


PEOPLE = people()


def scaled(x: Any) -> Any:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def split(people: Any, cities: Any) -> Any:
    """Means of everybody; two thirds train, one third is asked about."""
    x = scaled(people[["age", "dose"]].to_numpy("float64"))
    train = people["fold"] != 0
    return x[train], people["sick"][train], x[people["fold"] == 0]


def split_first(people: Any, cities: Any) -> Any:
    """The split first, so that only the training part has its means taken."""
    train, test = people[people["fold"] != 0], people[people["fold"] == 0]
    x = train[["age", "dose"]].to_numpy("float64")
    centre, spread = x.mean(axis=0), x.std(axis=0)
    return (x - centre) / spread, train["sick"], (test[["age", "dose"]].to_numpy("float64") - centre) / spread


def joined(people: Any, cities: Any) -> Any:
    both = people.join(cities, on="city")
    x = scaled(both[["age", "size", "rain"]].to_numpy("float64"))
    return x, both["sick"], x[:8]


def grouped(people: Any, cities: Any) -> Any:
    """Ages less the mean age of the city, and the city's share of the sick."""
    means = people.group_by("city").agg(age="mean", sick="mean")
    stats = means.assign(city_age=means["age"], city_sick=means["sick"]).select(["city", "city_age", "city_sick"])
    both = people.join(stats, on="city")
    x = np.stack([both["age"] - both["city_age"], both["city_sick"], both["dose"]], axis=1)
    return scaled(x), both["sick"], scaled(x)[:8]


@dataclass
class Run:
    X: Any
    y: Any
    asked: Any
    model: Any


def new_model() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12, max_iter=200)


def run(prepare: Callable[..., Any], rows: pl.DataFrame = PEOPLE, cities: pl.DataFrame = CITIES) -> Run:
    X, y, asked = tp.trace(prepare)(
        tp.from_dataframe(rows, source_id="people"), tp.from_dataframe(cities, source_id="cities")
    )
    return Run(X, y, asked, new_model().fit(X.compute(), y.compute()))


def stored(whole: Run) -> Any:
    with tp.training_context(whole.model, whole.X, whole.y) as ctx:
        pass
    return ctx.gradient_store


def without(rows: list[int]) -> pl.DataFrame:
    return PEOPLE[np.setdiff1d(np.arange(N), rows)]


FORGET = [1, 4, 7, 20, 22, 50]
PIPELINES = [split, split_first, joined, grouped]


@pytest.mark.parametrize("prepare", PIPELINES, ids=lambda f: f.__name__)
def test_people_are_forgotten_as_if_they_had_never_been_there(prepare):
    whole = run(prepare)
    result = tp.unlearn(gradient_store=stored(whole), source_id="people", rows=FORGET)
    again = run(prepare, without(FORGET))
    assert (result.verdict, result.verified, result.metrics["through"]) == ("certified", True, "pipeline")
    stays = ~result.refit.gone
    np.testing.assert_allclose(result.refitted(whole.X).compute()[stays], again.X.compute(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.model.coef_, again.model.coef_, rtol=1e-6, atol=1e-8)
    assert np.abs(whole.model.coef_ - again.model.coef_).max() > 1e-3


@pytest.mark.parametrize("prepare", PIPELINES, ids=lambda f: f.__name__)
def test_scores_are_the_derivative_of_the_whole_run(prepare):
    whole = run(prepare)
    store = stored(whole)
    labels = np.arange(len(whole.asked)) % 2
    scores = tp.attribution_engine(store).scores(whole.asked, labels)
    assert "through the pipeline" in scores.why
    samples, rows = store.owners.pairs["people"]

    def margins(row: int, step: float) -> np.ndarray:
        weights = np.ones(N)
        weights[row] += step
        work = Reweighting({"people": weights})
        own = work.rows(whole.X).compute()
        model = new_model().fit(work.value(whole.X).compute(), whole.y.compute(), sample_weight=own)
        return model.decision_function(work.value(whole.asked).compute()) * (2 * labels - 1)

    for sample in (0, 3, 17):
        row = int(rows[samples == sample][0])
        want = (margins(row, 1e-3) - margins(row, -1e-3)) / 2e-3
        np.testing.assert_allclose(scores[:, sample], want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


VISITS = pl.DataFrame(
    {"city": RNG.choice(CITIES["city"].to_list()[:3], 40), "cost": RNG.gamma(2.0, size=40), "dose": RNG.normal(size=40)}
)


def visited(people: Any, cities: Any) -> Any:
    """What a visit costs in the city, from a table whose rows become nobody's row; the towns with no visit drop out."""
    costs = cities.group_by("city").agg(cost="mean", dose="std")
    both = people.join(costs.select(["city", "cost"]), on="city")
    x = scaled(both[["age", "cost", "dose"]].to_numpy("float64"))
    return x, both["sick"], x[:8]


@pytest.mark.parametrize(("prepare", "table"), [(joined, CITIES), (visited, VISITS)], ids=["joined", "grouped"])
class TestRowsOfAnotherTable:
    """Rows of `cities`: each is behind all who joined it, or behind a statistic."""

    def test_scores_are_the_derivative_of_the_whole_run(self, prepare, table):
        whole = run(prepare, cities=table)
        labels = np.arange(len(whole.asked)) % 2
        scores = tp.attribution_engine(stored(whole)).scores(whole.asked, labels, source="cities")
        assert scores.shape == (len(labels), len(table))
        last = "whether a group has a row left" in scores.why
        assert (scores.verdict, last) == (("estimated", True) if prepare is visited else ("exact", False))
        for row in (0, 2):
            high, low = (self.margins(whole, labels, len(table), row, 1e-3 * sign) for sign in (1, -1))
            want = (high - low) / 2e-3
            np.testing.assert_allclose(scores[:, row], want, rtol=1e-4, atol=1e-5 * np.abs(want).max())

    @staticmethod
    def margins(whole, labels, rows, row, step):
        weights = np.ones(rows)
        weights[row] += step
        work = Reweighting({"cities": weights})
        X = work.value(whole.X).compute()
        own = work.rows(whole.X)
        own = None if own is None else own.compute()
        model = new_model().fit(X, whole.y.compute(), sample_weight=own)
        return model.decision_function(work.value(whole.asked).compute()) * (2 * labels - 1)

    def test_effects_are_those_of_the_run_without_the_row(self, prepare, table):
        whole = run(prepare, cities=table)
        labels, rows = np.arange(len(whole.asked)) % 2, [0, 2]
        engine = tp.attribution_engine(stored(whole))
        effects = engine.effect([[row] for row in rows], whole.asked, labels, source="cities")
        before = whole.model.decision_function(whole.asked.compute())
        for row, effect in zip(rows, effects, strict=True):
            again = run(prepare, cities=table[np.setdiff1d(np.arange(len(table)), [row])])
            work = Reweighting({"cities": (np.arange(len(table)) != row).astype(float)})
            new = again.model.decision_function(work.value(whole.asked).compute())
            want = (new - before) * (2 * labels - 1)
            assert np.abs(effect - want).max() < 0.1 * np.abs(want).max()


def test_with_features_fixed_a_row_of_a_joined_table_has_the_sum_of_its_samples():
    whole = run(joined)
    store, labels = stored(whole), np.arange(8) % 2
    engine = tp.attribution_engine(store, through="features")
    plain = whole.asked.compute()
    ours, each = engine.scores(plain, labels, source="cities"), engine.scores(plain, labels)
    cork = (PEOPLE["city"] == "Cork").to_numpy()
    people = dict(zip(*store.owners.pairs["people"], strict=True))
    mine = np.array([cork[people[sample]] for sample in range(len(store))])
    np.testing.assert_allclose(ours[:, 1], each[:, mine].sum(axis=1), rtol=1e-4)
    assert "the sum of the samples" in ours.why
    sets = engine.effect([[1]], plain, labels, source="cities")
    np.testing.assert_array_equal(sets, engine.effect([np.flatnonzero(mine)], plain, labels))


def test_explanations_rank_rows_of_the_table_that_is_asked_about():
    whole = run(joined)
    engine = tp.attribution_engine(stored(whole))
    scores = engine.scores(whole.asked[2:3], [1], source="cities")
    found = engine.explain(whole.asked[2:3], [1], source="cities").top(4)
    assert [entry["row"] for entry in found] == np.argsort(-scores[0]).tolist()
    assert {entry["source_id"] for entry in found} == {"cities"}
    people = engine.scores(whole.asked[2:3], [1])
    assert "source='cities' asks about those" in people.why
    with pytest.raises(LineageError, match=r"no source called 'city' among .* did you mean 'cities'"):
        engine.scores(whole.asked, np.zeros(8, dtype=int), source="city")


def test_a_row_of_a_joined_table_takes_everybody_who_joined_it():
    whole = run(joined)
    result = tp.unlearn(gradient_store=stored(whole), source_id="cities", rows=[1])
    again = run(joined, cities=CITIES[[0, 2, 3]])
    cork = np.flatnonzero(PEOPLE["city"].to_numpy() == "Cork")
    assert len(result.touched.training_rows) == len(cork)
    stays = ~result.refit.gone
    np.testing.assert_allclose(result.refitted(whole.X).compute()[stays], again.X.compute(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.model.coef_, again.model.coef_, rtol=1e-6, atol=1e-8)


def test_a_key_reaches_both_tables():
    whole = run(joined)
    result = tp.unlearn(gradient_store=stored(whole), key=("city", "Dole"))
    assert list(result.touched.source_rows) == ["people", "cities"]
    again = run(joined, PEOPLE.filter(pl.col("city") != "Dole"), CITIES[[0, 1, 3]])
    np.testing.assert_allclose(result.model.coef_, again.model.coef_, rtol=1e-6, atol=1e-8)


def test_rows_of_the_test_half_are_forgotten_where_they_stand_behind_a_mean():
    """Nobody of them was trained on; the means of everybody are others without them."""
    asked = np.flatnonzero(PEOPLE["fold"].to_numpy() == 0)[:10].tolist()
    whole = run(split)
    result = tp.unlearn(gradient_store=stored(whole), source_id="people", rows=asked, verify="retrain")
    again = run(split, without(asked))
    assert result.metrics["forgotten"] == 0
    assert result.verified
    assert len(result.touched.training_rows) == 0
    assert {text.split(" at ")[0] for text in result.touched.statistics} == {"reduce[numpy.mean]", "reduce[numpy.std]"}
    np.testing.assert_allclose(result.model.coef_, again.model.coef_, rtol=1e-6, atol=1e-8)
    store = result.gradient_store
    with pytest.raises(NothingToForgetError, match="forgotten already"):
        tp.unlearn(gradient_store=store, source_id="people", rows=asked)
    with pytest.raises(NothingToForgetError, match="none of the 10 rows"):
        tp.unlearn(gradient_store=stored(whole), source_id="people", rows=asked, through="features")
    with pytest.raises(NothingToForgetError, match="none of the 10 rows"):
        tp.unlearn(gradient_store=stored(run(split_first)), source_id="people", rows=asked)
