"""Profiles and foretold costs: what they say of lines, bytes and captures is what a run has."""

from __future__ import annotations

import re

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import TraceError
from traceprop.passes.optimize.compress import column_of


def scaled(x):
    some = x[x[:, 0] > 0]
    z = (some - some.mean(axis=0)) / some.std(axis=0)
    return z[np.argsort(z[:, 1])], np.exp(z).sum(axis=1)


@pytest.fixture(scope="module")
def x():
    return tp.from_numpy(np.random.default_rng(0).normal(size=(2_000, 3)), "x")


def test_a_profile_names_ops_lines_bytes_and_captures(x, tmp_path):
    found = tp.trace(scaled).profile(x)
    by_op = {row.op: row for row in found.rows}
    assert found.rows[0].op == "read"
    assert {row.where for row in found.rows[1:]} == {f"test_profiling.py:{n}" for n in (16, 17, 18)}
    kept = int((np.asarray(x)[:, 0] > 0).sum())
    assert by_op["elementwise[numpy.exp]"].bytes == kept * 3 * 8
    assert by_op["filter"].bytes == kept * 8
    records = [row for row in found.rows if row.op == "record"]
    assert sum(row.captured for row in records) == found.captured > 0
    assert all(row.seconds > 0 for row in found.rows)
    assert found.granularity == "op"
    text = str(found)
    assert text.splitlines()[0].startswith("scaled: ")
    assert re.search(r"test_profiling.py:17 +reduce\[numpy.std\] +[\d.]+ [mµ]?s +\d+% +24 B", text)
    found.to_html(tmp_path / "profile.html")
    page = (tmp_path / "profile.html").read_text(encoding="utf-8")
    assert page.count('class="level"') == 3
    assert "scaled" in page
    assert "numpy_exp(" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_profile_with_tracking_off_captures_nothing(x):
    with tp.granularity(None):
        found = tp.trace(scaled).profile(x)
    assert found.captured == 0
    assert not [row for row in found.rows if row.op == "record"]
    assert "tracking off" in str(found)


def test_a_segment_is_one_line(x):
    big = tp.from_numpy(np.ones((60_000, 4)), "big")

    def chain(x):
        return np.sqrt(np.exp(np.sin(x) * 2.0) + 1.0)

    found = tp.trace(chain).profile(big)
    (segment,) = [row for row in found.rows if row.ops > 1]
    assert segment.ops >= 4
    assert "segment of" in segment.op
    assert segment.bytes == 60_000 * 4 * 8


@pytest.mark.parametrize("world", ["jax", "torch"])
def test_other_worlds_are_profiled_op_by_op(world):
    library = pytest.importorskip(world)
    values = np.arange(12.0).reshape(6, 2)
    if world == "jax":
        jnp = library.numpy
        found = tp.trace(lambda x: jnp.tanh(x) @ jnp.ones((2, 2))).profile(values)
    else:
        given = library.from_numpy(values)
        found = tp.trace(lambda x: library.tanh(x) @ library.ones(2, 2, dtype=library.float64)).profile(given)
    assert any("tanh" in row.op for row in found.rows)
    assert any(row.bytes == 6 * 2 * 8 for row in found.rows)


def test_functions_on_a_cluster_say_that_they_have_no_profile(client):
    with pytest.raises(TraceError, match="without executor="):
        tp.trace(lambda x: x * 2.0, executor=client).profile(np.ones((4, 2)))


def test_functions_in_batches_are_profiled_whole(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("a,b\n" + "1.5,2\n" * 50, encoding="utf-8")
    found = tp.trace(lambda x: np.exp(x), batch_size=16).profile(tp.from_csv(path))
    assert found.rows[-1].bytes == 50 * 2 * 8


def test_an_error_in_a_profiled_run_is_the_ops(x):
    f = tp.trace(lambda t: t.cast({"a": "f64"}))
    import polars as pl

    with pytest.raises(tp.errors.ExecutionError, match="cast"):
        f.profile(tp.from_dataframe(pl.DataFrame({"a": ["1", "one"]}), "t"))


class TestCost:
    def test_it_foretells_the_bytes_that_a_run_keeps(self):
        rows = 40_000
        rng = np.random.default_rng(1)
        x = tp.from_numpy(rng.normal(size=(rows, 3)), "x")
        for level in ("op", "batch", "epoch"):
            with tp.granularity(level):
                executable = tp.trace(scaled).compile(x)
            cost = executable.cost(rows)
            captures = executable.run([np.asarray(x)]).captures
            captures.encode_all()
            kept = sum(held.nbytes for value, held in captures.items() if column_of(value) is None)
            assert kept / 2 <= cost.bytes <= kept * 2
            assert cost.granularity == level
            assert cost.seconds_per_row > 0
            assert f'granularity "{level}"' in str(cost)
            assert len(str(cost).splitlines()) == 1 + len(cost.records)

    def test_what_is_not_recorded_costs_nothing(self):
        x = tp.from_numpy(np.ones((10, 2)), "x")
        static = tp.trace(lambda x: (x - x.mean(axis=0)) * 2).compile(x).cost()
        assert (static.bytes, static.seconds, static.records) == (0, 0.0, ())
        with tp.granularity(None):
            off = tp.trace(scaled).compile(x)
        assert off.cost().bytes == 0
        assert "tracking off" in str(off.cost())
        with pytest.raises(ValueError, match="rows is at least 1"):
            off.cost(0)

    def test_more_rows_take_longer_positions(self):
        f = tp.trace(lambda x: np.sort(x)).compile(tp.from_numpy(np.ones(10), "x"))
        assert f.cost(1_000).bytes_per_row < f.cost(1_000_000).bytes_per_row < f.cost(10**9).bytes_per_row <= 5
