"""The demo from end to end: every figure that it prints is checked against its meaning."""

from __future__ import annotations

import copy
import functools
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.demo import make_data


def run_demo(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "traceprop.cli", "demo", "--json", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """The demo's folder and figures by model; each model's demo runs once."""

    @functools.cache
    def ran(model: str) -> tuple[Path, dict[str, Any]]:
        for library in ("pandas", "jinja2", model):
            pytest.importorskip(library)
        folder = tmp_path_factory.mktemp(model)
        return folder, run_demo(folder, "--model", model)

    return ran


@pytest.fixture(params=["sklearn", "torch", "jax"])
def demo(request: pytest.FixtureRequest, demos: Callable[[str], tuple[Path, dict[str, Any]]]) -> Any:
    return demos(request.param)


def test_the_text_of_its_program_reads_back(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, found = demo
    assert found["program"]["text_reads_back"] is True
    for name in ("program-traced.txt", "program-optimized.txt"):
        text = (folder / found["files"][name]).read_text()
        assert str(tp.ir.parse(text)) + "\n" == text
    assert "prepare" in (folder / found["files"]["program.html"]).read_text()


def test_nothing_runs_before_it_is_asked(demo: tuple[Path, dict[str, Any]]) -> None:
    program = demo[1]["program"]
    assert program["ops_run_before_asked"] == 0
    assert program["ops_run_after"] > 0


def test_equals_pandas(demo: tuple[Path, dict[str, Any]]) -> None:
    program = demo[1]["program"]
    assert program["max_difference_from_pandas"] <= 1e-12
    assert program["labels_equal"] is True
    assert program["lineage_exact"] is True


def test_rows_named_are_the_lines_of_the_files(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, found = demo
    harmful = found["attribution"]["most_harmful"]
    assert len(harmful) == 10
    for entry in harmful:
        lines = (folder / entry["file"]).read_text().splitlines()
        assert lines[entry["line"] - 1] == entry["text"]
        assert entry["line"] == entry["row"] + 2
        assert "?" not in entry["text"]
        assert entry["influence_score"] < 0
    scores = [entry["influence_score"] for entry in harmful]
    assert scores == sorted(scores)


def test_the_question_is_a_wrong_prediction_in_the_file(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, found = demo
    question = found["question"]
    assert (folder / question["file"]).read_text().splitlines()[question["line"] - 1] == question["text"]
    assert question["text"].endswith(question["truth"])
    assert question["said"] != question["truth"]
    assert 0.4 < question["probability_of_truth"] < 0.5


def test_steps_are_lines_of_the_pipeline(demo: tuple[Path, dict[str, Any]]) -> None:
    from traceprop.demo import pipeline

    lines = Path(pipeline.__file__).read_text().splitlines()
    steps = demo[1]["program"]["steps"]
    named = [step for step in steps if step["location"]]
    assert len(named) >= 8
    for step in named:
        file, line = step["location"].split(":")
        assert file == "pipeline.py"
        assert lines[int(line) - 1].strip() == step["code"]


def test_correction_equals_retraining(demo: tuple[Path, dict[str, Any]]) -> None:
    correction = demo[1]["correction"]
    assert len(correction["rows"]) == 50
    assert abs(correction["gap_closed_retrained_percent"] - 100) < 1
    assert correction["forget_logits_way_left_retrained_percent"] < 1
    assert correction["test_logits_way_left_retrained_percent"] < 1
    # The rows are out of the pipeline's state too: against everything run again from files without them.
    assert abs(correction["gap_closed_rerun_percent"] - 100) < 1
    assert correction["forget_logits_way_left_rerun_percent"] < 1
    assert correction["test_logits_way_left_rerun_percent"] < 1


def test_the_predicted_effect_stands_beside_the_measured_one(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, found = demo
    correction = found["correction"]
    predicted, measured = correction["predicted_log_odds_change"], correction["measured_log_odds_change_rerun"]
    assert correction["measured_log_odds_change_corrected"] == pytest.approx(measured, rel=1e-3)
    assert predicted == pytest.approx(measured, rel=0.25), "one Newton step on the rows that stay"
    page = (folder / found["files"]["report.html"]).read_text()
    assert f"{predicted:+.4f} predicted" in page
    assert f"{measured:+.4f}" in page


def test_forgetting_harmful_rows_helps(demo: tuple[Path, dict[str, Any]]) -> None:
    chances = demo[1]["correction"]["probability_of_truth"]
    assert chances["corrected"] > chances["original"]
    assert chances["retrained"] > chances["original"]
    assert chances["corrected"] == pytest.approx(chances["retrained"], abs=1e-4)


def test_reports_are_written(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, found = demo
    report = json.loads((folder / found["files"]["report.json"]).read_text())
    assert report["attribution"]["most_harmful"] == found["attribution"]["most_harmful"]
    page = (folder / found["files"]["report.html"]).read_text()
    assert found["question"]["truth"].replace(">", "&gt;").replace("<", "&lt;") in page
    left_over = [path for path in folder.rglob("*") if path.suffix == ".part"]
    assert left_over == []


def test_run_twice_same_figures(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, found = demo
    first, second = copy.deepcopy(found), run_demo(folder, "--model", found["model"])
    for figures in (first, second):
        del figures["seconds"]
    assert first == second


@pytest.mark.parametrize("model", ["torch", "jax"])
def test_all_libraries_tell_the_same(demos: Callable[[str], tuple[Path, dict[str, Any]]], model: str) -> None:
    theirs, ours = (demos(each)[1] for each in ("sklearn", model))
    assert theirs["question"]["line"] == ours["question"]["line"]
    assert ours["correction"]["rows"] == theirs["correction"]["rows"]
    for there, here in zip(theirs["attribution"]["most_harmful"], ours["attribution"]["most_harmful"], strict=True):
        assert (there["source_id"], there["row"]) == (here["source_id"], here["row"])
        assert there["influence_score"] == pytest.approx(here["influence_score"], rel=1e-3)


def test_another_seed_asks_about_somebody_else(tmp_path: Path) -> None:
    for library in ("pandas", "jinja2", "sklearn"):
        pytest.importorskip(library)
    lines = {run_demo(tmp_path, "--seed", str(seed))["question"]["line"] for seed in range(3)}
    assert len(lines) > 1


def test_prose_has_the_figures(tmp_path: Path) -> None:
    for library in ("pandas", "jinja2", "sklearn"):
        pytest.importorskip(library)
    command = [sys.executable, "-m", "traceprop.cli", "demo", "--out", "elsewhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=None)
    assert done.returncode == 0, done.stderr
    for words in (
        "largest difference from the same function in pandas",
        "ten rows",
        "pipeline.py:",
        "gap closed",
        "answer",
    ):
        assert words in done.stdout
    assert (tmp_path / "elsewhere" / "report.html").exists()


def test_the_data_is_small_and_attributed() -> None:
    data = resources.files("traceprop.demo") / "data"
    sizes = [len((data / f"{name}.csv.gz").read_bytes()) for name in ("north_office", "south_office", "held_out")]
    assert sum(sizes) <= 200_000
    note = (data / "README.md").read_text()
    for words in ("Becker", "Kohavi", "CC BY 4.0", "https://doi.org/10.24432/C5XW20"):
        assert words in note


def test_the_data_is_what_the_generator_draws(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_data, "DATA", tmp_path)
    make_data.main(data_dir / "adult.csv.gz")
    shipped = resources.files("traceprop.demo") / "data"
    original = gzip.decompress((data_dir / "adult.csv.gz").read_bytes()).decode().splitlines()
    rows: dict[str, np.ndarray] = {}
    for name in ("north_office", "south_office", "held_out"):
        text = gzip.decompress((shipped / f"{name}.csv.gz").read_bytes())
        assert gzip.decompress((tmp_path / f"{name}.csv.gz").read_bytes()) == text
        header, *lines = text.decode().splitlines()
        assert header == original[0]
        assert set(lines) <= set(original[1:])
        rows[name] = np.array(lines)
    assert [len(lines) for lines in rows.values()] == [3000, 3000, 1500]
