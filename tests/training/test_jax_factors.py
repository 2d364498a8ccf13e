"""Layers found in a JAX loss: factors give the gradients of single samples, and the number that decides the loss is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from traceprop.errors import ModelError

jax = pytest.importorskip("jax")
from traceprop.training.jax_loss import single_loss, wide  # noqa: E402
from traceprop.training.jax_params import ParamsAdapter  # noqa: E402

jnp, nn, lax = jax.numpy, jax.nn, jax.lax
N = 10
pytestmark = pytest.mark.usefixtures("quick_xla")


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32) / np.sqrt(max(shape[0], 1))


def cross_entropy(logits: Any, y: Any) -> Any:
    return -jnp.take_along_axis(nn.log_softmax(logits), y[:, None], axis=1)[:, 0]


def mlp(params: Any, x: Any) -> Any:
    for layer in params[:-1]:
        x = nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


MLP = [{"w": normal(4, 6), "b": normal(6)}, {"w": normal(6, 5), "b": normal(5)}, {"w": normal(5, 3), "b": normal(3)}]


def cnn(params: Any, x: Any) -> Any:
    """Convolutions with stride, dilation and "SAME" padding, in two layouts of channels; a mean over places."""
    first, second = params["conv"]
    numbers = ("NHWC", "HWIO", "NHWC")
    x = lax.conv_general_dilated(x, first["w"], (2, 1), "SAME", dimension_numbers=numbers) + first["b"]
    x = jnp.tanh(x).transpose(0, 3, 1, 2)
    x = lax.conv_general_dilated(x, second["w"], (1, 1), [(1, 0), (0, 2)], rhs_dilation=(2, 1))
    x = nn.relu(x + second["b"][None, :, None, None]).mean(axis=(2, 3))
    return jnp.dot(x, params["head"])


CNN = {
    "conv": [{"w": normal(3, 2, 1, 4), "b": normal(4)}, {"w": normal(5, 4, 2, 2), "b": normal(5)}],
    "head": normal(5, 3),
}


def normalised(x: Any, layer: Any) -> Any:
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * layer["scale"] + layer["shift"]


def transformer(params: Any, ids: Any) -> Any:
    """A block of two heads over embedded ids, with weights per head, and a vmapped feed-forward layer (weights first)."""
    x = params["embedding"][ids.astype(int)] + params["places"]
    h = normalised(x, params["norm"])
    q, k, v = (jnp.einsum("btd,dhe->bhte", h, params[name]) for name in "qkv")
    weights = nn.softmax(jnp.einsum("bhte,bhse->bhts", q, k) / 2.0)
    x = x + jnp.einsum("bhts,bhse,hed->btd", weights, v, params["o"])
    up, down = params["mlp"]
    x = x + jax.vmap(jax.vmap(lambda one: down["w"] @ nn.gelu(up["w"] @ one + up["b"]) + down["b"]))(x)
    return x.mean(axis=1) @ params["head"]


T = 4
TRANSFORMER = {
    "embedding": normal(7, 4),
    "places": normal(T, 4),
    "norm": {"scale": 1 + normal(4), "shift": normal(4, seed=1)},
    **{name: normal(4, 2, 2, seed=k) for k, name in enumerate("qkv")},
    "o": normal(2, 2, 4),
    "mlp": [{"w": normal(8, 4), "b": normal(8)}, {"w": normal(4, 8), "b": normal(4, seed=2)}],
    "head": normal(4, 3),
}

NAMES: dict[str, set[tuple[str, ...]]] = {
    "mlp": {("0.w", "0.b"), ("1.w", "1.b"), ("2.w", "2.b")},
    "cnn": {("conv.0.w", "conv.0.b"), ("conv.1.w", "conv.1.b"), ("head",)},
    "transformer": {
        *[(name,) for name in ("embedding", "q", "k", "v", "o", "head")],
        ("mlp.0.w", "mlp.0.b"),
        ("mlp.1.w", "mlp.1.b"),
        ("norm.scale", "norm.shift", "places"),
    },
}
"""The layers that are found, and last the parameters that are in none."""
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, N)
CASES: dict[str, tuple[Any, Any, np.ndarray]] = {
    "mlp": (mlp, MLP, RNG.normal(size=(N, 4))),
    "cnn": (cnn, CNN, RNG.normal(size=(N, 6, 5, 1))),
    "transformer": (transformer, TRANSFORMER, RNG.integers(0, 7, (N, T))),
}


def adapter_of(loss: Any, params: Any, X: np.ndarray, y: np.ndarray) -> ParamsAdapter:
    return ParamsAdapter(params, single_loss(loss, params, X, y), None)


def one_by_one(loss: Any, params: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradients of batches of one, in a loop: float64 (n, p)."""
    with jax.enable_x64(True):
        of_one = jax.jit(jax.grad(lambda p, x, t: loss(p, x, t).sum()))
        found = [of_one(wide(params), X[k : k + 1], y[k : k + 1]) for k in range(len(X))]
        return np.stack([np.concatenate([np.ravel(leaf) for leaf in jax.tree_util.tree_leaves(g)]) for g in found])


def written_out(adapter: ParamsAdapter, X: np.ndarray, y: np.ndarray, layers: Any, gradients: np.ndarray) -> Any:
    """Gradients by factors, and others in the same order."""
    network = adapter.network(X, y)
    found = np.concatenate([layer.flat() for layer in layers], axis=1)
    return found, np.stack([np.concatenate(network.in_order(row)) for row in gradients])


@pytest.mark.parametrize(
    ("case", "reduce"),
    [("mlp", "mean"), ("mlp", "sum"), ("cnn", "mean"), ("transformer", "sum")],
)
def test_factors_are_the_gradients_of_single_samples(case, reduce):
    model, params, X = CASES[case]

    def loss(p: Any, x: Any, y: Any) -> Any:
        return getattr(cross_entropy(model(p, x), y), reduce)()

    adapter = adapter_of(loss, params, X, Y)
    alone = one_by_one(loss, params, X, Y)
    close = 2e-6 * np.abs(alone).max()
    of_margins = adapter.linearised(X, Y)
    assert of_margins.kind == "margin"
    found, expected = written_out(adapter, X, Y, of_margins.layers, alone)
    np.testing.assert_allclose(found * of_margins.slopes[:, None], expected, atol=close)
    assert set(of_margins.names) == NAMES[case]
    if (case, reduce) == ("mlp", "mean"):
        losses, mapped = adapter.gradients(X, Y)
        np.testing.assert_allclose(mapped, alone, rtol=1e-8, atol=1e-12)
        of_losses = adapter.of_losses(X, Y)
        found, expected = written_out(adapter, X, Y, of_losses.layers, mapped)
        np.testing.assert_allclose(found, expected, atol=close)
        np.testing.assert_allclose(of_losses.losses, losses, rtol=1e-9)
        np.testing.assert_allclose(of_margins.losses, losses, rtol=1e-9)


# By case: the part of a network, its parameters, and the layers that are to be found.
SHARED: dict[str, tuple[Any, Any, set[tuple[str, ...]]]] = {
    "a layer that is used twice": (
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"] + p["b"]) @ p["a"] + p["b"]) @ p["c"],
        {"a": normal(4, 4), "b": normal(4), "c": normal(4, 3)},
        {("a", "b"), ("c",)},
    ),
    "a weight and its transpose": (
        lambda p, x: jnp.tanh(x @ p["a"]) @ p["a"].T @ p["c"],
        {"a": normal(4, 5), "c": normal(4, 3)},
        {("c",)},
    ),
    "a bias of two layers": (
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"] + p["b"]) @ p["c"] + p["b"]),
        {"a": normal(4, 3), "b": normal(3), "c": normal(3, 3)},
        {("a",), ("c",)},
    ),
    "an output that is also used before the bias": (
        lambda p, x: (lambda h: (h + p["b"]) * jnp.tanh(h))(x @ p["a"]) @ p["c"],
        {"a": normal(4, 5), "b": normal(5), "c": normal(5, 3)},
        {("a",), ("c",)},
    ),
    "a weight that is also scaled": (
        lambda p, x: jnp.tanh(x @ p["a"]) @ (2.0 * p["c"]) + x[:, :3] @ p["d"],
        {"a": normal(4, 5), "c": normal(5, 3), "d": normal(3, 3)},
        {("a",), ("d",)},
    ),
    "layers in a scan": (
        lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["stack"])[0] @ p["c"],
        {"stack": normal(2, 4, 4), "c": normal(4, 3)},
        {("c",)},
    ),
    "remat, and a weight outputs first": (
        lambda p, x: jax.checkpoint(lambda h: jnp.tanh(jnp.einsum("od,nd->no", p["a"], h)))(x) @ p["c"],
        {"a": normal(5, 4), "c": normal(5, 3)},
        {("a",), ("c",)},
    ),
}


def test_parameters_that_are_shared_or_used_in_other_ways():
    """All of those at once, as parts of one network."""
    X, params = CASES["mlp"][2], {case: params for case, (_, params, _) in SHARED.items()}

    def loss(p: Any, x: Any, y: Any) -> Any:
        return cross_entropy(sum(model(p[case], x) for case, (model, _, _) in SHARED.items()), y)

    adapter = adapter_of(loss, params, X, Y)
    found = adapter.of_losses(X, Y)
    *layers, rest = found.names
    expected = [
        tuple(f"{case}.{name}" for name in names) for case, (_, _, layers) in SHARED.items() for names in layers
    ]
    assert set(layers) == set(expected)
    assert set(rest) == {f"{case}.{name}" for case in params for name in params[case]} - {
        name for names in expected for name in names
    }
    assert rest == found.written_out
    alone = one_by_one(loss, params, X, Y)
    mine, expected = written_out(adapter, X, Y, found.layers, alone)
    np.testing.assert_allclose(mine, expected, atol=2e-6 * np.abs(alone).max())


def of_two(p: Any, x: Any) -> Any:
    return jnp.tanh(x @ p["a"]) @ p["c"]


TWO = {"a": normal(4, 5), "c": normal(5, 1)}
BINARY = (Y > 0).astype(int)
NUMBERS: dict[str, tuple[Any, np.ndarray, str]] = {
    "one logit": (lambda p, x, y: nn.softplus((1 - 2 * y) * of_two(p, x)[:, 0]).mean(), BINARY, "margin"),
    "signs": (lambda p, x, y: jnp.logaddexp(0.0, -y * of_two(p, x)[:, 0]).sum(), 2 * BINARY - 1, "margin"),
    "a squared error": (lambda p, x, y: (of_two(p, x)[:, 0] - y) ** 2, RNG.normal(size=N), "output"),
    "with a penalty": (
        lambda p, x, y: nn.softplus((1 - 2 * y) * of_two(p, x)[:, 0]).mean() + 0.1 * (p["a"] ** 2).sum(),
        BINARY,
        "margin",
    ),
    "several outputs": (lambda p, x, y: ((x @ p["a"] - y[:, None]) ** 2).sum(1) + of_two(p, x)[:, 0], Y, "loss"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_what_decides_the_loss(case):
    loss, y, kind = NUMBERS[case]
    X = CASES["mlp"][2]
    adapter = adapter_of(loss, TWO, X, y)
    assert adapter.one_number(X, y) == (kind != "loss")
    if kind == "loss":
        with pytest.raises(ModelError, match="one number per sample"):
            adapter.linearised(X, y)
        return
    found = adapter.linearised(X, y)
    assert found.kind == kind
    step = 1e-4
    up, down = found.loss_at(found.values + step), found.loss_at(found.values - step)
    np.testing.assert_allclose(found.loss_at(found.values), found.losses, rtol=1e-10)
    np.testing.assert_allclose((up - down) / (2 * step), found.slopes, atol=1e-6)
    np.testing.assert_allclose((up - 2 * found.losses + down) / step**2, found.curvatures, atol=1e-4)


def test_one_hot_targets_are_labels():
    model, params, X = CASES["mlp"]
    whole = adapter_of(lambda p, x, y: cross_entropy(model(p, x), y), params, X, Y).linearised(X, Y)
    ones = np.eye(3)[Y]
    adapter = adapter_of(lambda p, x, y: -(y * nn.log_softmax(model(p, x))).sum(1), params, X, ones)
    found = adapter.linearised(X, ones)
    np.testing.assert_allclose(found.values, whole.values)
    soft = 0.9 * ones + 0.1 / 3
    with pytest.raises(ModelError, match="classes"):
        adapter.linearised(X, soft)


def test_labels_and_shapes_that_training_had_not():
    model, params, X = CASES["mlp"]
    adapter = adapter_of(lambda p, x, y: cross_entropy(model(p, x), y), params, X, Y)
    adapter.one_number(X, Y)
    with pytest.raises(ModelError, match="label 7"):
        adapter.linearised(X, np.full(N, 7))
    with pytest.raises(ModelError, match=r"shape \(5,\)"):
        adapter.linearised(np.ones((N, 5)), Y)


def test_gradients_too_large_to_be_written_out(monkeypatch):
    from traceprop.training import jax_network

    model, params, _ = SHARED["layers in a scan"]
    X = CASES["mlp"][2]
    adapter = adapter_of(lambda p, x, y: cross_entropy(model(p, x), y), params, X, Y)
    monkeypatch.setattr(jax_network, "GRADIENT_BYTES", 100)
    with pytest.raises(ModelError, match="in stack take"):
        adapter.linearised(X, Y)
