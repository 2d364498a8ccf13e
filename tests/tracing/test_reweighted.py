"""Weights through several calls: results of one program in the next, and fitted pipelines."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.tracing.reweighted import Reweighting

X = np.random.default_rng(0).normal(size=(20, 3))
NEW = np.random.default_rng(1).normal(size=(5, 3))
KEPT = np.random.default_rng(2).random(20) > 0.3


@tp.trace
def scale(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


@tp.trace
def share(x):
    return x / np.abs(x).sum(axis=0)


def people(x: np.ndarray) -> object:
    return tp.from_numpy(x, source_id="people")


def test_through_a_chain_of_programs():
    work = Reweighting({"people": KEPT})
    value = share(scale(people(X)))
    again = share(scale(people(X[KEPT]))).compute()
    np.testing.assert_allclose(work.value(value).compute()[KEPT], again)
    np.testing.assert_array_equal(work.rows(value).compute(), KEPT.astype(float))
    assert work.forms == 3


def test_expressions_outside_of_programs_follow():
    """A filter there keeps the positions of the run with all rows, and is named."""
    scaled = scale(people(X))
    value = scaled[:12] - scaled[:12].mean(axis=0)
    work = Reweighting({"people": KEPT})
    want = scale(people(X[KEPT])).compute()[: KEPT[:12].sum()]
    np.testing.assert_allclose(work.value(value).compute()[KEPT[:12]], want - want.mean(axis=0))
    assert not work.held

    chosen = scaled[scaled[:, 0] > 0]
    work = Reweighting({"people": KEPT})
    assert work.value(chosen).shape == chosen.shape
    assert any(text.startswith("filter") for text in work.held)


def test_fitted_pipelines_apply_the_statistics_of_the_rows_that_stay():
    value = scale.fit(people(X))(tp.from_numpy(NEW, source_id="new"))
    work = Reweighting({"people": KEPT})
    want = (NEW - X[KEPT].mean(axis=0)) / X[KEPT].std(axis=0)
    np.testing.assert_allclose(work.value(value).compute(), want)
    assert work.rows(value) is None, "the new rows are all there"


def test_what_no_weighted_source_is_behind_stays_itself():
    value = scale(people(X))
    work = Reweighting({"others": np.ones(3)})
    assert work.value(value) is value
    assert work.rows(value) is None


def test_a_source_itself_has_its_weights():
    source = people(X)
    work = Reweighting({"people": KEPT})
    np.testing.assert_array_equal(work.value(source).compute(), X)
    np.testing.assert_array_equal(work.rows(source).compute(), KEPT)


@pytest.mark.parametrize("k", [1, 5])
def test_a_value_of_another_source_keeps_its_rows(k):
    both = np.concatenate([people(X), tp.from_numpy(NEW[:k], source_id="new")])
    work = Reweighting({"people": KEPT})
    np.testing.assert_array_equal(work.rows(both).compute(), [*KEPT, *[1.0] * k])
