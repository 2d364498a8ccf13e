"""The overhead suite: what it says of measurements, and a quick run of the groups that need no other library."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import overhead
from benchmarks.workloads import mlinspect_shaped, pairs
from benchmarks.workloads.pairs import Aim, Way, in_turns, interval


def test_the_interval_holds_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(2_000, 31))
    bounds = np.array([interval(list(draw)) for draw in draws])
    held = np.mean((bounds[:, 0] <= math.log(2)) & (math.log(2) <= bounds[:, 1]))
    assert 0.95 <= held <= 0.99
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


class Clock:
    """Time that goes by when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    process_time = perf_counter


def test_turns_count_calls_and_ratios(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pairs, "time", clock)
    called = {"plain": 0, "twice": 0}

    def work(name, times):
        called[name] += 1
        clock.now += 1e-3 * times

    before = []
    found = in_turns(
        {"plain": lambda: work("plain", 1), "twice": Way(lambda: work("twice", 2), lambda: before.append(1))}, pairs=5
    )
    assert set(found) == {"twice"}
    times = found["twice"]
    assert times["pairs"] == 5
    assert times["median"] == pytest.approx(2.0)
    assert times["interval"] == pytest.approx([2.0, 2.0])
    assert times["extra"] == pytest.approx(1e-3)
    assert called["plain"] > called["twice"] > 5
    assert len(before) >= 5 + 2


@pytest.mark.parametrize(
    ("aim", "low", "high", "expected"),
    [
        (Aim(1.15), 1.0, 1.15, "yes"),
        (Aim(1.15), 1.1, 1.2, "not shown"),
        (Aim(1.15), 1.2, 1.3, "no"),
        (Aim(1.0), 0.99, 1.004, "yes"),
        (Aim(1.0), 0.99, 1.01, "not shown"),
        (Aim(1.02), 0.99, 1.019, "not shown"),  # wider than 2 %
        (Aim(1.02), 1.0, 1.015, "yes"),
        (Aim(1.02), 0.6, 0.7, "yes"),  # far below: width does not matter
    ],
)
def test_an_aim_holds_where_the_whole_interval_does(aim, low, high, expected):
    assert aim.verdict({"plain_seconds": 1.0, "interval": (low, high)})[1] == expected


def test_below_some_time_an_aim_speaks_of_microseconds():
    aim = Aim(1.02, from_seconds=1e-3, extra=20e-6)
    found = {"plain_seconds": 1e-4, "interval": (3.0, 4.0), "extra_interval": (5e-6, 19e-6)}
    assert aim.verdict(found) == ("≤ 20 µs extra", "yes")


def test_the_shapes_are_equal_in_pandas_and_traced():
    import traceprop as tp

    for each in mlinspect_shaped.pipelines(0.02):
        tables = [tp.from_dataframe(frame, source_id=name) for name, frame in each.tables.items()]
        x, label = tp.trace(each.traced)(*tables)
        expected = each.plain(*each.tables.values())
        np.testing.assert_allclose(np.asarray(x), expected[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(np.asarray(label), expected[1])
        assert len(tp.provenance(x).rows(0)) == len(tables)


def test_quick_groups_fill_the_tables():
    ran = {}
    for group in ("arrays", "steady"):
        command = [sys.executable, "-m", "benchmarks.workloads.apart", group, "--quick"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        ran[group] = json.loads(done.stdout.splitlines()[-1])
    assert ran["steady"]["objects"] < 1_000
    missing = {"0.6.0": {"calls": None, "why": "no index"}}
    shown = overhead.beside_published(ran["arrays"]["calls"], missing, ran["steady"])
    assert all(row[2] == "not measured" for row in shown["rows"])
    shown = overhead.whole_calls(ran["arrays"]["calls"], [])
    assert len(shown["rows"]) == len(ran["arrays"]["calls"])
    assert {row[-1] for row in shown["rows"]} <= {"yes", "no", "not shown", ""}
    overhead.by_granularity(ran["arrays"]["granularities"])
    assert pairs.PAIRS >= 30
