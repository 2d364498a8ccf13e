"""What the benchmark of lineage compares says the same, at sizes that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`benchmarks` is a folder of the checkout, not part of the installed package."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_questions_have_the_answers_of_pair_tables(tmp_path: Path) -> None:
    from benchmarks.lineage import ask
    from benchmarks.tasks.lineage_questions import forward, one_cell

    for question in [*one_cell(30, tmp_path), *forward(4000, tmp_path)]:
        found = ask(question, turns=1)
        assert sum(found["found"].values()) > 0
        assert found["duckdb"]["ratios"]


def test_a_wrong_answer_is_no_figure(tmp_path: Path) -> None:
    from benchmarks.lineage import ask
    from benchmarks.tasks.lineage_questions import one_cell

    question = one_cell(30, tmp_path)[0]
    with pytest.raises(AssertionError, match="pairs say otherwise"):
        ask(question._replace(traceprop=lambda: {"x": question.duckdb()["x"] + 1}), turns=1)


def test_every_kind_of_op_is_weighed(tmp_path: Path) -> None:
    from benchmarks.lineage import kept_table, weigh
    from benchmarks.tasks.lineage_kept import COUNT, cases

    kept = {case.name: weigh(case, tmp_path) for case in cases(1600)}
    assert len(kept) == COUNT == len(kept_table(kept)["rows"])
    for found in kept.values():
        assert 0 < found["kept"] < found["raw"]
        assert 0 < found["provrc"] < found["raw"]
        if not found["bound"]:
            assert found["kept"] <= 256
            assert found["provrc_rows"] <= 5


def test_lineage_changes_no_result() -> None:
    import traceprop as tp
    from benchmarks.tasks.lineage_costs import steps

    for step in steps(800):
        mine = step.traced()
        with tp.granularity(None):
            assert step.traced().equals(mine)
        assert step.polars().height == mine.height
