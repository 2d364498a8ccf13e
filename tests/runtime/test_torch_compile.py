"""PyTorch functions with `backend="torch"`: compiled where there is a compiler, the same values and lineage, and said so."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import traceprop as tp
from traceprop.runtime import worlds

torch = pytest.importorskip("torch")


def scale(x):
    h = torch.tanh(x) * 0.5 + 1
    return (h - h.mean(0)) / h.std(0)


def positive(x):
    return scale(x)[x[:, 0] > 0]


def test_values_and_lineage(monkeypatch):
    """By PyTorch's own tracing of the code, without generating C++, which takes longer."""
    monkeypatch.setattr(worlds, "TORCH_COMPILER", "eager")
    x = torch.arange(12.0, dtype=torch.float64).reshape(4, 3) - 5
    asked, plain = tp.trace(positive, backend="torch"), tp.trace(positive)
    for rows in (4, 3):
        got, want = asked(x[:rows]), plain(x[:rows])
        torch.testing.assert_close(got.compute(), want.compute())
        ours, theirs = (tp.provenance(v).rows(0, kind="any") for v in (got, want))
        assert {k: r.tolist() for k, r in ours.items()} == {k: r.tolist() for k, r in theirs.items()}


@pytest.mark.skipif(worlds.cxx_compiler() is None, reason="no C++ compiler")
def test_compiled():
    x = torch.randn(50, 3, dtype=torch.float64)
    executable = tp.trace(scale, backend="torch").compile(x)
    torch.testing.assert_close(torch.as_tensor(executable(x)), scale(x))
    torch.testing.assert_close(torch.as_tensor(executable(x[:20])), scale(x[:20]))
    assert "PyTorch, compiled by torch.compile" in executable.explain()
    assert "the function's own PyTorch code" in tp.trace(scale).compile(x).explain()


def test_without_a_compiler_it_runs_eagerly(monkeypatch):
    monkeypatch.setattr(worlds, "cxx_compiler", lambda: None)
    x = torch.randn(5, 3)
    executable = tp.trace(scale, backend="torch").compile(x)
    assert "eagerly: there is no C++ compiler here" in executable.explain()
    torch.testing.assert_close(torch.as_tensor(executable(x)), scale(x))


def test_what_cannot_be_compiled_runs_eagerly_and_says_so(monkeypatch):
    monkeypatch.setattr(worlds, "TORCH_COMPILER", "eager")
    monkeypatch.setattr(torch, "compile", lambda *a, **k: _failing)
    x = torch.randn(5, 3)
    executable = tp.trace(scale, backend="torch").compile(x)
    with pytest.warns(UserWarning, match="scale runs eagerly, for torch.compile fails: no such thing"):
        torch.testing.assert_close(torch.as_tensor(executable(x)), scale(x))


def _failing(*values):
    from torch._dynamo.exc import Unsupported

    raise Unsupported("no such thing")


def test_its_names_stand_in_a_module(monkeypatch):
    monkeypatch.setattr(worlds, "TORCH_COMPILER", "eager")
    before = {name for name in sys.modules if name.startswith("traceprop_generated_")}
    executable = tp.trace(scale, backend="torch").compile(torch.randn(5, 3))
    assert {name for name in sys.modules if name.startswith("traceprop_generated_")} > before
    assert np.shape(executable(torch.randn(5, 3))) == (5, 3)
