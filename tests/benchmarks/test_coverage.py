"""Coverage is counted as found: the judge tells right from wrong, and the page and the table are those of the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.case import Case, floats
from tests.lineage.judge import judge

SPARSE = {"NumPy": 9, "tables": 11, "PyTorch": 29, "JAX": 61}
"""One function of so many is tried again by the tests."""
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def without_rule(values):
    return np.asarray(values)[::-1]


def test_the_judge_says_what_a_function_is():
    assert judge(Case(np.add, (floats(3), floats(3)))).outcome == "exact"
    unknown = judge(Case(np.polymul, (floats(3), floats(3))))
    assert unknown.outcome == "inexact"
    assert "numpy.polymul" in unknown.why
    refused = judge(Case(lambda v: v if v[0] > 0 else -v, (floats(3),)))
    assert refused.outcome == "refused"
    assert "np.where" in refused.why


def test_the_judge_finds_rules_that_are_wrong():
    """A map that names too little is wrong; one that names too much is inexact."""
    for rule, outcome in {
        "(i) <- %values[i]": "wrong",
        "(i) <- %values[2-i]": "exact",
        "(i) <- %values[*]": "inexact",
    }.items():
        registered = tp.register_rule(without_rule, rule)
        assert judge(Case(registered, (floats(3),))).outcome == outcome, rule


def test_findings_count_by_the_worst_case():
    from benchmarks.surfaces.finding import worst

    found = worst([("axis", "exact", ""), ("flat", "refused", "no rule"), ("wide", "inexact", "more")])
    assert (found.outcome, found.why, found.exact, found.cases) == ("refused", "flat: no rule", 1, 3)


def test_a_piece_of_the_work():
    from benchmarks import coverage

    front, family, found = coverage.findings(("NumPy", "shapes", ["ravel", "tile"]))
    assert (front, family) == ("NumPy", "shapes")
    assert {name: each["outcome"] for name, each in found.items()} == {"ravel": "exact", "tile": "exact"}
    result = coverage.summary({"NumPy": {family: found}})
    assert result["table"]["rows"][0][:3] == ["NumPy", "2", "2"]


def test_the_figures_are_those_of_the_code():
    """Of every family one function in nine is tried again: it must be no worse than what was counted."""
    from benchmarks import coverage
    from benchmarks.harness import read_result
    from benchmarks.surfaces.finding import OUTCOMES
    from benchmarks.surfaces.jax import PRIMITIVES

    result = read_result("coverage")
    if result is None:
        pytest.skip("coverage has not been measured")
    for front, counted in result["fronts"].items():
        for family, functions in counted["families"].items():
            if family == PRIMITIVES:  # counted by the functions in which they occur
                continue
            names = list(functions)[:: SPARSE[front]]
            for name, found in coverage.findings((front, family, names))[2].items():
                worse = OUTCOMES.index(found["outcome"]) > OUTCOMES.index(functions[name]["outcome"])
                assert not worse, (front, name, found)


def test_no_function_is_left_out_silently():
    pytest.importorskip("torch")
    from tests.lineage import torch_cases

    named = {name for cases in torch_cases.FAMILIES.values() for name in cases}
    assert [name for name in torch_cases.core() if name not in named and name not in torch_cases.LEFT_OUT] == []
    pytest.importorskip("jax")
    from tests.lineage import jax_surface

    named = {name for cases in jax_surface.FAMILIES.values() for name in cases}
    assert [name for name in jax_surface.public() if name not in named and name not in jax_surface.LEFT_OUT] == []
    assert [name for name in jax_surface.LEFT_OUT if name in named or name not in jax_surface.public()] == []


def test_primitives_are_counted_where_they_occur():
    pytest.importorskip("jax")
    from benchmarks.surfaces import jax as surface

    families = {
        "folds": {
            "a": {"outcome": "exact", "parts": {"sin": "", "while": "turns"}},
            "b": {"outcome": "exact", "parts": {"sin": ""}},
        }
    }
    found = surface.merged(families)[surface.PRIMITIVES]
    assert (found["sin"]["outcome"], found["sin"]["cases"]) == ("exact", 2)
    assert (found["while"]["outcome"], found["while"]["why"]) == ("inexact", "turns")


def test_the_page_is_that_of_the_figures():
    from benchmarks.harness import read_result
    from benchmarks.surfaces.page import PAGE, page

    result = read_result("coverage")
    if result is None:
        pytest.skip("coverage has not been measured")
    assert PAGE.read_text(encoding="utf-8") == page(result), "run `make readme`"
