"""A large result is handed over without a copy, and is the caller's own all the same."""

import gc
import json
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ChangedSourceError
from traceprop.tracing import lending

ROOT = Path(__file__).parents[2]
LARGE = np.arange(80_000.0).reshape(-1, 4)


@tp.trace
def doubled(x):
    return x * 2.0


def taken_by_a_call(_):
    """Bytes at the peak of a call with a large result, over the result's; and whether the result is the caller's own."""
    x = tp.from_numpy(LARGE, source_id="x")
    tracemalloc.start()
    try:
        np.asarray(doubled(x))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        found = np.asarray(doubled(x))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return peak / found.nbytes, found.flags.owndata and found.flags.writeable


def test_a_temporary_is_not_copied():
    for peak, own in alone("taken_by_a_call"):
        assert 1 <= peak < 1.5
        assert own


@pytest.mark.parametrize("read", [np.asarray, lambda y: y.compute(), lambda y: y.numpy(), lambda y: np.array(y)])
def test_who_writes_to_it_changes_nobody_elses(read):
    y = doubled(tp.from_numpy(LARGE, source_id="x"))
    mine = read(y)
    mine[:] = -1.0
    assert np.array_equal(read(y), LARGE * 2.0)
    later = y + 1.0
    mine[:] = -2.0
    assert np.array_equal(np.asarray(later), LARGE * 2.0 + 1.0)
    assert tp.provenance(y).rows(7)["x"].tolist() == [7]


def test_twice_asked_for_gives_two_arrays_from_one_run(monkeypatch):
    y = doubled(tp.from_numpy(LARGE, source_id="x"))
    runs = []
    run = type(y.call().executor).run
    monkeypatch.setattr(type(y.call().executor), "run", lambda *given: runs.append(1) or run(*given))
    one, two = np.asarray(y), np.asarray(y)
    assert not np.shares_memory(one, two)
    assert np.array_equal(one, two)
    assert len(runs) == 1
    one[0] = 5.0
    assert np.array_equal(np.asarray(y), two)
    assert len(runs) == 2


def test_written_to_and_its_source_too_is_told():
    x = LARGE.copy()
    y = doubled(tp.from_numpy(x, source_id="x"))
    np.asarray(y)[:] = 0.0
    x[0] = 7.0
    with pytest.raises(ChangedSourceError):
        np.asarray(y)


def test_what_others_hold_is_copied():
    @tp.trace
    def several(x):
        y = x + 1.0
        return x, y, y.T, y[::2]

    x = LARGE.copy()
    same, y, turned, some = several(x)
    for lazy in (same, y, turned, some):
        found = np.asarray(lazy)
        assert not np.shares_memory(found, x)
        found[:] = -1.0
    assert np.array_equal(x, LARGE)
    for lazy, expected in ((same, x), (y, x + 1), (turned, (x + 1).T), (some, (x + 1)[::2])):
        assert np.array_equal(np.asarray(lazy), expected)


def test_small_and_read_only_results_are_copied():
    assert not lending.is_large_and_own(np.zeros(10))
    fixed = np.zeros(lending.WORTH)
    assert lending.is_large_and_own(fixed)
    fixed.flags.writeable = False
    assert not lending.is_large_and_own(fixed)


def left_behind(given):
    """Bytes and objects more after ten thousand calls than before."""
    np.asarray(doubled(given))
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    try:
        for _ in range(100):
            np.asarray(doubled(given))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            np.asarray(doubled(given))
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before, len(gc.get_objects()) - objects
    finally:
        tracemalloc.stop()


def made_by_a_call(given):
    """Objects made by one call, on the average of a hundred that are all held."""
    np.asarray(doubled(given))
    gc.collect()
    gc.disable()
    before = len(gc.get_objects())
    held = [doubled(given) for _ in range(100)]
    return (len(gc.get_objects()) - before) / len(held)


def alone(measure: str) -> list:
    """What a function of this module finds in an interpreter of its own: here, threads of other tests allocate too."""
    code = f"""
        import json
        import numpy as np
        import traceprop as tp
        from {__name__} import {measure}
        x = np.arange(40.0).reshape(10, 4)
        print(json.dumps([{measure}(x), {measure}(tp.from_numpy(x, source_id="x"))]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ten_thousand_calls_leave_nothing_behind():
    for grown, objects in alone("left_behind"):
        assert grown < 20_000  # two bytes per call
        assert objects < 100


def test_a_call_makes_few_objects():
    _, of_a_source = alone("made_by_a_call")
    assert of_a_source < 4.5  # the value, its call, the tuple of inputs, and a memo
