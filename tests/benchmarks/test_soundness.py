"""The campaign counts what it finds, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_sound_programs_and_wrong_ones_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import soundness

    found = soundness.campaign("NumPy", "programs", 0, 6)
    assert found["programs"] == 6
    assert found["passes"] == found["pipelines"] > 0
    assert not any(found[kind] for kind in ("other values", "unsound", "exceptions", "changed by a pass"))
    monkeypatch.setattr(soundness, "reads_back", lambda results: soundness.judged("unsound", _fails))
    found = soundness.campaign("NumPy", "programs", 0, 6)
    assert found["unsound"] > 0
    assert "as it was not" in found["first"]["unsound"]
    exact = soundness.campaign("NumPy", "exact", 0, 10)
    assert exact["told"] == exact["seen"] > 0


def _fails() -> None:
    raise AssertionError("as it was not")
