"""The compliance report of small chains whose every fact is known."""

from __future__ import annotations

import hashlib
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ReportError
from traceprop.reports.compliance import write_report
from traceprop.reports.sections import plain
from traceprop.reports.story import ComparedModel, Comparison, Prediction

HOSTILE = '<script>alert("x")</script>&'


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "hospital_a.csv"
    path.write_text("dose,age,ill\n1,30,0\n2,40,1\n3,50,0\n4,60,1\n")
    return path


def normalised(csv: Path) -> Any:
    data = tp.from_csv(csv, source_id="hospital_a")
    features = data[:, :-1]
    return (features - features.mean(axis=0)) / features.std(axis=0)


def test_says_what_is_known(csv: Path) -> None:
    report = tp.compliance_report(
        tensor=normalised(csv),
        model={"w": np.zeros((2, 3)), "b": np.ones(2)},
        system_name="CreditScorer-v1",
        system_version="1.0.0",
        deployer_name="Example Ltd",
        high_risk_category="5(b)",
    )
    assert report["system"]["name"] == "CreditScorer-v1"
    assert report["system"]["high_risk_category"]["point"] == "5(b)"
    assert report["model"]["parameter_count"] == 8
    (source,) = report["data"]["sources"]
    assert source["source_id"] == "hospital_a"
    assert source["sha256"] == hashlib.sha256(csv.read_bytes()).hexdigest()
    assert (source["rows"], source["rows_used"], source["rows_left_out"]) == (4, 4, 0)
    assert report["data"]["shape"] == [4, 2]
    assert report["data"]["exact"] is True
    assert report["followed"]["line"] == 2
    assert report["followed"]["text"] == "1,30,0"
    locations = [step["location"] for step in report["steps"] if step["location"]]
    assert locations
    assert all(location.startswith("test_compliance.py:") for location in locations)
    assert report["statements"]["proven"]
    assert any("no assessment of conformity" in claim for claim in report["statements"]["not_covered"])


def test_rows_left_out_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "office.csv"
    path.write_text("age,job\n31,cook\n,baker\n45,clerk\n")
    table = tp.read_csv(path).drop_nulls()
    (source,) = tp.compliance_report(tensor=table[["age"]].to_numpy("float64"))["data"]["sources"]
    assert (source["rows"], source["rows_used"], source["rows_left_out"]) == (3, 2, 1)


def test_json_is_the_dict(csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = tp.compliance_report(tensor=normalised(csv), output_path=path)
    assert json.loads(path.read_text()) == report


@pytest.mark.parametrize(
    "wrong", [{"output_path": "report.pdf"}, {"output_path": "report"}, {"high_risk_category": "12(z)"}]
)
def test_a_wrong_request_writes_nothing(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReportError):
        tp.compliance_report(tensor=normalised(csv), **{"output_path": "report.json", **wrong})
    assert os.listdir(tmp_path) == ["hospital_a.csv"]


def test_an_unwritable_place_is_an_error(csv: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="hospital_a"):
        tp.compliance_report(tensor=normalised(csv), output_path=csv / "report.json")


class Tags(HTMLParser):
    """Collects what a page loads and runs."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "onload", "onclick")]

    def handle_data(self, data: str) -> None:
        self.text += data


def told(csv: Path) -> dict[str, Any]:
    """A report with every part, hostile texts in all places that outside text can reach."""
    report = tp.compliance_report(
        tensor=normalised(csv),
        model={HOSTILE: np.zeros(2)},
        system_name=HOSTILE,
        system_version=HOSTILE,
        deployer_name=HOSTILE,
        high_risk_category="5(b)",
        prediction=Prediction({"age": HOSTILE, HOSTILE: "1"}, HOSTILE, HOSTILE + "2", 0.4, HOSTILE, 7),
    )
    entry = {"rank": 0, "influence_score": -0.5, "source_id": HOSTILE, "row": 1, "file": HOSTILE, "line": 3}
    entry |= {"sample_index": 1, "text": HOSTILE}
    report["attribution"] = {
        "verdict": "estimated",
        "why": HOSTILE,
        "most_harmful": [entry, {**entry, "rank": 1, "line": None, "text": None, "influence_score": None}],
        "most_helpful": [{**entry, "influence_score": 0.5}],
    }
    model = ComparedModel(HOSTILE, 0.5, 0.8, 0.1, 0.01, HOSTILE)
    comparison = Comparison([model, model], {"rows_removed": 2.0}, [HOSTILE], [(HOSTILE, HOSTILE, HOSTILE)])
    report["correction"] = {
        "verdict": "exact",
        "why": HOSTILE,
        "metrics": {},
        "models": [{"name": m.name, "probability": 0.5, "accuracy": 0.8, "forgotten_loss": 0.1, "seconds": 0.01,
                    "note": m.note} for m in comparison.models],
        "targets": [HOSTILE],
        "distances": [list(fact) for fact in comparison.distances],
        "figures": dict(comparison.figures),
    }  # fmt: skip
    report["steps"].append({"name": HOSTILE, "location": HOSTILE, "code": HOSTILE})
    report["data"]["sources"].append({**report["data"]["sources"][0], "source_id": HOSTILE, "file": HOSTILE})
    report["answer"].append(HOSTILE)
    report["program"] += HOSTILE
    return report


def test_the_page_is_self_contained_and_escaped(csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    page = write_report(told(csv), tmp_path / "report.html").read_text(encoding="utf-8")
    parsed = Tags()
    parsed.feed(page)
    assert "script" not in parsed.tags
    assert "<script" not in page
    assert parsed.outside == []
    assert "url(" not in page
    assert parsed.tags.count("svg") == 1
    assert 'alert("x")' in parsed.text
    for heading in ("The question", "The rows behind it", "The path from the files", "The correction", "proven"):
        assert heading in parsed.text


def test_the_page_without_any_story(csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    tp.compliance_report(tensor=normalised(csv), output_path=tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The path from the files" in page
    assert "The correction" not in page


def test_model_checksum_follows_the_parameters(csv: Path) -> None:
    def checksum(weights: np.ndarray) -> str:
        return tp.compliance_report(tensor=normalised(csv), model={"w": weights})["model"]["parameters_sha256"]

    assert checksum(np.array([1.0, 2.0])) == checksum(np.array([1.0, 2.0]))
    assert checksum(np.array([1.0, 2.0])) != checksum(np.array([1.0, 2.5]))


def test_plain_gives_json_types_alone() -> None:
    given = {"a": np.float64("nan"), "b": np.arange(2), 3: (np.bool_(True), None, Path("x")), "c": np.float32(1.5)}
    assert plain(given) == {"a": None, "b": [0, 1], "3": [True, None, "x"], "c": 1.5}


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_is_between_0_and_1(probability: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Prediction({}, "a", "b", probability)
