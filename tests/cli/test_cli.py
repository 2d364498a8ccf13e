"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PREP = """
import numpy as np

def centre(x):
    return x - x.mean(axis=0)

def table(people):
    return people.drop_nulls()[["age"]].to_numpy("float64")

NUMBER = 3
"""


def traceprop(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "traceprop.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prep.py").write_text(PREP)
    (tmp_path / "people.csv").write_text("age,job\n31,cook\n,baker\n45,?\n")
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    return tmp_path


@pytest.mark.parametrize("command", [[], ["demo"], ["dump"], ["doctor"], ["bench"]])
def test_every_command_explains_itself(command: list[str], tmp_path: Path) -> None:
    done = traceprop(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"traceprop {command[0]}" in done.stdout if command else "traceprop demo" in done.stdout


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\ntry: import traceprop.cli as c; c.app(['demo', '--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert not {"torch", "sklearn", "pandas", "polars", "jax", "scipy"} & set(done.stdout.splitlines()[-1].split())


def test_dump_prints_both_stages(folder: Path) -> None:
    done = traceprop("dump", "prep.py:centre", "--array", "x=numbers.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("func @centre") == 2
    assert "# traced" in done.stdout
    assert "<-" in done.stdout
    assert "prep.py" in done.stdout


def test_dump_after_every_pass_of_a_type(folder: Path) -> None:
    (folder / "twice.py").write_text("def twice(x):\n    return x - x.mean(axis=0), x.mean(axis=0)\n")
    done = traceprop("dump", "twice.py:twice", "--arg", "x=f64[N,4]", "--print-after-all", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert 'func @twice(%x: f64[N,4] from "x")' in done.stdout
    assert "# after fold: as before" in done.stdout
    assert "# what cse changed\n--- fold\n+++ cse\n" in done.stdout
    assert "\n-  %2: f64[4] = reduce[numpy.mean](%x)" in done.stdout
    table = [line.split() for line in done.stdout.splitlines() if line.endswith(" ms")]
    assert [(name, ops) for _, name, ops, *_ in table] == [
        ("traced", "3"),
        ("instrument", "3"),
        ("compress", "3"),
        ("fold", "3"),
        ("cse", "2"),
        ("push_filters", "2"),
        ("compose_maps", "2"),
        ("dce", "2"),
    ]
    one = traceprop("dump", "twice.py:twice", "--arg", "x=f64[N,4]", "--stage", "cse", cwd=folder)
    assert one.stdout.count("reduce[numpy.mean]") == 1


def test_dump_of_a_table(folder: Path) -> None:
    arguments = ["dump", "prep.py:table", "--arg", "people=people.csv", "--na", "?", "--stage", "traced"]
    done = traceprop(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("func @table") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dump", "prep.py"], "must be FILE.py:FUNCTION"),
        (["dump", "none.py:f"], "none.py: there is no such file"),
        (["dump", "no_such_module:f"], "cannot import no_such_module"),
        (["dump", "prep.py:wrong"], "no function 'wrong'; it has: centre, table"),
        (["dump", "prep.py:NUMBER"], "no function 'NUMBER'"),
        (["dump", "prep.py:centre"], "also needs x: add --arg x=PATH.csv"),
        (["dump", "prep.py:centre", "--array", "y=numbers.csv"], "no parameter y; its parameters: x"),
        (["dump", "prep.py:centre", "--array", "x"], "must be NAME=PATH"),
        (["dump", "prep.py:centre", "--arg", "x=f65[N]"], "'f65[N]' is no type such as f64[N,4]"),
        (["dump", "prep.py:centre", "--arg", "x=f64[]"], "declared as f64[], which has no rows"),
        (["dump", "prep.py:centre", "--arg", "x=f64[N,M]"], "only the number of rows may be a symbol"),
        (
            ["dump", "prep.py:centre", "--array", "x=numbers.csv", "--stage", "late"],
            "the stages are traced, instrument",
        ),
        (["dump", "prep.py:centre", "--array", "x=missing.csv"], "missing.csv"),
        (["dump", "prep.py:centre", "--array", "x=people.csv"], "line 2, column 'job'"),
        (["bench"], "top folder of a checkout"),
    ],
)
def test_bad_input_is_one_message(folder: Path, arguments: list[str], message: str) -> None:
    done = traceprop(*arguments, cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["demo", "--model", "forest"], ["demo", "--seed", "one"], ["no-such-command"]])
def test_unknown_options_are_usage_errors(tmp_path: Path, arguments: list[str]) -> None:
    done = traceprop(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_demo_into_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = traceprop("demo", "--out", "taken", cwd=tmp_path)
    assert done.returncode == 1
    assert "taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor(tmp_path: Path) -> None:
    done = traceprop("doctor", "--json", cwd=tmp_path)
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0
    assert found["a small program"]["state"] == "ok"
    assert found["kernels"]["state"] in ("ok", "missing")
    assert found["numpy"]["state"] == "ok"
    assert "traceprop" in traceprop("doctor", cwd=tmp_path).stdout


def test_doctor_names_a_missing_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPROP_DATA", str(tmp_path / "nowhere"))
    done = traceprop("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert {finding["what"]: finding["state"] for finding in json.loads(done.stdout)}["data sets"] == "broken"
