"""How figures are measured, kept and shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`benchmarks` is a folder of the checkout, not part of the installed package."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_interleaved_gives_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import harness

    taken = iter([9.0, 9.0, *[1.0, 3.0] * 7])  # the first calls are told apart, and who goes first alternates
    monkeypatch.setattr(harness, "seconds", lambda call: call() * next(taken))
    found = harness.interleaved(lambda: 1.0, lambda: 1.0, pairs=7)
    assert found["ratios"] == [3.0, 1 / 3, 3.0, 1 / 3, 3.0, 1 / 3, 3.0]
    assert found["median"] == 3.0
    assert found["low"] <= found["median"] <= found["high"]
    assert found["plain_first_seconds"] == found["traced_first_seconds"] == 9.0


def test_results_say_what_they_were_measured_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import harness

    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    path = harness.write_result("overhead", {"figure": 1.5})
    found = json.loads(path.read_text())
    assert found["figure"] == 1.5
    assert found["measured_on"]["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert harness.read_result("overhead") == found
    assert harness.read_result("never measured") is None


def test_tables_go_between_their_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import harness, readme

    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    harness.write_result("speed", {"table": harness.table(["what", "ratio"], [["all", "0.9"]], "Good.")})
    text = "before\n<!-- benchmarks:speed -->\nold\n<!-- /benchmarks:speed -->\nafter\n"
    once = readme.updated(text)
    assert "| all | 0.9 |" in once
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert readme.updated(once) == once


def test_several_tables_go_one_below_the_other() -> None:
    from benchmarks.harness import table
    from benchmarks.markdown import markdown

    place = {"cores": 2, "processor": "some"}
    one, two = table(["a", "b"], [["1", "2"]], "First."), table(["c"], [["3"]], "Second.")
    shown = markdown({"tables": [one, two], "measured_on": place})
    assert shown.endswith("| 3 |\n\nSecond. Measured on 2 cores of some.")
    assert "| 1 | 2 |\n\nFirst.\n\n| c |" in shown
    assert markdown({"table": one, "measured_on": place}).endswith("First. Measured on 2 cores of some.")


def test_headlines_are_some_rows() -> None:
    from benchmarks.harness import table
    from benchmarks.markdown import markdown

    place = {"cores": 2, "processor": "some"}
    rows = [["one", "a", "1"], ["", "b", "2"], ["two", "a", "3"], ["", "b", "4"], ["", "c", "5"]]
    result = {
        "name": "some",
        "tables": [table(["what", "how", "n"], rows), table(["other"], [["x"]])],
        "measured_on": place,
    }
    shown = markdown(result, r".* \| [bc] \|")
    assert [line for line in shown.splitlines() if line.startswith("|")][2:] == [
        "| one | b | 2 |",
        "| two | b | 4 |",
        "|  | c | 5 |",
    ]
    with pytest.raises(LookupError, match="some"):
        markdown(result, "three")


def test_a_table_is_rectangular() -> None:
    from benchmarks.harness import table

    with pytest.raises(ValueError, match="2 cells"):
        table(["a", "b"], [["1"]])


def test_unknown_benchmarks_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit):
        main(["no-such"])
    assert "overhead" in capsys.readouterr().err


def test_overhead_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of its groups, for real; the others, which take minutes and a package index, as if they had failed."""
    pytest.importorskip("pandas")
    from benchmarks import overhead
    from benchmarks.__main__ import main

    apart = overhead.apart

    def some(group: str, quick: bool) -> object:
        return apart(group, quick) if group in ("steady", "by_torch") else overhead.EMPTY[group]

    monkeypatch.setattr(overhead, "apart", some)
    monkeypatch.setattr(overhead, "training", lambda quick: {})
    assert main(["overhead", "--quick"]) == 0
    assert "traceprop" in capsys.readouterr().out


def test_the_loops_that_overhead_times_have_figures_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import overhead
    from benchmarks import training as loops

    kept: dict[str, object] = {}
    monkeypatch.setattr(loops, "main", lambda quick: {"quick": quick})
    monkeypatch.setattr(overhead, "write_result", kept.__setitem__)
    assert overhead.training(quick=True) == {"quick": True}
    assert not kept
    assert overhead.training(quick=False) == kept["training"] == {"quick": False}
