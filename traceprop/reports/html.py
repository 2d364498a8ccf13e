"""A report as one HTML page: no script, nothing loaded from elsewhere, every text escaped."""

from __future__ import annotations

import importlib.util
from importlib import resources
from typing import Any

from traceprop.errors import MissingExtraError
from traceprop.reports.picture import picture

VERDICTS = {
    "exact": "computed as defined, without approximation",
    "certified": "with a proven bound on the error",
    "estimated": "an estimate, not proven",
    "refused": "no answer, because it could not be trusted",
}


def render(report: dict[str, Any]) -> str:
    """Return the page for a report that `compliance_report` gave. Raises MissingExtraError without jinja2."""
    require_jinja2()
    import jinja2
    from markupsafe import Markup

    templates = resources.files("traceprop.reports") / "templates"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"thousands": thousands, "percent": percent, "signed": signed, "seconds": seconds}
    page = environment.from_string((templates / "report.html").read_text(encoding="utf-8"))
    style = (templates / "report.css").read_text(encoding="utf-8")
    # Both are ours: the style has no outside text, and the picture escapes every text that it draws.
    drawn, style = Markup(picture(report)), Markup(style)  # noqa: S704
    return page.render(report=report, in_words=VERDICTS, style=style, picture=drawn, bars=bars(report))


def require_jinja2() -> None:
    """Raise MissingExtraError where jinja2 is missing: asked before the work that a page is about."""
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtraError(
            "an HTML report needs jinja2: pip install 'traceprop[report]', or give an output_path that ends in .json"
        )


def bars(report: dict[str, Any]) -> dict[str, float]:
    """Widths in percent of the influence bars by sample, the largest of the harmful rows being 100."""
    attribution = report["attribution"] or {}
    entries = attribution.get("most_harmful", [])
    largest = max((abs(entry["influence_score"] or 0.0) for entry in entries), default=0.0)
    if not largest:
        return {}
    return {str(entry["rank"]): 100 * abs(entry["influence_score"] or 0.0) / largest for entry in entries}


def thousands(number: float) -> str:
    """1234 → 1,234."""
    return f"{number:,}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.846 → 84.6 %."""
    return "not known" if share is None else f"{100 * share:.{digits}f} %"


def signed(number: float | None, digits: int = 4) -> str:
    """-0.1 → −0.1000, with the sign always there."""
    return "not known" if number is None else f"{number:+.{digits}f}".replace("-", "−")


def seconds(time: float) -> str:
    """0.0123 → 12 ms; 3.2 → 3.2 s."""
    return f"{1000 * time:.0f} ms" if time < 1 else f"{time:.1f} s"
