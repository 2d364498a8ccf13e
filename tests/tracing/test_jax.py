"""The JAX front end: values equal the plain call, lineage covers what perturbation shows, refusals name the line."""

from __future__ import annotations

import functools
import warnings
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import TraceError

jax = pytest.importorskip("jax")
jnp, lax, nn = jax.numpy, jax.lax, jax.nn

RNG = np.random.default_rng(7)
X = RNG.normal(size=(4, 3))
W = RNG.normal(size=(3, 2))
B = RNG.normal(size=(2, 3, 3))
I = np.array([2, 0, 2, -1])  # noqa: E741
KEY = np.asarray(jax.random.PRNGKey(3))


sine = jax.jit(jnp.sin)


def attention(x):
    heads = jnp.stack([x, x * 2])
    return nn.softmax(heads @ heads.swapaxes(1, 2) / 3**0.5, axis=-1) @ heads


@jax.custom_jvp
def softplus(x):
    return jnp.log1p(jnp.exp(x))


softplus.defjvp(lambda primals, tangents: (softplus(*primals), nn.sigmoid(primals[0]) * tangents[0]))


@jax.custom_vjp
def clipped(x):
    return jnp.clip(x, -1, 1)


clipped.defvjp(lambda x: (clipped(x), x), lambda x, g: (g * (abs(x) < 1),))


def ema(x):
    return lax.scan(lambda c, row: (c * 0.5 + row, c), x[0], x)[1]


def long_ema(x):
    return lax.scan(lambda c, row: (c * 0.5 + row, c), x[0], jnp.tile(x, (12, 1)))[1][:8]


def long_carry(x):
    return lax.scan(lambda c, row: (c * 0.9 + row[:, None], row), x, jnp.tile(x[:, 0], (40, 1)))[0]


def backwards(x):
    return lax.scan(lambda c, row: (c + row, c * row), x[0], x, reverse=True)[1]


def long_backwards(x):
    return lax.scan(lambda c, row: (c + row, c * row), x[0], jnp.tile(x, (10, 1)), reverse=True)[1][-5:]


def halved(x):
    return lax.while_loop(lambda c: c[0].sum() > 1, lambda c: (c[0] / 2, c[1] + 1), (abs(x), 0))[0]


CASES: dict[str, tuple[Any, ...]] = {
    "add": (lambda x: x + 1, X),
    "compare": (lambda x: (x > 0) & (x < 1), X),
    "where": (lambda x: jnp.where(x > 0, x, -x), X),
    "astype": (lambda x: x.astype(jnp.float32), X),
    "clip": (lambda x: jnp.clip(x, -1, 1), X),
    "relu": (lambda x: nn.relu(x) + nn.leaky_relu(x) + nn.elu(x) + nn.selu(x), X),
    "gelu": (lambda x: nn.gelu(x) + nn.silu(x) + nn.softplus(x), X),
    "special": (lambda x: jax.scipy.special.erf(x) + jax.scipy.special.gammaln(abs(x)), X),
    "reshape": (lambda x: x.reshape(2, 6), X),
    "transposed": (lambda x: x.T.reshape(2, 6), X),
    "moveaxis": (lambda x: jnp.moveaxis(x, 0, 2), B),
    "expand": (lambda x: x[:, None] + x[None], X),
    "broadcast": (lambda x: jnp.broadcast_to(x[0], (2, 3)) * jnp.ones((2, 1)), X),
    "repeat": (lambda x: jnp.repeat(x, 2, axis=0) + jnp.tile(x, (2, 1)), X),
    "slice": (lambda x: x[1:, ::2], X),
    "negative_step": (lambda x: x[::-2], X),
    "item": (lambda x: x[-1, 0] + x[2], X),
    "flip": (lambda x: jnp.flip(x), X),
    "roll": (lambda x: jnp.roll(x, 1, axis=0), X),
    "pad": (lambda x: jnp.pad(x, ((1, 0), (0, 2))), X),
    "pad_inside": (lambda x: lax.pad(x, 0.0, ((1, -1, 2), (-1, 0, 0))), X),
    "concatenate": (lambda x: jnp.concatenate([x, x[:1] * 2]), X),
    "stack": (lambda x: jnp.stack([x, x[::-1]], 1), X),
    "split": (lambda x: jnp.split(x, 2)[1], X),
    "sum": (lambda x: x.sum(), X),
    "mean": (lambda x: x.mean(1, keepdims=True), X),
    "var": (lambda x: jnp.var(x, 0, ddof=1), X),
    "max": (lambda x: x.max(0) - x.min(), X),
    "any": (lambda x: (x > 0).any(0) | (x > 1).all(0), X),
    "prod": (lambda x: x.prod(1), X),
    "argmax": (lambda x: x.argmax(1), X),
    "argmin": (lambda x: x.argmin(0), X),
    "logsumexp": (lambda x: nn.logsumexp(x, axis=1), X),
    "norm": (lambda x: jnp.linalg.norm(x, axis=1), X),
    "softmax": (lambda x: nn.softmax(x, axis=1), X),
    "log_softmax": (lambda x: nn.log_softmax(x, axis=0), X),
    "standardize": (lambda x: nn.standardize(x, axis=0), X),
    "matmul": (lambda x, w: x @ w, X, W),
    "vectors": (lambda x: x[0] @ x[1], X),
    "batched": (lambda x: x @ x.swapaxes(1, 2), B),
    "einsum": (lambda x, w: jnp.einsum("ij,jk->ki", x, w), X, W),
    "tensordot": (lambda x: jnp.tensordot(x, x, axes=[[1, 2], [2, 1]]), B),
    "outer": (lambda x: jnp.outer(x[0], x[1]), X),
    "triu": (lambda x: jnp.triu(x) + jnp.eye(4, 3), X),
    "cumsum": (lambda x: jnp.cumsum(x, 0), X),
    "cumprod": (lambda x: jnp.cumprod(x, 1), X),
    "cummax": (lambda x: lax.cummax(x, 0), X),
    "cumsum_back": (lambda x: lax.cumsum(x, 0, reverse=True), X),
    "diff": (lambda x: jnp.diff(x, axis=0), X),
    "sort": (lambda x: jnp.sort(x, 0), X),
    "sort_down": (lambda x: jnp.sort(x, 0, descending=True), X),
    "argsort": (lambda x: jnp.argsort(x, 1), X),
    "lexsort": (lambda x: jnp.lexsort((x[:, 0], x[:, 1] > 0)), X),
    "sort_several": (lambda x: lax.sort((x[:, 0], x[:, 1]), num_keys=1)[1], X),
    "median": (lambda x: jnp.median(x, axis=0), X),
    "quantile": (lambda x: jnp.quantile(x, 0.3, axis=0), X),
    "top_k": (lambda x: lax.top_k(x, 2)[0], X),
    "top_k_of_one": (lambda x: lax.top_k(x[:, 0], 2)[1], X),
    "by_argsort": (lambda x: x[jnp.argsort(x[:, 0])], X),
    "take": (lambda x, i: x[i], X, I),
    "take_filled": (lambda x, i: jnp.take(x, i + 2, axis=0), X, I),
    "take_clipped": (lambda x, i: jnp.take(x, i + 2, axis=0, mode="clip"), X, I),
    "take_columns": (lambda x: x[:, jnp.array([2, 0])], X),
    "take_row": (lambda x, i: x[i[0]] + x[1, i[1]], X, I),
    "pairs": (lambda x, i: x[i, jnp.array([0, 1, 2, 0])], X, I),
    "pairs_apart": (lambda x, i: x[i[:2] // 3, :, i[2:] // 3], B, I),
    "take_blocks": (lambda x, i: x[i[:, None] // 3], B, I),
    "take_along": (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), X),
    "take_along_rows": (lambda x, i: jnp.take_along_axis(x, i[:, None] % 3, 1), X, I),
    "vmapped_take": (lambda x, i: jax.vmap(lambda r, k: r[k])(x, i % 3), X, I),
    "vmapped_slice": (lambda x, i: jax.vmap(lambda r, k: lax.dynamic_slice(r, (k,), (2,)))(x, i), X, I),
    "dynamic_slice": (lambda x, i: lax.dynamic_slice(x, (i[0], 0), (2, 3)), X, I),
    "dynamic_slice_two": (lambda x, i: lax.dynamic_slice(x, (i[0], i[1]), (2, 2)), X, I),
    "dynamic_slice_known": (lambda x: lax.dynamic_slice(x, (3, 0), (2, 3)), X),
    "windows": (lambda x: x[jnp.arange(3)[:, None] + jnp.arange(2)], X),
    "one_hot": (lambda i: nn.one_hot(i, 3), I),
    "set": (lambda x: x.at[0].set(1.0).at[1:3, 1].multiply(3).at[..., -1].add(x[:, 0]), X),
    "update_slice": (lambda x: lax.dynamic_update_slice(x, x[:2, :2] * 2, (1, 1)), X),
    "jit": (jax.jit(lambda x: sine(x) * 2), X),
    "custom_jvp": (softplus, X),
    "custom_vjp": (clipped, X),
    "remat": (jax.checkpoint(lambda x: jnp.sin(jnp.cos(x))), X),
    "vmap": (lambda x, w: jax.vmap(lambda r: jnp.tanh(r @ w))(x), X, W),
    "grad": (lambda x, w: jax.grad(lambda w: jnp.square(x @ w).sum())(w), X, W),
    "per_row_grad": (lambda x, w: jax.vmap(jax.grad(lambda r: nn.softplus(r @ w).sum()))(x), X, W),
    "jvp": (lambda x: jax.jvp(softplus, (x,), (jnp.ones_like(x),))[1] + jax.grad(lambda y: clipped(y).sum())(x), X),
    "stop_gradient": (lambda x: lax.stop_gradient(x) * x, X),
    "attention": (attention, X),
    "fft": (lambda x: jnp.abs(jnp.fft.rfft(x, axis=1)), X),
    "eigh": (lambda x: jnp.linalg.eigvalsh(x + x.swapaxes(1, 2)), B),
    "svd": (lambda x: jnp.linalg.svd(x, compute_uv=False), X),
    "conv": (lambda x: jnp.convolve(x[0], x[1, :2], mode="valid"), X),
    "pool": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "VALID"), X),
    "padded_pool": (lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (2, 1), "SAME"), X),
    "scan": (ema, X),
    "scan_back": (backwards, X),
    "fori": (lambda x: lax.fori_loop(0, 3, lambda k, c: c * 2 + x[k], x), X),
    "map": (lambda x: lax.map(lambda r: r - r.mean(), x), X),
    "associative_scan": (lambda x: lax.associative_scan(jnp.add, x), X),
    "cond": (lambda x: lax.cond(x[0, 0] > 0, lambda v: v + 1, lambda v: v * 2, x), X),
    "switch": (lambda x, i: lax.switch(i[0], [jnp.sin, jnp.cos, lambda v: v[::-1]], x), X, I),
    "cond_known": (lambda x: lax.cond(True, jnp.sin, jnp.cos, x), X),
    "random": (lambda x, k: x + jax.random.normal(jax.random.split(k)[0], x.shape), X, KEY),
    "random_made": (lambda x: x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), X),
    "permutation": (lambda x, k: jax.random.permutation(k, x), X, KEY),
    "windows_vmapped": (lambda x, i: jax.vmap(lambda k: lax.dynamic_slice(x, (k, k), (2, 2)))(i), X, I),
    "take_in_order": (lambda x, i: x[:, i % 3, (i + 1) % 3], B, I),
    "fill_columns": (lambda x, i: x.at[:, i + 1].get(mode="fill", fill_value=7.0), X, I),
    "fill_pairs": (lambda x, i: x.at[i + 1, i].get(mode="fill"), X, I),
    "set_rows": (lambda x: x.at[:, jnp.array([[2, 0], [1, 7]])].set(jnp.stack([x[:, :2] * 3, x[:, 1:]], 1)), X),
    "set_outside": (lambda x: x.at[9].set(1.0).at[jnp.array([1, 9])].set(2.0), X),
    "insert": (lambda x: jnp.delete(jnp.insert(x, 1, x[0], axis=0), 2, axis=0), X),
    "conv_nhwc": (
        lambda x: lax.conv_general_dilated(
            x[None, ..., None], jnp.ones((2, 2, 1, 2)), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ), X),
    "conv_strided": (
        lambda x: lax.conv_general_dilated(
            x.reshape(1, 1, 12), jnp.arange(3.0).reshape(1, 1, 3), (2,), "VALID", rhs_dilation=(2,)
        ), X),
    "nested_scan": (
        lambda x: lax.scan(lambda c, r: (lax.fori_loop(0, 2, lambda k, v: v * r.sum() + k, c), r), x[0], x)[0], X),
    "vmapped_scan": (lambda x: jax.vmap(lambda r: lax.scan(lambda c, v: (c + v, c * v), 0.0, r)[1])(x), X),
    "scan_without_turns": (lambda x: lax.scan(lambda c, r: (c + r, c), x[0], x[:0])[0], X),
    "grad_of_scan": (lambda x: jax.grad(lambda y: lax.scan(lambda c, r: (jnp.tanh(c * r), c), y[0], y)[0].sum())(x), X),
    "grad_of_cond": (
        lambda x: jax.grad(lambda y: lax.cond(y.sum() > 0, lambda v: (v**2).sum(), lambda v: v.sum(), y))(x), X),
    "vmapped_cond": (lambda x: jax.vmap(lambda r: lax.cond(r[0] > 0, jnp.sin, lambda v: v[::-1], r))(x), X),
    "hessian": (lambda x: jax.hessian(lambda r: (jnp.tanh(r) * r[0]).sum())(x[0]), X),
    "keys_carried": (
        lambda x, k: lax.scan(
            lambda c, r: (jax.random.split(c)[0], r + jax.random.normal(c, r.shape)), jax.random.wrap_key_data(k), x
        )[1], X, KEY),
    "keys_vmapped": (lambda x, k: jax.vmap(lambda c: jax.random.normal(c, (3,)))(jax.random.split(k, 4)) + x, X, KEY),
    "trace": (lambda x: jnp.trace(x[:3]) + jnp.diag(x[:3]), X),
    "interp": (lambda x: jnp.interp(x[0], jnp.sort(x[:, 1]), x[:, 2]), X),
    "numpy_function": (lambda x: np.sum(x, axis=0) + jnp.sin(x), X),
    "long_scan": (long_ema, X),
    "long_scan_back": (long_backwards, X),
    "long_carry": (long_carry, X),
    "set_anywhere": (lambda x, i: x.at[i].set(x[::-1] * 2), X, I),
    "gradient_of_sort": (lambda x: jax.grad(lambda y: (jnp.sort(y, 0) * y).sum())(x), X),
    "gradient_of_take": (lambda x, i: jax.grad(lambda y: jnp.tanh(y[i]).sum())(x), X, I),
    "set_twice": (lambda x: x.at[jnp.array([2, 2])].set(x[:2] * 3), X),
    "conv_transposed": (
        lambda x: lax.conv_transpose(x[None], jnp.ones((2, 3, 2)), (2,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")), X),
    "conv_grouped": (
        lambda x: lax.conv_general_dilated(x.reshape(1, 2, 6), jnp.ones((2, 1, 2)), (1,), "VALID", feature_group_count=2), X),
    "add_anywhere": (lambda x, i: jax.ops.segment_sum(x, i % 3, 3), X, I),
    "vmapped_set": (lambda x, i: jax.vmap(lambda r, k: r.at[k].add(1.5))(x, i % 3), X, I),
    "update_anywhere": (lambda x, i: lax.dynamic_update_slice(x, x[:2] * 2, (i[0], 0)), X, I),
    "padded_conv": (lambda x: jnp.convolve(x[0], x[1], mode="same"), X),
    "conv_images": (lambda x: lax.conv(x[None, :2], x[:2, :2, :2][None], (1, 1), "SAME"), B),
    "set_columns": (lambda x, i: x.at[:, i % 3].set(x[:, :1] * 2), X, I),
    "set_pairs": (lambda x, i: x.at[i, i % 3].set(x[:, 0]), X, I),
    "set_clipped": (lambda x, i: x.at[i * 3].set(x[::-1] * 2, mode="clip"), X, I),
    "set_dropped": (lambda x, i: x.at[i * 3].set(x[::-1] * 2, mode="drop"), X, I),
    "set_vmapped": (lambda x, i: jax.vmap(lambda r, k: r.at[k].set(r[0] * 2))(x, i % 3), X, I),
    "set_windows": (lambda x, i: jax.vmap(lambda k: lax.dynamic_update_slice(x, x[:2, :2] * 2, (k, k)))(i[:2]), X, I),
    "update_both": (lambda x, i: lax.dynamic_update_slice(x, x[:2, :2] * 2, (i[0], i[1])), X, I),
    "update_row": (lambda x, i: lax.dynamic_update_index_in_dim(x, x[0] * 2, i[2], 0), X, I),
    "apply": (lambda x: x.at[1].apply(jnp.sin).at[jnp.array([0, 2])].apply(jnp.exp), X),
    "multiply_anywhere": (lambda x, i: x.at[i].multiply(x[:, :1] + 3), X, I),
    "largest_anywhere": (lambda x, i: x.at[i].max(x * 2).at[i].min(x * 3), X, I),
    "largest_of_groups": (lambda x, i: jax.ops.segment_max(x, i % 3, 3), X, I),
    "pairs_added": (lambda x, i: x.at[i, i % 3].add(x[:, 0]), X, I),
    "bincount": (lambda x, i: jnp.bincount(i % 3, length=3) * x[0], X, I),
    "histogram": (lambda x: jnp.histogram(x, bins=3, range=(-2, 2), weights=x**2)[0], X),
    "unique": (lambda i: jnp.unique(i, size=3, fill_value=7), I),
    "unique_inverse": (lambda i: jnp.unique(i, size=3, return_inverse=True)[1], I),
    "nonzero": (lambda x: jnp.nonzero(x[:, 0] > 0, size=3, fill_value=9)[0], X),
    "top_rows": (lambda x: lax.top_k(x, 2, axis=0)[0] + lax.top_k(x, 2, axis=0)[1], X),
    "bytes": (lambda i: i.view(jnp.int16), I),
    "cholesky": (lambda x: jnp.linalg.cholesky(x @ x.swapaxes(1, 2) + 5 * jnp.eye(3)), B),
    "solve": (lambda x: jnp.linalg.solve(x, x[:, 0, :, None]), B),
    "qr": (lambda x: jnp.linalg.qr(x)[1], B),
    "det": (lambda x: jnp.linalg.det(x) + jnp.linalg.inv(x)[:, 0, 0], B),
}  # fmt: skip


def others(array: np.ndarray, cell: tuple[int, ...]) -> list[Any]:
    if array.dtype == np.uint32:
        return [array[cell] ^ 5]
    return [v for v in (array[cell] + 1, array[cell] - 2) if abs(v) < 4]


def moved(args: tuple[np.ndarray, ...]) -> list[tuple[int, tuple[int, ...], list[np.ndarray]]]:
    """Every argument with one cell changed: (argument, cell, arguments)."""
    found = []
    for k, array in enumerate(args):
        for cell in np.ndindex(array.shape):
            for value in others(array, cell):
                arrays = [a.copy() for a in args]
                arrays[k][cell] = value
                found.append((k, cell, arrays))
    return found


def check(function: Any, args: tuple[np.ndarray, ...], exact: bool = True, silent: bool = True) -> Any:
    """Values equal the plain call's; every cell that a change of one argument cell changes has reported it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error" if silent else "ignore", UserWarning)
        traced = tp.trace(function)
        with jax.enable_x64(True):
            given = [jnp.asarray(a) for a in args]
        lazy = traced(*given)
    changes = moved(args)
    stacked = [np.stack([args[k], *(arrays[k] for *_, arrays in changes)]) for k in range(len(args))]
    with jax.enable_x64(True):
        base, *again = np.asarray(jax.jit(jax.vmap(function))(*map(jnp.asarray, stacked)))
    assert lazy.dtype == base.dtype
    np.testing.assert_allclose(np.asarray(lazy), base, rtol=1e-6, atol=1e-12)
    view = tp.provenance(lazy)
    assert view.exact is exact
    names = [p.source for p in view.program.params]
    cells = {c: {s: set(map(tuple, v.tolist())) for s, v in view.cells(c).items()} for c in np.ndindex(base.shape)}
    for (k, cell, _), after in zip(changes, again, strict=True):
        for hit in map(tuple, np.argwhere(~np.isclose(after, base, rtol=1e-7, atol=1e-9, equal_nan=True)).tolist()):
            assert cell in cells[hit].get(names[k], set()), (hit, names[k], cell)
    program = traced.ir(*given)
    assert tp.ir.parse(str(program), tp.ir.constants_of(program)) == program
    return view


@pytest.fixture
def quickly(monkeypatch):
    """XLA without its optimisations, which take most of the time of small programs."""
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0}))


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("name", CASES)
def test_call(name):
    function, *args = CASES[name]
    check(function, tuple(args))


# -- structures, dtypes, errors -----------------------------------------------------------------------------------------


Pair = namedtuple("Pair", "left right")


def test_structures():
    def parts(batch, scale, nothing):
        assert nothing is None
        return {
            "sum": batch["x"].sum(0) * scale,
            "pair": Pair(batch["y"][0] + 1, [batch["y"][1]]),
            "three": 3,
            "none": None,
        }

    found = tp.trace(parts)({"x": jnp.asarray(X), "y": (jnp.ones(3), jnp.zeros(2))}, 2.0, None)

    assert (found["three"], found["none"]) == (3, None)
    assert isinstance(found["pair"], Pair)
    np.testing.assert_allclose(found["sum"], X.astype(np.float32).sum(0) * 2, rtol=1e-6)
    assert tp.provenance(found["pair"].right[0]).sources() == ["batch_y_1"]
    assert tp.provenance([*found["pair"].right, found["pair"].left]).sources() == ["batch_y_1", "batch_y_0"]
    assert isinstance(found["sum"].compute(), jax.Array)


@jax.tree_util.register_pytree_node_class
class Boxed:
    def __init__(self, array):
        self.array = array

    def tree_flatten(self):
        return (self.array,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def test_other_structures_are_refused():
    with pytest.raises(TraceError, match="returns a Boxed"):
        tp.trace(lambda x: Boxed(jnp.sin(x)))(X)
    with pytest.raises(TraceError, match=r"'box' is a Boxed.*test_jax.py"):
        tp.trace(lambda box: jnp.sin(box.array))(Boxed(jnp.asarray(X)))


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "complex64", "complex128", "int8", "int32", "int64", "uint8", "bool"]
)
@pytest.mark.parametrize("flag", [False, True])
def test_dtypes(dtype, flag):
    """float64 stays float64 and float32 float32, in arguments and results; the flag is the user's own."""
    given = np.arange(6).reshape(3, 2).astype(dtype)
    with jax.enable_x64(flag):
        lazy = tp.trace(lambda x: (x[::-1], jnp.sort(abs(x), 0), jnp.where(x == 1, x, x) * x, x.sum()))(given)
        assert jax.config.jax_enable_x64 is flag
        found = [np.asarray(value) for value in lazy]
        assert jax.config.jax_enable_x64 is flag
        assert jnp.asarray(np.float64(1)).dtype == (np.float64 if flag else np.float32)
    with jax.enable_x64(flag or dtype in ("float64", "int64", "complex128")):
        plain = [
            f(jnp.asarray(given)) for f in (lambda x: x[::-1], lambda x: jnp.sort(abs(x), 0), lambda x: x * x, jnp.sum)
        ]
    for got, want, value in zip(found, plain, lazy, strict=True):
        assert got.dtype == want.dtype == value.dtype
        np.testing.assert_array_equal(got, want)


def test_the_flag_is_part_of_what_a_trace_is_for():
    function = tp.trace(lambda x: x * jnp.ones(2))
    given = np.ones((3, 2), np.float32)
    for flag in (False, True, False):
        with jax.enable_x64(flag):
            assert function(given).dtype == (np.float64 if flag else np.float32)


def test_traced_functions_within_one_another():
    inner = tp.trace(lambda x: jnp.tanh(x) * 2)
    outer = tp.trace(lambda x: inner(x)[::-1])
    lazy = outer(X)
    np.testing.assert_allclose(lazy, np.tanh(X)[::-1] * 2, rtol=1e-6)
    assert tp.provenance(lazy).rows(0)["x"].tolist() == [3]


def test_fitted():
    scale = tp.trace(lambda x: (x - jnp.mean(x, 0)) / jnp.std(x, 0))
    pipeline = scale.fit(X)
    new = RNG.normal(size=(2, 3))
    found = pipeline(new)
    np.testing.assert_allclose(found, (new - X.mean(0)) / X.std(0), rtol=1e-6)
    assert tp.provenance(found).rows(1, "aggregate")["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.broadcast_to(x.mean(0), x.shape),
        lambda x: jnp.sin(x)[:-1],
        lambda x: jnp.abs(jnp.fft.fft(x, axis=1)),
        lambda x: jnp.concatenate([x, jnp.ones((4, 1))], axis=1),
    ],
)
def test_fitted_pipelines_that_hold_for_one_number_of_rows_say_so(function):
    with jax.enable_x64(True):
        pipeline = tp.trace(function).fit(X)
        np.testing.assert_allclose(pipeline(X), function(jnp.asarray(X)), rtol=1e-6)
    with pytest.raises(TraceError, match="holds for one number of rows only"):
        pipeline(X[:2])


def test_a_loop_over_rows_cannot_be_fitted():
    with pytest.raises(TraceError, match=r"loop\[jax.scan\] at test_jax.py:\d+ has a turn for every row"):
        tp.trace(ema).fit(X)
    sorting = tp.trace(lambda x: lax.scan(lambda c, row: (c + jnp.sort(row), c), x[0], x)[1])
    with pytest.raises(TraceError, match=r"slice at test_jax.py:\d+ is a turn of a loop over rows"):
        sorting.fit(X)


def test_what_a_loop_carries_out_is_a_statistic():
    def scaled(x):
        largest, _ = lax.scan(lambda c, row: (jnp.maximum(c, jnp.abs(row)), None), jnp.zeros(3), x)
        return x / largest

    fitted = tp.trace(scaled).fit(X)
    np.testing.assert_allclose(fitted(X[:2] + 1), (X[:2] + 1) / abs(X).max(0), rtol=1e-5)
    assert [param.name for param in fitted.program.params if param.fitted] == ["fitted_0"]


def test_narrow_floats_make_narrow_integers():
    function = tp.trace(lambda x, i: (jnp.take(x, i, axis=0) * jnp.ones(3), i * 2))
    taken, doubled = function(X.astype(np.float32), I)

    assert (taken.dtype, doubled.dtype) == (np.float32, np.int32)
    assert np.asarray(taken).dtype == np.float32
    assert tp.provenance(taken).rows(1)["x"].tolist() == [0]


def test_from_jax():
    with jax.enable_x64(True):
        given = jnp.asarray(X)
    x = tp.from_jax(given, source_id="ones")
    assert isinstance(x.compute(), jax.Array)
    assert x.compute().dtype == x.dtype == np.float64
    flipped = tp.trace(lambda t: t[::-1])(x)
    assert isinstance(flipped.compute(), jax.Array)
    assert tp.provenance(flipped).rows(0)["ones"].tolist() == [3]


def test_between_worlds():
    """What NumPy prepared goes on into JAX, and back; lineage runs through."""
    prepared = tp.trace(lambda x: x[x[:, 0] > 0])(X)
    scored = tp.trace(lambda x: jnp.tanh(x) @ W)(prepared)
    best = scored[np.argsort(np.asarray(scored[:, 0]))]
    kept = np.flatnonzero(X[:, 0] > 0)
    order = np.argsort(np.tanh(X[kept]) @ W[:, 0])
    np.testing.assert_allclose(best, (np.tanh(X[kept]) @ W)[order], rtol=1e-6)
    assert [r["x"].tolist() for r in (tp.provenance(best).rows(i) for i in range(len(kept)))] == [
        [n] for n in kept[order]
    ]


def helped(x):
    return by_branch(x)


def test_the_world_is_found_in_helpers_too():
    from jax.numpy import sin

    double = jax.jit(lambda x: x * 2)
    weights = jnp.ones(3)
    for function in (
        lambda x: attention(x) + 1,
        lambda x: [sin(row) for row in x],
        lambda x: double(x),
        lambda x: x @ weights,
    ):
        found = tp.trace(function)(X)
        assert (found[0] if isinstance(found, list) else found).world == "jax"
    assert tp.trace(lambda x: np.sin(x))(X).world == "numpy"


def by_branch(x):
    return jnp.sin(x) if x.sum() > 0 else x


def by_loop(x):
    while x.sum() < 10:
        x = x * jnp.float64(2)
    return x


REFUSED = {
    "helped": (helped, "if/while.*jnp.where.*jax.lax.cond"),
    "if": (by_branch, "if/while.*jnp.where.*jax.lax.cond"),
    "while": (by_loop, "if/while.*jax.lax.while_loop"),
    "item": (lambda x: jnp.sin(x) * x[0, 0].item(), r"\.item\(\)"),
    "float": (lambda x: jnp.sin(x) * float(x[0, 0]), r"float\(\)"),
    "range": (lambda x: [jnp.sin(x) for _ in range(x[0, 0].astype(int))], "fori_loop"),
    "asarray": (lambda x: jnp.sin(np.asarray(x)), "np.asarray.*jax.numpy"),
    "numpy": (lambda x: jnp.sin(x) + np.median(x), "NumPy function.*jax.numpy"),
    "mask": (lambda x: jnp.sin(x)[x > 0], r"boolean mask.*jnp.where\(mask"),
    "nonzero": (lambda x: jnp.nonzero(x)[0], r"outside the traced function"),
    "slice": (lambda x: jnp.sin(x)[: x[0, 0].astype(int)], "dynamic_slice"),
    "write": (lambda x: jnp.sin(x).__setitem__(0, 1.0), r"\.at\[index\]\.set"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, message = REFUSED[name]
    with pytest.raises(TraceError, match=message) as error:
        tp.trace(function)(X)
    assert "test_jax.py:" in str(error.value)


def test_an_error_of_the_user_stays_that():
    with pytest.raises(ValueError, match="Incompatible shapes"):
        tp.trace(lambda x: jnp.sin(x) + jnp.ones(7))(X)


def test_locations():
    def helper(x):
        return jnp.where(x > 0, x, 0)

    @jax.jit
    def inner(x):
        return jnp.sum(x)

    def outer(x):
        y = helper(x)
        return inner(y) + jnp.where(y > 1, y, 1)

    program = tp.trace(outer).ir(X)
    first = outer.__code__.co_firstlineno
    found = {(op.location.function, op.location.line - first) for op in program}

    assert found == {("helper", -6), ("inner", -2), ("outer", 2)}
    assert {op.location.file for op in program} == {"test_jax.py"}


def test_an_unknown_primitive_is_opaque_and_says_so():
    def called(x):
        return jax.pure_callback(lambda a: np.asarray(a) * 2, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.warns(UserWarning, match=r"jax.pure_callback at test_jax.py:\d+ has no lineage rule"):
        lazy = tp.trace(called)(X.astype(np.float32))
    np.testing.assert_allclose(lazy, X.astype(np.float32) * 2)
    view = tp.provenance(lazy)
    assert not view.exact
    assert view.rows(0, "any")["x"].tolist() == [0, 1, 2, 3]


def test_while_that_moves_cells_warns_and_is_sound():
    def turned(x):
        return lax.while_loop(lambda c: jnp.abs(c).max() > 1, lambda c: c[::-1] / 2, x)

    with pytest.warns(UserWarning, match=r"while_loop at test_jax.py:\d+ runs as often as the data decides"):
        tp.trace(turned)(X)
    check(turned, (X,), exact=False, silent=False)


def test_while_whose_turns_read_alike_is_exact():
    view = check(halved, (X,))
    assert view.rows(1)["x"].tolist() == [1]
    assert view.rows(1, "control")["x"].tolist() == [0, 1, 2, 3]


def test_a_branch_that_may_not_end_is_not_run_for_nothing():
    def guarded(x):
        return lax.cond(
            x.sum() > 0, lambda v: lax.while_loop(lambda c: c.sum() > 0, lambda c: c - 1, v), lambda v: v * 2, x
        )

    lazy = tp.trace(guarded)(-abs(X))
    np.testing.assert_allclose(lazy, -abs(X) * 2)
    assert "branch[jax.cond]" in str(tp.provenance(lazy).program)
    assert tp.provenance(lazy).rows(2)["x"].tolist() == [2]


def test_long_loops_keep_rows_apart():
    """A recurrence over time, a row per sample: each sample's result names its own row alone."""

    def recurrent(series, w):
        def step(state, column):
            state = jnp.tanh(state * 0.5 + column[:, None] * w[0])
            return state, state

        return lax.scan(step, jnp.zeros((series.shape[0], w.shape[1])), series.T)

    series = RNG.normal(size=(5, 60))
    final, states = tp.trace(recurrent)(series, W)
    want = recurrent(jnp.asarray(series, jnp.float32), jnp.asarray(W, jnp.float32))
    np.testing.assert_allclose(final, want[0], rtol=1e-4)
    view = tp.provenance(final)
    assert "loop[jax.scan]" in str(view.program)
    assert [view.rows(i, "any")["series"].tolist() for i in range(5)] == [[i] for i in range(5)]
    reached = tp.provenance(states).cells((7, 2, 1))["series"]
    assert {tuple(cell) for cell in reached.tolist()} == {(2, t) for t in range(8)}


def test_several_results_of_one_call_run_once():
    ran = []

    def twice(a):
        ran.append(1)
        return a + 1, a * 2

    def called(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(twice, (shape, shape), x)

    with pytest.warns(UserWarning, match="pure_callback"):
        left, right = tp.trace(called)(X.astype(np.float32))
    np.testing.assert_allclose(np.asarray(left) * 2, np.asarray(right) + 2, rtol=1e-5)
    assert len(ran) == 1


def test_numbers_made_of_single_cells():
    """Where a reordering leaves no boxes of cells, only single ones, a number read by or made of them is followed too."""

    def scaled(x):
        return jnp.take_along_axis(x * x.sum(), jnp.argsort(x, 0), 0)

    view = check(scaled, (X,))
    assert view.rows(0, "any")["x"].tolist() == [0, 1, 2, 3]
    total = tp.provenance(tp.trace(lambda x: jnp.sum(jnp.sort(x, 0)[1:]))(X))
    assert total.affected_rows("x", [0], "any").tolist() == [0]
    assert len(total.cells(())["x"]) == 12
