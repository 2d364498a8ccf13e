"""Loops and branches of JAX programs as regions: what they print, and that their maps are those of the turns written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import traceprop as tp
from traceprop.ir import constants_of, dump, parse, verify
from traceprop.passes.optimize.write_out import WriteOut
from traceprop.runtime.executable import Executable
from traceprop.tracing.jaxpr import control

pytestmark = pytest.mark.filterwarnings("ignore:.*while_loop")
RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 3)).astype(np.float32)
LONG = RNG.normal(size=(60, 4)).astype(np.float32)
W = RNG.normal(size=(3, 3)).astype(np.float32)


def averaged(x):
    def step(mean, row):
        mean = mean * 0.9 + row * 0.1
        return mean, row - mean

    return lax.scan(step, x[0], x)


def recurrent(x, w):
    def step(state, row):
        state = jnp.tanh(row + state @ w)
        return state, state.sum()

    return lax.scan(step, jnp.zeros(3), x)


def halved(x):
    return lax.while_loop(lambda c: jnp.abs(c).max() > 1, lambda c: c / 2, x)


def chosen(x):
    return lax.cond(x.sum() > 0, lambda v: v - 1, lambda v: v[::-1], x)


PRINTED = {"scan": (averaged, LONG), "while": (halved, LONG), "cond": (chosen, X)}


@pytest.mark.parametrize("name", PRINTED)
def test_printed(name, golden):
    function, *args = PRINTED[name]
    program = tp.trace(function).ir(*args)
    assert dump(program, locations=False) == golden
    again = parse(str(program), constants_of(program))
    assert again == program
    assert [(op.exact, op.reads and str(op)) for op in again] == [(op.exact, op.reads and str(op)) for op in program]


def delayed(x):
    """The row before last: what is read settles after three turns."""
    return lax.scan(lambda c, row: ((row, c[0]), c[1]), (x[0], x[1]), x)


def swapped(x):
    """Carries that change places every turn never settle."""
    return lax.scan(lambda c, row: ((c[1] + row, c[0]), c[0]), (x[0], x[1] * 0), x)


def rolled(x):
    return lax.scan(lambda c, row: (jnp.roll(c, 1), row + c), x[0], x)


def backwards(x):
    return lax.scan(lambda c, row: (c + row.sum(), c - row), x[0], x, reverse=True)


def backwards_delayed(x):
    return lax.scan(lambda c, row: ((row, c[0]), c[1]), (x[0], x[1]), x, reverse=True)


def masked(x):
    return lax.scan(lambda c, row: (jnp.where(row[0] > 0, c, row), c.sum()), x[0], x)


def positions(x):
    return lax.scan(lambda c, row: (c[jnp.argsort(row)], row), x[0], x)


def partly(x):
    return lax.scan(lambda c, row: (jnp.concatenate([row[:1], c[1:]]), c), x[0], x)


def counted(x):
    return lax.scan(lambda c, row: ((c[0] + 1, c[1] + row * c[0]), c[0]), (0.0, x[0]), x)


def scalar(x):
    return lax.scan(lambda c, row: (c * row[0], row + c), x[0, 0], x)


def nested(x):
    def outer(c, row):
        return lax.scan(lambda d, cell: (d + cell, d * cell), c, row)

    return lax.scan(outer, x[0, 0], x)


EXACT = (averaged, recurrent, delayed, backwards, backwards_delayed, masked, partly, counted, scalar, nested)
COARSE = (swapped, rolled, positions)


def arguments(function):
    return (X, W) if function is recurrent else (X,)


def both(function, monkeypatch):
    """The results as loops, and with the turns written out."""
    args = arguments(function)
    with monkeypatch.context() as patched:
        patched.setattr(control, "_MANY_TURNS", 2)
        loops = tp.trace(lambda *given: function(*given))(*args)
    with monkeypatch.context() as patched:
        patched.setattr(control, "_exact", lambda found: False)
        written = tp.trace(lambda *given: function(*given))(*args)
    return [jax.tree_util.tree_leaves(each, is_leaf=lambda x: hasattr(x, "compute")) for each in (loops, written)]


def cells_of(lazy, kind):
    view = tp.provenance(lazy)
    return {
        at: {(source, *cell) for source, cells in view.cells(at, kind=kind).items() for cell in cells.tolist()}
        for at in np.ndindex(lazy.shape)
    }


@pytest.mark.parametrize("function", [*EXACT, *COARSE], ids=lambda f: f.__name__)
def test_maps_are_those_of_the_turns_written_out(function, monkeypatch):
    for loop, written in zip(*both(function, monkeypatch), strict=True):
        np.testing.assert_allclose(loop, written, rtol=1e-6)
        assert "loop[jax.scan]" in str(tp.provenance(loop).program)
        assert "loop[jax.scan]" not in str(tp.provenance(written).program)
        assert tp.provenance(loop).exact is tp.provenance(written).exact or function in COARSE
        for kind in ("any", "control", "order"):
            got, want = cells_of(loop, kind), cells_of(written, kind)
            if tp.provenance(loop).exact:
                assert got == want
            else:
                assert all(got[at] >= want[at] for at in want) or kind != "any"
    if function in COARSE:
        assert not all(tp.provenance(loop).exact for loop in both(function, monkeypatch)[0])


def test_rows_of_a_scan_are_direct_and_those_before_them_a_range():
    _, rest = tp.trace(averaged)(LONG)
    view = tp.provenance(rest)
    assert view.rows(7)["x"].tolist() == [7]
    assert view.rows(7, "any")["x"].tolist() == list(range(8))
    assert {tuple(cell) for cell in view.cells((7, 2))["x"].tolist()} == {(k, 2) for k in range(8)}


def switched(x):
    return lax.switch((x[0, 0] * 3).astype(int), [lambda v: v, lambda v: v[::-1] * 2, lambda v: v - v.mean(0)], x)


@pytest.mark.parametrize("function", [chosen, switched], ids=lambda f: f.__name__)
def test_branches_are_what_a_choice_between_both_is(function):
    for x in (X, X * 0 - 1, X * 0 + 1 / 3, X * 0 + 9):
        lazy = tp.trace(function)(x)
        program = tp.provenance(lazy).program
        assert [op.definition.name for op in program].count("branch") == 1
        np.testing.assert_allclose(lazy, function(jnp.asarray(x)), rtol=1e-6)
        written = Executable(program, record=True, passes=(WriteOut(),), world="jax")
        assert "branch" not in str(written.program)
        np.testing.assert_allclose(written(x), lazy, rtol=1e-6)


def test_a_branch_that_sorts_is_written_out():
    program = tp.trace(lambda x: lax.cond(x.sum() > 0, lambda v: jnp.sort(v, 0), lambda v: v, x)).ir(X)
    assert "branch" not in str(program)
    assert all(op.exact for op in program)


def test_a_branch_is_fitted():
    fitted = tp.trace(lambda x: lax.cond(x[0, 0] > 99, lambda v: v, lambda v: v - v.mean(0), x)).fit(X)
    np.testing.assert_allclose(fitted(X[:2]), X[:2] - X.mean(0), rtol=1e-5)


def test_bodies_go_through_passes():
    def function(x):
        def step(c, row):
            unused = jnp.exp(row)
            return c + jnp.sin(row) * jnp.sin(row), jnp.reshape(unused, row.shape).sum() * 0 + c.sum()

        return lax.scan(step, x[0], x)[0]

    traced = tp.trace(function)
    before, after = traced.ir(LONG), traced.ir(LONG, stage="optimized")
    bodies = [next(op.regions[0] for op in program if op.regions) for program in (before, after)]
    assert sum(op.payload == "jax.sin" for op in bodies[0]) == 2
    assert sum(op.payload == "jax.sin" for op in bodies[1]) == 1
    verify(after)
    np.testing.assert_allclose(traced(LONG), function(jnp.asarray(LONG)), rtol=1e-5)
