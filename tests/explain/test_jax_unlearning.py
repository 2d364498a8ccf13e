"""JAX networks that forget: by the same methods as PyTorch's, and nearer to networks that never saw the rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import traceprop as tp
from tests.explain.test_jax_networks import X_TEST, Y_TEST, X, Y, of_torch, outputs, params_of, softmax_loss, torch
from traceprop.errors import ModelError
from traceprop.passes.unlearning.gap import logit_distance
from traceprop.training import jax_steps, torch_steps

jax = pytest.importorskip("jax")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("quick_xla")
EPOCHS = 40
STEP = jax.jit(lambda p, x, y: jax.tree_util.tree_map(lambda a, g: a - 0.3 * g, p, jax.grad(softmax_loss)(p, x, y)))


def trained(rows: np.ndarray, seed: int = 0, **options: Any) -> Any:
    """A store of a network trained on some rows, from a start of its own."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    params = params_of(module)
    with tp.training_context(params, X[rows], Y[rows], loss=softmax_loss, source_id="ring", **options) as ctx:
        for epoch in range(EPOCHS):
            for xb, yb, _ in ctx.batches(16, shuffle=True, seed=epoch + 100 * seed, drop_last=True):
                params = STEP(params, xb, yb)
            ctx.model = params
            ctx.checkpoint(epoch + 1)
    return ctx.gradient_store


@pytest.fixture(scope="module")
def store(quick_xla) -> Any:
    return trained(np.arange(len(X)))


@pytest.fixture(scope="module")
def most(store) -> np.ndarray:
    """The rows that move the test margins most."""
    scores = np.asarray(tp.attribution_engine(store, checkpoints=1).scores(X_TEST, Y_TEST))
    return np.sort(np.argsort(-np.abs(scores).mean(axis=0))[:8])


@pytest.fixture(scope="module")
def retrained(most) -> list[Any]:
    stay = np.setdiff1d(np.arange(len(X)), most)
    return [trained(stay, seed).model for seed in (1, 2)]


def distance(params: Any, others: Any, rows: np.ndarray) -> float:
    def logits(one: Any) -> np.ndarray:
        found = np.asarray(outputs(one, rows))
        return found - found.mean(axis=1, keepdims=True)

    return float(np.mean([logit_distance(logits(params), logits(other)) for other in others]))


@pytest.mark.parametrize("method", ["auto", "matching", "gauss-newton", "finetune", "ssd", "ascent"])
def test_every_method_changes_a_copy_and_says_what_it_did(method, store, most, retrained):
    before = jax.tree_util.tree_map(np.array, store.model)
    result = tp.unlearn(gradient_store=store, source_id="ring", rows=most.tolist(), method=method)
    assert jax.tree_util.tree_all(jax.tree_util.tree_map(np.array_equal, before, store.model))
    if result.verdict == "refused":
        assert method in ("matching", "auto")
        return
    assert jax.tree_util.tree_structure(result.model) == jax.tree_util.tree_structure(store.model)
    dtypes = jax.tree_util.tree_map(lambda new, old: new.dtype == old.dtype, result.model, store.model)
    assert jax.tree_util.tree_all(dtypes)
    assert not result.verified
    if method != "ssd":  # which finds no parameter of 82 that is these rows' alone
        assert result.metrics["forget_loss_after"] > result.metrics["forget_loss_before"]
    if method in ("auto", "matching"):
        assert distance(result.model, retrained, X[most]) < distance(store.model, retrained, X[most])
    if method == "auto":
        assert result.compliance_report["method"].startswith("rewind")
        after = tp.attribution_engine(result.gradient_store, "influence").scores(X_TEST, Y_TEST)
        assert (np.asarray(after)[:, most] == 0).all()


def test_it_is_judged_against_retrained_networks(store, most, retrained):
    given = iter(retrained)
    result = tp.unlearn(
        gradient_store=store, source_id="ring", rows=most.tolist(), method="rewind", verify="retrain",
        retrain=lambda stay: next(given), X_test=X_TEST, y_test=Y_TEST,
    )  # fmt: skip
    found = result.metrics
    np.testing.assert_allclose(
        found["test_logit_distance_original"], distance(store.model, retrained, X_TEST), rtol=1e-3
    )
    np.testing.assert_allclose(found["test_logit_distance"], distance(result.model, retrained, X_TEST), rtol=1e-3)
    assert found["forget_logit_distance"] < found["forget_logit_distance_original"]


def test_what_cannot_be_done_says_what_can(store, most):
    asked = {"gradient_store": store, "source_id": "ring", "rows": most.tolist()}
    for method in ("replay", "compressed-replay"):
        with pytest.raises(ModelError, match=r"for torch networks: .* 'matching' and 'gauss-newton' need none"):
            tp.unlearn(**asked, method=method, optimizer=lambda params: None)
    with pytest.raises(ModelError, match="JAX params cannot be changed in place"):
        tp.unlearn(**asked, inplace=True)
    with pytest.raises(ModelError, match="optax's init and update"):
        tp.unlearn(**asked, method="finetune", optimizer=lambda params: None)


class Descent(NamedTuple):
    """Gradient descent, as optax makes it."""

    init: Any = staticmethod(lambda params: ())
    update: Any = staticmethod(
        lambda gradients, state, params: (jax.tree_util.tree_map(lambda g: -0.1 * g, gradients), state)
    )


def test_the_steps_are_those_of_torch():
    """Numbers, losses, importances, a step along gradients and runs of Adam and of an optimizer that is given."""
    module = of_torch(
        2
    ).double()  # SCRUB starts at a divergence of 0, and Adam makes steps of what float32 leaves there
    params = jax.tree_util.tree_map(lambda leaf: leaf.astype("float32"), params_of(module))
    with tp.training_context(module, X, Y, loss=torch.nn.functional.cross_entropy, source_id="ring") as ctx:
        pass
    with tp.training_context(params, X, Y, loss=softmax_loss, source_id="ring") as other:
        pass
    theirs = ctx.gradient_store.checkpoints[-1].adapter.deciding(X, Y)
    ours = other.gradient_store.checkpoints[-1].adapter.deciding(X, Y)

    def same(mine: Any, its: Any) -> None:
        for a, b in zip(jax.tree_util.tree_leaves(mine), jax.tree_util.tree_leaves(params_of(its)), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)

    np.testing.assert_allclose(jax_steps.outputs(params, ours), torch_steps.outputs(module, theirs), atol=1e-6)
    for mine, its in zip(
        jax_steps.numbers_and_losses(params, ours), torch_steps.numbers_and_losses(module, theirs), strict=True
    ):
        np.testing.assert_allclose(mine, its, atol=1e-5)
    weights = np.random.default_rng(0).normal(size=len(X)) / 100
    same(jax_steps.along(params, ours, weights), torch_steps.along(module, theirs, weights))
    same(
        jax_steps.with_parameters(params, np.square(other.gradient_store.adapter.parameters())),
        torch_steps.with_parameters(module, np.square(ctx.gradient_store.adapter.parameters())),
    )
    of_jax, of_torch_ = jax_steps.importances(params, ours), torch_steps.importances(module, theirs)
    np.testing.assert_allclose(np.sort(of_jax), np.sort(of_torch_), rtol=1e-4, atol=1e-8)
    for sign in (1.0, -1.0):
        arguments = (10, 16, 3, 1e-2)
        same(
            jax_steps.trained(params, ours, *arguments, sign=sign),
            torch_steps.trained(module, theirs, *arguments, sign=sign),
        )
    descent = torch_steps.trained(module, theirs, 10, 16, 3, 0.0, lambda p: torch.optim.SGD(p, lr=0.1))
    same(jax_steps.trained(params, ours, 10, 16, 3, 0.0, lambda _: Descent()), descent)
    wanted = np.linspace(-3, 3, len(X))
    same(
        jax_steps.towards(params, ours, wanted, 10, 12, 3, 1e-2),
        torch_steps.towards(module, theirs, wanted, 10, 12, 3, 1e-2),
    )
    at = (slice(0, 20), slice(20, None))
    same(
        jax_steps.scrubbed(params, *(ours[part] for part in at), 3, 16, 3, 1e-3),
        torch_steps.scrubbed(module, *(theirs[part] for part in at), 3, 16, 3, 1e-3),
    )
