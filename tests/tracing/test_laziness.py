"""When things run, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ExecutionError, LineageError, SourceError
from traceprop.runtime.executable import Executable


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """The names of the programs that have run, in order."""
    seen: list[str] = []
    run = Executable.run

    def counted(self: Executable, values: Sequence[Any]) -> Any:
        seen.append(self.traced.name)
        return run(self, values)

    monkeypatch.setattr(Executable, "run", counted)
    return seen


@tp.trace
def scale(x):
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)


@tp.trace
def positive(x):
    return x[x[:, 0] > 0]


X = np.array([[1.0, 2.0], [-3.0, 4.0], [5.0, 7.0]])


def test_nothing_runs_before_a_value_is_asked_for_and_then_once(runs):
    y = scale(X)
    assert (y.shape, y.dtype, len(y), y.ndim) == ((3, 2), np.float64, 3, 2)
    assert runs == []
    np.asarray(y)
    y.compute()
    np.asarray(y)
    assert runs == ["scale"]


def test_lineage_of_static_programs_runs_nothing(runs):
    view = tp.provenance(scale(X))
    view.rows(1)
    view.rows(slice(None), "any")
    view.cells((0, 1))
    view.affected_rows("x", [1], "aggregate")
    view.row_pairs()
    view.ops()
    assert view.exact
    assert runs == []


def test_lineage_that_the_data_decides_runs_once(runs):
    y = positive(X)
    assert tp.provenance(y).rows(1)["x"].tolist() == [2]
    assert len(y) == 2
    np.asarray(y)
    assert runs == ["positive"]


def test_results_of_one_call_run_together(runs):
    @tp.trace
    def two(x):
        return x + 1, x * 2

    a, b = two(X)
    np.asarray(a)
    np.asarray(b)
    assert runs == ["two"]


def test_chained_calls_run_each_once(runs):
    y = positive(X)
    z, w = scale(y), scale(y * 2)
    np.asarray(z)
    np.asarray(w)
    assert sorted(runs) == ["expression", "positive", "scale", "scale"]
    assert tp.provenance(z).rows(1)["x"].tolist() == [2]


def test_expressions_run_once_and_what_was_asked_is_not_run_again(runs):
    x = tp.from_numpy(X, source_id="x")
    a = x + 1
    b = a * 2
    assert runs == []
    np.testing.assert_array_equal(b, (X + 1) * 2)
    np.asarray(b)
    assert len(runs) == 1
    c = b - 1
    np.asarray(c)
    assert len(runs) == 2
    assert tp.provenance(c).rows(2)["x"].tolist() == [2]


def test_a_computed_value_is_the_callers_own():
    y = scale(X)
    y.compute()[:] = 0
    assert np.asarray(y).any()
    np.asarray(y)[:] = 0
    assert np.asarray(y).any()


def test_without_tracking_nothing_is_recorded_and_questions_say_why():
    with tp.granularity(None):
        y = positive(X)
    np.testing.assert_array_equal(y, X[X[:, 0] > 0])
    with pytest.raises(LineageError, match="granularity=None"):
        tp.provenance(y).rows(0)
    with tp.granularity(None):
        z = scale(X)
        assert positive.compile(X).program.ops[-1].definition.name == "gather"
    assert tp.provenance(z).rows(1)["x"].tolist() == [1]  # static: known all the same


def test_a_changed_source_is_noticed():
    x = X.copy()
    y = scale(x)
    x[0, 0] = 9
    with pytest.raises(ExecutionError, match="changed"):
        np.asarray(y)


def test_two_sources_of_one_name_are_refused():
    a, b = tp.from_numpy(X, source_id="same"), tp.from_numpy(X, source_id="same")
    with pytest.raises(SourceError, match="'same'"):
        np.asarray(np.concatenate([a, b]))


def test_sizes_that_the_data_decided_fit_one_another_outside_of_a_trace():
    """Two lazy values of as many cells, each of a size of its own: they run, and then their sizes are numbers."""
    x = tp.from_numpy(np.array([-2.0, 3.0, 3.0]), source_id="decided")
    once = np.union1d(x, x)
    other = np.negative(np.negative(np.union1d(x, x)))
    np.testing.assert_array_equal(np.lexsort((once, other)), [0, 1])
    left = np.delete(once == other, 0)
    np.testing.assert_array_equal(tp.cond(left.sum() > 9, lambda v: np.sort(v), lambda v: v, left), [True])
