"""The benchmark of differentiated runs, on a task of a few rows: its figures are those of runs really taken again."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.replay import Setting, judged, shown
from benchmarks.tasks.mnist import Digits


@pytest.mark.parametrize(
    "setting", [Setting("GELU", batch=16, rate=0.05, epochs=3), Setting("ReLU", "adam", 1e-3, 16, 3)]
)
def test_a_short_smooth_run_is_foretold(setting):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(230, 4)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=230) > 0).astype(np.int64)
    digits = Digits("a few", X[:200], y[:200], X[200:], y[200:], "adam", 1e-3, 128, 20, (1,), (4, 6, 1))
    found = judged(setting, setting.task(digits), tests=3, subsets=8)
    assert found["ceiling"] > 0.95
    assert found["methods"]["replay, Hessian"]["lds"] > 0.8
    assert ("replay, Gauss–Newton" in found["methods"]) == (setting.activation == "ReLU")
    rows = shown({setting.name: found}, 3, 8)["rows"]
    assert [row[0] for row in rows] == [setting.name, *[""] * (len(found["methods"]) - 1)]
