"""Points of Annex III as people write them."""

from __future__ import annotations

import pytest

from traceprop.errors import ReportError
from traceprop.reports.annex import AREAS, POINTS, annex_point


@pytest.mark.parametrize("written", ["5(b)", "5b", "5 (B)", "Annex III, point 5(b)", "annex iii 5(b)", "5.b"])
def test_ways_to_write_a_point(written: str) -> None:
    assert annex_point(written).point == "5(b)"


def test_an_area_alone_is_a_point() -> None:
    assert annex_point("2").about is None
    assert "critical infrastructure" in str(annex_point("2"))


@pytest.mark.parametrize("written", ["", "9", "0(a)", "5(e)", "2(a)", "banking", "5(bb)", "5(b) and 4(a)"])
def test_what_is_no_point_is_an_error(written: str) -> None:
    with pytest.raises(ReportError, match="not a point of"):
        annex_point(written)


def test_every_point_has_an_area() -> None:
    assert {int(point[0]) for point in POINTS} <= set(AREAS)
