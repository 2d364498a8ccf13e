"""JAX's typed random keys as arguments: to a program they are their words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import TraceError

jax = pytest.importorskip("jax")
jnp = jax.numpy

X = jnp.asarray(np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32))

DRAWS: dict[str, Any] = {
    "normal": lambda x, key: x + jax.random.normal(key, x.shape),
    "dropout": lambda x, key: jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0),
    "split": lambda x, key: x + jax.random.uniform(jax.random.split(key)[1], x.shape),
    "folded": lambda x, key: x * jax.random.normal(jax.random.fold_in(key, 7), x.shape),
    "vmapped": lambda x, key: jax.vmap(lambda r, k: r + jax.random.normal(k))(x, jax.random.split(key, 4)),
    "gamma": lambda x, key: jax.random.gamma(key, jnp.exp(x)),
    "permutation": lambda x, key: jax.random.permutation(key, x),
}


@pytest.mark.parametrize(("name", "kind"), [*((name, "threefry2x32") for name in DRAWS), ("normal", "rbg")])
def test_draws_are_those_of_the_plain_function(name, kind):
    key, traced = jax.random.key(3, impl=kind), tp.trace(DRAWS[name])
    found = traced(X, key)
    np.testing.assert_allclose(found, DRAWS[name](X, key), rtol=1e-6)
    view = tp.provenance(found)
    assert view.exact
    assert sorted(view.sources()) == ["key", "x"]
    np.testing.assert_allclose(
        traced(X, jax.random.key(4, impl=kind)), DRAWS[name](X, jax.random.key(4, impl=kind)), rtol=1e-6
    )
    assert sum(map(len, traced._traces.values())) == 1


def test_rows_of_a_permutation_come_from_where_the_key_put_them():
    key = jax.random.key(1)
    view = tp.provenance(tp.trace(DRAWS["permutation"])(X, key))
    order = np.asarray(jax.random.permutation(key, 4))
    assert [view.rows(i)["x"].tolist() for i in range(4)] == [[row] for row in order]


def test_an_array_of_keys():
    keys = jax.random.split(jax.random.key(0), 4)
    found = tp.trace(lambda x, keys: x + jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys))(X, keys)
    np.testing.assert_allclose(found, X + jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys), rtol=1e-6)
    assert set(map(tuple, tp.provenance(found).cells((2, 0))["keys"].tolist())) == {(2, 0), (2, 1)}


def test_a_key_and_its_words_are_traced_apart():
    traced = tp.trace(lambda x, key: x + jnp.asarray(jax.random.key_data(key) if key.ndim == 0 else key).sum() % 7)
    key = jax.random.key(9)
    for given in (key, jax.random.key_data(key), key):
        np.testing.assert_allclose(traced(X, given), traced.function(X, given), rtol=1e-6)
    assert sum(map(len, traced._traces.values())) == 2


def test_a_generator_of_the_users_is_refused():
    class Odd:
        dtype = "key<odd>"

        def __array__(self) -> np.ndarray:
            raise AssertionError("not to be read")

    with pytest.raises(TraceError, match=r"key<odd>.*key_data"):
        tp.trace(lambda x, key: jnp.sin(x))(X, Odd())
