"""JAX functions, traced, against their own `jax.jit`; results waited for."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads.functions import COLUMNS, FUNCTIONS, in_hand
from benchmarks.workloads.pairs import PAIRS, in_turns


def main(quick: bool) -> list[dict[str, Any]]:
    import jax
    import jax.numpy as jnp

    import traceprop as tp

    found = []
    for size in (10**3, 10**5) if quick else (10**2, 10**4, 10**6, 10**7):
        given = np.random.default_rng(0).standard_normal((size // COLUMNS, COLUMNS)).astype(np.float32)
        x = jnp.asarray(given)
        for name, function in FUNCTIONS.items():
            plain, traced = jax.jit(function), tp.trace(function)
            ways = {
                "plain": in_hand(plain, x, jax.block_until_ready),
                "array": in_hand(traced, x, lambda y: jax.block_until_ready(y.compute())),
            }
            np.testing.assert_allclose(np.asarray(traced(x)), np.asarray(plain(x)), rtol=1e-4, atol=1e-4)
            for way, times in in_turns(ways, 5 if quick else PAIRS).items():
                found.append({"function": name, "cells": size, "way": way, **times})
    return found
