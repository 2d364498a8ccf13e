"""A result is never that of an earlier state of what the function closes over."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import TraceError

X = np.arange(12.0).reshape(4, 3)


class Scaler:
    def __init__(self, factor):
        self.factor = factor
        self.center = np.zeros(3)

    def transform(self, x):
        return (x - self.center) * self.factor


def test_attributes_of_an_object_closed_over():
    scaler = Scaler(2.0)
    function = tp.trace(lambda x: scaler.transform(x))
    np.testing.assert_array_equal(function(X), X * 2)
    scaler.factor = 3.0
    np.testing.assert_array_equal(function(X), X * 3)
    scaler.center[0] = 1
    np.testing.assert_array_equal(function(X), (X - [1, 0, 0]) * 3)


def test_a_bound_method_reads_its_object():
    scaler = Scaler(2.0)
    function = tp.trace(scaler.transform)
    np.testing.assert_array_equal(function(X), X * 2)
    scaler.factor = 5.0
    np.testing.assert_array_equal(function(X), X * 5)


def test_two_helpers_of_one_text():
    def times(k):
        return lambda x: x * k

    double, triple = times(2), times(3)
    function = tp.trace(lambda x: double(x) + triple(x))
    np.testing.assert_array_equal(function(X), X * 5)
    triple = times(4)
    np.testing.assert_array_equal(function(X), X * 6)


def test_a_traced_helper_reads_what_it_closes_over():
    factor = 2.0
    inner = tp.trace(lambda x: x * factor)
    outer = tp.trace(lambda x: inner(x) + 1)
    np.testing.assert_array_equal(outer(X), X * 2 + 1)
    factor = 3.0
    np.testing.assert_array_equal(outer(X), X * 3 + 1)


def test_arguments_of_a_partial():
    by = np.full(3, 2.0)
    function = tp.trace(lambda x: scaled(x))
    scaled = functools.partial(np.multiply, by)
    np.testing.assert_array_equal(function(X), X * 2)
    by[:] = 3
    np.testing.assert_array_equal(function(X), X * 3)


def test_an_id_that_another_object_gets_is_no_match():
    class Held:
        __slots__ = ("value",)

    def fresh(value):
        held = Held()
        held.value = value
        return held

    held = fresh(1.0)
    function = tp.trace(lambda x: x * held.value)
    for value in (1.0, 2.0, 3.0, 4.0):
        held = fresh(value)
        np.testing.assert_array_equal(function(X), X * value)


def test_random_generators_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(TraceError, match=r"draws random numbers from 'rng' at test_purity\.py:\d+.*pass them in"):
        tp.trace(lambda x: x + rng.normal(size=3))(X)


class TestModules:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.fixture
    def layer(self, torch):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).double().eval()

    def check(self, torch, layer, function):
        with torch.no_grad():
            np.testing.assert_allclose(np.asarray(function(X)), layer(torch.from_numpy(X)).numpy(), rtol=1e-12)

    @pytest.mark.parametrize("decorated", [True, False], ids=["decorated", "closed over"])
    def test_a_step_of_the_optimizer_is_seen(self, torch, layer, decorated):
        function = tp.trace(layer) if decorated else tp.trace(lambda x: layer(torch.as_tensor(x)))
        self.check(torch, layer, function)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        layer(torch.from_numpy(X)).sum().backward()
        optimizer.step()
        self.check(torch, layer, function)
        layer[0].weight.data.mul_(2)  # which leaves the version as it was
        self.check(torch, layer, function)
        layer[1].running_mean.add_(1)
        self.check(torch, layer, function)

    def test_the_mode_is_seen(self, torch):
        layer = torch.nn.Dropout(0.5).eval()
        function = tp.trace(layer)
        np.testing.assert_array_equal(np.asarray(function(torch.from_numpy(X))), X)
        layer.train()
        with pytest.raises(TraceError, match="eval"):
            function(torch.from_numpy(X))

    def test_arguments_are_called_as_forward_calls_them(self, torch, layer):
        program = tp.trace(layer).ir(torch.from_numpy(X))
        assert [param.name for param in program.params] == ["input"]

    def test_a_tensor_closed_over(self, torch):
        shift = torch.ones(3, dtype=torch.float64)
        function = tp.trace(lambda x: x + shift)
        np.testing.assert_array_equal(np.asarray(function(torch.from_numpy(X))), X + 1)
        shift[0] = 7
        np.testing.assert_array_equal(np.asarray(function(torch.from_numpy(X))), np.add(X, [7, 1, 1]))
