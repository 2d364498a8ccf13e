"""The kernel for chains of arithmetic: NumPy's bits, whatever the operands are, and it tells when NumPy would warn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lineage.test_values import same
from traceprop.passes.kernels import steps as module
from traceprop.passes.kernels.steps import OPS, Chain, Place

pytestmark = pytest.mark.skipif(not module.HAVE_EXTENSION, reason="not built")
BINARY = ("add", "subtract", "multiply", "divide", "true_divide")
PLACES = (
    Place("array"),
    Place("row"),
    Place("number", value=0.1),
    Place("number"),
    *(Place("buffer", k) for k in range(3)),
)


@st.composite
def chains(draw):
    """Steps over an array, a row, two numbers and three buffers, of which only what was written is read; the last one is kept."""
    width, written, steps = draw(st.integers(1, 7)), [0, 1, 2, 3], []
    for _ in range(draw(st.integers(1, 8))):
        left, right = draw(st.sampled_from([0, *written[4:]])), draw(st.sampled_from(written))
        name = draw(st.sampled_from(sorted(OPS)))
        if name in BINARY and draw(st.booleans()):
            left, right = right, left
        elif name not in BINARY:
            right = left
        out = draw(st.integers(4, 6))
        steps.append((name, left, right, out))
        written = sorted({*written, out})
    steps.append(("add", steps[-1][3], 3, 7))
    return Chain(tuple(steps), (*PLACES, Place("array", 1)), 3, width)


def by_numpy(chain, x, row, number):
    values = {0: x, 1: row, 2: x.dtype.type(0.1), 3: x.dtype.type(number)}
    for name, left, right, out in chain.steps:
        function = getattr(np, name)
        values[out] = function(values[left], values[right]) if name in BINARY else function(values[left])
        values[out] = np.broadcast_to(values[out], x.shape)
    return values[7]


@settings(max_examples=300, deadline=None)
@given(chains(), st.integers(1, 40), st.sampled_from(["f4", "f8"]), st.integers(0, 99), st.sampled_from([1, 8, 1024]))
def test_against_numpy(chain, rows, dtype, seed, chunk):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, chain.width)) * 10.0 ** rng.integers(-6, 6, (rows, chain.width))).astype(dtype)
    x[rng.random(x.shape) < 0.05] = rng.choice([np.nan, np.inf, 0.0, -0.0])
    row, out = rng.normal(size=chain.width).astype(dtype), np.full_like(x, 7)
    raised = []
    with np.errstate(
        divide="call", over="call", invalid="call", under="ignore", call=lambda *error: raised.append(error)
    ):
        want = by_numpy(chain, x, row, 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        half = rows // 2
        quiet = [chain.run([x, out], [row], [0.3], *span) for span in ((0, half), (half, rows))]
    same(out, want)
    assert all(quiet) == (not raised)


@pytest.mark.parametrize("name", sorted(OPS))
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_function_at_every_length(name, dtype):
    """Vectors of every width, and what is left behind them."""
    rng = np.random.default_rng(0)
    for cells in (1, 2, 3, 7, 15, 16, 17, 100, 1_023, 1_025, 5_000):
        x, out = np.abs(rng.normal(size=cells)).astype(dtype) + 1, np.empty(cells, dtype)
        chain = Chain(
            ((name, 0, 1 if name in BINARY else 0, 2),), (Place("array"), Place("array", 1), Place("array", 2)), 0
        )
        y = x[::-1].copy()
        assert chain.run([x, y, out], [], [], 0, cells)
        same(out, getattr(np, name)(x, y) if name in BINARY else getattr(np, name)(x))
