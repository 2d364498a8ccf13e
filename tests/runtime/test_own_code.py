"""PyTorch functions run by their own code: the same values, and the program's where something was changed."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp

torch = pytest.importorskip("torch")
nn = torch.nn


def runs_itself(f, *args):
    return "own PyTorch code" in f.compile(*args).explain()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))


def test_a_module_runs_itself_once_per_call_and_keeps_its_lineage(network):
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    f, x = tp.trace(network), torch.randn(20, 5)
    np.asarray(f(tp.from_torch(x, "x")))
    before = len(calls)
    out = f(tp.from_torch(x, "x"))
    assert len(calls) == before  # lazy
    torch.testing.assert_close(torch.as_tensor(out), network(x).detach(), rtol=0, atol=0)
    assert len(calls) == before + 2  # one of them is this test's
    np.asarray(out)
    assert len(calls) == before + 2
    assert runs_itself(f, x)
    assert tp.provenance(out).rows(7) == {"x": np.array([7])}


def test_more_rows_and_structures_and_other_arguments(network):
    def f(batch, scale, flag=True):
        out = network(batch["x"]) * scale
        return {"out": out if flag else -out, "both": (out.sum(1), batch["x"].shape[1])}

    traced = tp.trace(f)
    for rows in (6, 11, 6):
        x = torch.randn(rows, 5)
        found = traced({"x": x}, 2.0)
        torch.testing.assert_close(torch.as_tensor(found["out"]), network(x).detach() * 2.0)
        torch.testing.assert_close(torch.as_tensor(found["both"][0]), network(x).detach().sum(1) * 2.0)
        assert found["both"][1] == 5
    other = traced({"x": x}, 2.0, flag=False)
    torch.testing.assert_close(torch.as_tensor(other["out"]), -network(x).detach() * 2.0)


def test_weights_that_change_are_those_of_the_next_call(network):
    f, x = tp.trace(network), torch.randn(4, 5)
    np.asarray(f(x))
    with torch.no_grad():
        network[0].weight.mul_(3.0)
    torch.testing.assert_close(torch.as_tensor(f(x)), network(x).detach())


def test_a_mode_that_changes_before_the_run_is_not_followed():
    network = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5)).eval()
    f, x = tp.trace(network), torch.randn(4, 5)
    expected = network(x).detach()
    np.asarray(f(x))
    waiting = f(x)
    network.train()
    torch.testing.assert_close(torch.as_tensor(waiting), expected)


def test_what_keeps_positions_runs_as_its_program():
    def positions(x, at):
        return x[at]

    x = torch.randn(6, 3)
    g, at = tp.trace(positions), torch.tensor([2, 0])
    torch.testing.assert_close(torch.as_tensor(g(x, at)), x[at])
    assert not runs_itself(g, x, at)


def test_a_result_is_never_a_view_of_its_argument():
    f, x = tp.trace(lambda x: (x.T, x[:, :1], torch.relu(x))), torch.randn(4, 3)
    views = [torch.as_tensor(value).clone() for value in f(x)]
    again = f(x)
    held = [torch.as_tensor(value) for value in again]
    x.zero_()
    for one, other in zip(held, views, strict=True):
        torch.testing.assert_close(one, other)


def test_a_traced_function_inside_of_another_is_part_of_it(network):
    inner = tp.trace(lambda x: torch.tanh(x))
    outer = tp.trace(lambda x: inner(network(x)) + 1.0)
    x = torch.randn(5, 5)
    for _ in range(2):
        torch.testing.assert_close(torch.as_tensor(outer(x)), torch.tanh(network(x)).detach() + 1.0)


def test_an_error_of_the_functions_own_is_the_users_where_the_program_has_none():
    f = tp.trace(lambda x: torch.linalg.inv(x))
    regular, singular = torch.eye(3) * 2.0, torch.ones(3, 3)
    torch.testing.assert_close(f(regular).compute(), torch.eye(3) / 2.0)
    for _ in range(2):
        with pytest.raises(torch.linalg.LinAlgError, match="singular"):
            f(singular).compute()
    torch.testing.assert_close(f(regular).compute(), torch.eye(3) / 2.0)


def test_what_disagreed_once_is_not_named_any_more():
    from traceprop.runtime.own_code import ByOwnCode

    f, x = tp.trace(lambda x: torch.tanh(x)), torch.randn(4, 3)
    executable = f.compile(x)
    assert runs_itself(f, x)
    executable._own = ByOwnCode(lambda tensors: ((tensors[0] + 1.0,), {"N": 4}))
    torch.testing.assert_close(executable(x), torch.tanh(x))
    assert not runs_itself(f, x)
    assert "PyTorch, eagerly" in executable.explain()


def test_attributes_lists_and_networks_held_by_objects_are_watched(network):
    class Model:
        def __init__(self):
            self.network, self.columns, self.scale = network, [0, 1, 2, 3, 4], {"by": 2.0}

        def forward(self, x):
            return self.network(x[:, self.columns]) * self.scale["by"]

    model, x = Model(), torch.randn(6, 5)
    f = tp.trace(model.forward)

    def holds():
        for _ in range(2):
            torch.testing.assert_close(f(x).compute(), model.forward(x).detach())

    holds()
    model.columns[0] = 3
    holds()
    model.scale["by"] = 3
    holds()
    model.scale["off"] = model.scale.pop("by")
    model.scale["by"] = -1.0
    holds()
    network[3].bias.data[1] = 5.0
    holds()
    network[0].weight.data = torch.zeros_like(network[0].weight)
    holds()
    network[0] = nn.Linear(5, 8)
    holds()
