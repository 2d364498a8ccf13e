"""Gradients taken on a cluster, partition by partition, are those that are taken here."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.training.logged import final_gradients
from traceprop.training.travel import put_together, take_apart


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(90, 6))
    return X, (X @ rng.normal(size=6) + rng.normal(size=90) > 0).astype(np.int64)


def gradients_here(store):
    adapter = store.checkpoints[-1].adapter if store.checkpoints else store.adapter
    return np.concatenate([found for _, _, found in final_gradients(adapter, store.X, store.y)])


def check(found, here):
    np.testing.assert_allclose(found.gram(), here.T @ here, rtol=1e-10, atol=1e-12 * np.abs(here.T @ here).max())
    asked = np.random.default_rng(0).normal(size=(2, here.shape[1]))
    np.testing.assert_allclose(found.products(asked), asked @ here.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.products(asked[1]), here @ asked[1], rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def fitted(data):
    from sklearn.linear_model import LogisticRegression

    X, y = data
    with tp.training_context(model := LogisticRegression(C=2.0), X, y, source_id="rows") as ctx:
        model.fit(X, y)
    return ctx.gradient_store


def test_a_linear_model(client, fitted):
    found = tp.partitioned_gradients(fitted, executor=client, batch_size=25)
    assert len(found) == 90
    check(found, gradients_here(fitted))


def test_a_log_is_written_with_its_owners(client, fitted, tmp_path):
    here = gradients_here(fitted)
    blocks = tp.partitioned_gradients(fitted, executor=client).log(tmp_path / "log")
    np.testing.assert_allclose(blocks.gradients(), here.astype(np.float32), rtol=1e-6, atol=1e-7)
    blocks.close()
    opened = tp.stores.GradientBlocks(tmp_path / "log")
    top = tp.attribution_engine(opened).attribute(here[7]).top(1)[0]
    assert (top["source_id"], top["row"]) == ("rows", int(np.argmax(here @ here[7])))
    check(tp.partitioned_gradients(opened, executor=client), opened.gradients().astype(np.float64))


def test_features_stay_in_the_partitions_of_the_run_that_made_them(client, data):
    from sklearn.linear_model import Ridge

    X, _ = data
    lazy = tp.trace(executor=client)(lambda x: (x[x[:, 0] > -1] - x.mean(axis=0)) / x.std(axis=0))(X)
    target = np.arange(len(lazy), dtype=float)
    with tp.training_context(model := Ridge(), lazy, target) as ctx:
        model.fit(np.asarray(lazy), target)
    found = tp.partitioned_gradients(ctx.gradient_store, executor=client)
    check(found, gradients_here(ctx.gradient_store))
    assert found._graph.bytes_sent == target.nbytes


def test_projected_gradients_of_a_network(client, data):
    torch = pytest.importorskip("torch")
    X, y = data
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    with tp.training_context(model, X, y, loss=torch.nn.CrossEntropyLoss(), proj_dim=8) as ctx:
        pass
    found = tp.partitioned_gradients(ctx.gradient_store, executor=client, batch_size=40)
    here = gradients_here(ctx.gradient_store)
    assert here.shape == (90, 8)
    np.testing.assert_allclose(found.gram(), here.T @ here, rtol=1e-9, atol=1e-12)
    with pytest.raises(ModelError, match="but the model has 47 parameters"):
        found.products(np.zeros(8))

    with tp.training_context(model, X, y, loss=lambda out, y: torch.nn.functional.cross_entropy(out, y)) as ctx:
        pass
    with pytest.raises(ModelError, match=r"the loss is defined in .*<lambda>, which workers cannot import"):
        tp.partitioned_gradients(ctx.gradient_store, executor=client)


def test_logged_gradients_and_those_logged_twice(client):
    rng = np.random.default_rng(1)
    logged, samples = rng.normal(size=(12, 3)), np.array([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    with tp.training_context(store=tp.stores.GradientBlocks(dtype="float64", block_rows=5)) as ctx:
        ctx.log_gradient(logged, samples)
    found = tp.partitioned_gradients(ctx.gradient_store, executor=client)
    np.testing.assert_allclose(found.gram(), logged.T @ logged, rtol=1e-12)
    whole = logged[:6] + logged[6:]
    np.testing.assert_allclose(found.products(np.ones(3)), whole.sum(axis=1), rtol=1e-12)


def test_a_killed_worker_changes_nothing(client, fitted):
    found = tp.partitioned_gradients(fitted, executor=client, batch_size=10)
    before = found.gram()
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    check(found, gradients_here(fitted))
    np.testing.assert_array_equal(found.gram(), before)


def test_modules_are_taken_apart_and_put_together():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.BatchNorm1d(2), torch.nn.ReLU(), torch.nn.Flatten())
    model = torch.nn.Sequential(inner, torch.nn.Dropout(0.3), torch.nn.Linear(12, 2)).eval()
    model[2].bias.requires_grad_(False)
    again = put_together(take_apart(model))
    x = torch.randn(5, 1, 8)
    assert torch.equal(again(x), model(x))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    assert again.state_dict().keys() == model.state_dict().keys()

    class Local(torch.nn.Module):
        pass

    with pytest.raises(
        ModelError, match=r"the module Local is defined in .*<locals>.Local, which workers cannot import"
    ):
        take_apart(torch.nn.Sequential(Local()))
    model[2].held = object()
    with pytest.raises(ModelError, match="the attribute 'held' of Linear is a object"):
        take_apart(model)
    model[2].held = torch.nn.functional.relu
    assert put_together(take_apart(model))[2].held is torch.nn.functional.relu
    model.register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="has hooks"):
        take_apart(model)
