"""What the README says: its code runs as pasted, and its tables are those of benchmarks/results."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def hospital(path: Path, rows: int, seed: int) -> None:
    """A CSV file of three numbers and an outcome that depends on two of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(50, 12, size=(rows, 3)).round(3)
    noise = rng.logistic(scale=8, size=rows)
    ill = (features[:, 0] - features[:, 1] + noise > 0).astype(int)
    lines = [",".join([*map(str, row), str(label)]) for row, label in zip(features.tolist(), ill, strict=True)]
    path.write_text("\n".join(["dose,age,weight,ill", *lines, ""]))


def test_the_quick_start_runs_as_pasted(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (code,) = re.findall(r"<!-- quick start -->\n```python\n(.*?)```", README, re.DOTALL)
    hospital(tmp_path / "hospital_a.csv", 120, 1)
    hospital(tmp_path / "hospital_b.csv", 80, 2)
    (tmp_path / "quick_start.py").write_text(code)
    command = [sys.executable, "quick_start.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *entries, verdict = done.stdout.splitlines()
    assert len(entries) == 5
    for entry in entries:
        source, row, line, score = entry.split()
        assert source in ("hospital_a", "hospital_b")
        assert int(line) == int(row) + 2
        assert float(score) > 0
    assert verdict.split()[0] in ("exact", "certified", "estimated")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["system"]["high_risk_category"]["point"] == "5(b)"
    assert [source["source_id"] for source in report["data"]["sources"]] == ["hospital_a"]


def test_tables_are_those_of_the_results() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.readme import FIGURES, HEADLINES, updated
    finally:
        sys.path.remove(str(ROOT))
    assert updated(README, HEADLINES) == README, "run `make readme`"
    figures = FIGURES.read_text(encoding="utf-8")
    assert updated(figures) == figures, "run `make readme`"


def test_opens_with_the_two_commands() -> None:
    opening = README.split("\n\n")[1]
    assert "make demo" in opening
    assert "make test" in opening


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
