"""docs/attribution.md on training loops: its loop runs as it stands there."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

import traceprop as tp

torch = pytest.importorskip("torch")
PAGE = Path(__file__).parents[2] / "docs" / "attribution.md"


def test_the_loop_of_the_page():
    section = PAGE.read_text(encoding="utf-8").split("## Gradients of a training loop\n", 1)[1]
    block = section.lstrip("\n").split("\n\n", 1)[0]
    assert "num_workers=2" in block
    code = textwrap.dedent(block).replace("num_workers=2", "num_workers=0").replace("range(20)", "range(2)")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    scope = {
        "tp": tp,
        "X": rng.normal(size=(100, 4)).astype(np.float32),
        "y": rng.integers(0, 2, 100),
        "model": model,
        "loss": torch.nn.CrossEntropyLoss(reduction="none"),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }
    exec(code, scope)
    store = scope["ctx"].gradient_store
    assert len(store.schedule) == 4
    assert len(store.steps) == 200
    assert sorted(store.schedule[0][1].tolist() + store.schedule[1][1].tolist()) == list(range(100))
    assert store.pass_gradients(1).shape == (100, 37)
