"""JAX networks: every estimator gives what it gives of the same network in PyTorch, at the same moments of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
jnp, nn = jax.numpy, jax.nn

N, T, EPOCHS = 90, 60, 3
pytestmark = pytest.mark.usefixtures("quick_xla")


def points(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, one inside of a ring."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)).astype(np.float32)
    return X, (np.square(X).sum(axis=1) + 0.2 * rng.normal(size=n) > 1.2).astype(np.int64)


X, Y = points(N, 0)
X_TEST, Y_TEST = points(T, 1)


def of_torch(classes: int) -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, classes))


def params_of(module: Any) -> Any:
    """A torch MLP's parameters, as JAX has them: inputs first."""
    state = {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}
    return [{"w": jnp.asarray(state[f"{k}.weight"].T), "b": jnp.asarray(state[f"{k}.bias"])} for k in (0, 2)]


def outputs(params: Any, x: Any) -> Any:
    return jnp.tanh(x @ params[0]["w"] + params[0]["b"]) @ params[1]["w"] + params[1]["b"]


def softmax_loss(params: Any, x: Any, y: Any) -> Any:
    return -jnp.take_along_axis(nn.log_softmax(outputs(params, x)), y[:, None], axis=1).mean()


def squared_loss(params: Any, x: Any, y: Any) -> Any:
    return ((outputs(params, x)[:, 0] - y) ** 2).mean()


def torch_squared(out: Any, y: Any) -> Any:
    return (out.squeeze(-1) - y.float()).square().mean()


LOSSES = {
    "softmax": (softmax_loss, torch.nn.functional.cross_entropy, 2),
    "squared": (squared_loss, torch_squared, 1),
}


def gradient(loss: Any, params: Any, x: Any, y: Any) -> np.ndarray:
    found = jax.grad(loss)(params, jnp.asarray(x), jnp.asarray(y))
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree_util.tree_leaves(found)])


def trained(name: str, granularity: str = "epoch") -> tuple[Any, Any]:
    """The stores of one run: by torch, and by JAX, to whom the parameters of torch's checkpoints are handed."""
    ours, theirs, classes = LOSSES[name]
    module = of_torch(classes)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    of_jax = tp.training_context(params_of(module), X, Y, loss=ours, source_id="ring", granularity=granularity)
    with (
        of_jax as other,
        tp.training_context(module, X, Y, loss=theirs, source_id="ring", granularity=granularity) as ctx,
    ):
        for epoch in range(EPOCHS):
            for xb, yb, rows in ctx.batches(16, shuffle=True, seed=epoch):
                if granularity == "batch":
                    other.step(None, rows, gradient=gradient(ours, params_of(module), X[rows], Y[rows]))
                optimizer.zero_grad()
                theirs(module(xb), yb).backward()
                optimizer.step()
            other.model = params_of(module)
            if granularity == "epoch":
                other.checkpoint(epoch + 1)
    return ctx.gradient_store, other.gradient_store


@pytest.fixture(scope="module")
def stores(quick_xla) -> dict[str, tuple[Any, Any]]:
    return {name: trained(name) for name in LOSSES}


def close(ours: Any, theirs: Any, within: float = 1e-4) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(theirs).max() > 0
    assert np.abs(ours - theirs).max() <= within * np.abs(theirs).max()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "name", ["influence", "newton", "trak", "ekfac", "tracin", "dot", "cosine", "last-layer", "auto"]
)
def test_scores_are_those_of_torch(stores, loss, name):
    theirs, ours = (tp.attribution_engine(store, name) for store in stores[loss])
    assert ours.estimator == theirs.estimator
    found, wanted = ours.scores(X_TEST, Y_TEST), theirs.scores(X_TEST, Y_TEST)
    close(found, wanted)
    assert (found.verdict, wanted.verdict) == ("estimated", "estimated")
    assert found.why.split("damping")[0] == wanted.why.split("damping")[0]
    subsets = [[0, 3, 50], list(range(20, 40))]
    close(ours.effect(subsets, X_TEST, Y_TEST), theirs.effect(subsets, X_TEST, Y_TEST))
    if name in ("influence", "newton", "tracin", "dot", "cosine"):
        params, module = stores[loss][1].model, stores[loss][0].model
        each = [float(LOSSES[loss][0](params, X_TEST[k : k + 1], Y_TEST[k : k + 1])) for k in range(T)]
        row = slice(int(np.argmax(each)), int(np.argmax(each)) + 1)  # whose gradient float32 does not cancel
        mine = gradient(LOSSES[loss][0], params, X_TEST[row], Y_TEST[row])
        module.zero_grad()
        LOSSES[loss][1](module(torch.from_numpy(X_TEST[row])), torch.from_numpy(Y_TEST[row])).backward()
        other = [parameter.grad for parameter in module.parameters()]
        top, others = ours.attribute(mine, top_k=N).top(N), theirs.attribute(other, top_k=N).top(N)
        assert {one["sample_index"] for one in top[:5]} == {one["sample_index"] for one in others[:5]}
        # The gradients themselves are float32's here, and little damping makes much of what they differ in.
        close([one["influence_score"] for one in top], [one["influence_score"] for one in others], 1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_outcomes_are_those_of_torch(stores, loss):
    theirs, ours = (tp.attribution_engine(store, "influence", outcome="loss") for store in stores[loss])
    close(ours.scores(X_TEST, Y_TEST), theirs.scores(X_TEST, Y_TEST))


def test_batch_means_are_those_of_torch():
    theirs, ours = (tp.attribution_engine(store, "batch-mean") for store in trained("softmax", "batch"))
    close(ours.scores(X_TEST, Y_TEST), theirs.scores(X_TEST, Y_TEST))


def test_top_rows_and_projections(stores):
    _, store = stores["softmax"]
    engine = tp.attribution_engine(store, "influence")
    scores = np.asarray(engine.scores(X_TEST, Y_TEST))
    found = engine.top_k(X_TEST, Y_TEST, k=3)
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :3], rtol=1e-5)
    with tp.training_context(store.model, X, Y, loss=softmax_loss, source_id="ring", proj_dim=24) as ctx:
        pass
    projected = np.asarray(tp.attribution_engine(ctx.gradient_store, "trak").scores(X_TEST, Y_TEST))
    assert np.corrcoef(projected.ravel(), scores.ravel())[0, 1] > 0.5


def test_parameters_without_layers_are_named():
    params = {"scale": jnp.ones(2), "net": params_of(of_torch(2))}

    def loss(params: Any, x: Any, y: Any) -> Any:
        return softmax_loss(params["net"], x * params["scale"], y)

    with tp.training_context(params, X, Y, loss=loss, source_id="ring") as ctx:
        pass
    why = tp.attribution_engine(ctx.gradient_store, "influence").scores(X_TEST, Y_TEST).why
    assert "scale: no layer was found for these parameters, whose gradients were written out" in why
    why = tp.attribution_engine(ctx.gradient_store, "ekfac").scores(X_TEST, Y_TEST).why
    assert "scale: no layer was found for these parameters, whose part of the matrix is taken to be diagonal" in why


def test_a_run_that_was_not_seen_is_not_replayed(stores):
    engine = tp.attribution_engine(stores["softmax"][1], "replay", optimizer=lambda params: None)
    with pytest.raises(ModelError, match="estimator='influence' over checkpoints"):
        engine.scores(X_TEST, Y_TEST)


def test_what_has_no_single_number_says_what_to_use():
    params = params_of(of_torch(2))

    def loss(params: Any, x: Any, y: Any) -> Any:
        return ((outputs(params, x) - y[:, None]) ** 2).sum(axis=1)

    with tp.training_context(params, X, Y, loss=loss, source_id="ring") as ctx:
        pass
    assert tp.attribution_engine(ctx.gradient_store).estimator == "dot"
    with pytest.raises(ModelError, match="estimator='dot', 'cosine' and 'tracin' need none"):
        tp.attribution_engine(ctx.gradient_store, "influence").scores(X_TEST, Y_TEST)
    assert np.isfinite(tp.attribution_engine(ctx.gradient_store, "tracin").scores(X_TEST, Y_TEST)).all()
