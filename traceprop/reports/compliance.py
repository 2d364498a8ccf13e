"""The compliance report: which data made a model, through which steps, what a prediction rests on, what was removed."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traceprop.errors import ReportError
from traceprop.reports import sections
from traceprop.reports.annex import annex_point
from traceprop.reports.answer import answer
from traceprop.reports.atomic import write_text
from traceprop.reports.html import render, require_jinja2
from traceprop.reports.statements import statements
from traceprop.reports.story import Comparison, Prediction

if TYPE_CHECKING:
    from traceprop.explain import AttributionResult, UnlearningResult

SCHEMA = "traceprop.compliance-report/1"


def compliance_report(
    tensor: Any,
    model: object = None,
    system_name: str = "",
    system_version: str = "",
    deployer_name: str = "",
    high_risk_category: str | None = None,
    output_path: str | os.PathLike[str] | None = None,
    *,
    prediction: Prediction | None = None,
    attribution: AttributionResult | None = None,
    unlearning: UnlearningResult | None = None,
    comparison: Comparison | None = None,
    top_k: int = 10,
) -> dict[str, Any]:
    """Put together what is known about a system's data, model and one prediction, and write it down.

    Parameters
    ----------
    tensor : a lazy value, or a list or dict of them
        The prepared data; its lineage gives sources and steps.
    model : a torch module, a fitted scikit-learn model or a dict of arrays, optional
        Described by its class, the number of its parameters and a checksum; it is not run.
    system_name, system_version, deployer_name : str
        Repeated in the report as stated.
    high_risk_category : str, optional
        A point of Annex III of Regulation (EU) 2024/1689, such as `"5(b)"`, as the deployer states it. The report
        repeats it and decides nothing.
    output_path : path, optional
        Ends in `.json` or `.html`; the file is there whole or not at all. HTML needs the extra `report`.
    prediction, attribution, unlearning, comparison : optional
        The prediction asked about (`traceprop.reports.story.Prediction`), and what `engine.explain`, `tp.unlearn` and
        a comparison of models gave for it.
    top_k : int
        How many rows of an attribution the report lists.

    Returns
    -------
    dict
        The report, in JSON's own types; `report["statements"]` says what is proven and what is estimated.

    Raises
    ------
    ReportError
        For another ending, or a category that Annex III doesn't have; nothing is written then.
    MissingExtraError
        For HTML without jinja2.

    Examples
    --------
    >>> report = tp.compliance_report(x, system_name="CreditScorer-v1", output_path="report.json")  # doctest: +SKIP
    """
    from traceprop.lineage import provenance

    ending = _ending(output_path)
    if ending == ".html":
        require_jinja2()
    point = None if high_risk_category is None else annex_point(high_risk_category)
    view = provenance(tensor)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "written_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "system": {
            "name": system_name,
            "version": system_version,
            "deployer": deployer_name,
            "high_risk_category": None
            if point is None
            else {"point": point.point, "area": point.area, "about": point.about, "text": str(point)},
        },
        "model": sections.model_section(model),
        "data": sections.data_section(view, _shape(tensor)),
        "steps": sections.step_section(view),
        "prediction": sections.prediction_section(prediction),
        "attribution": sections.attribution_section(attribution, top_k),
        "followed": None,
        "correction": sections.correction_section(unlearning, comparison),
        "program": str(view.program),
    }
    report["followed"] = sections.followed_section(view, report["attribution"])
    report["answer"] = answer(report)
    report["statements"] = statements(report)
    report = sections.plain(report)
    if output_path is not None and ending is not None:
        write_report(report, output_path)
    return report


def write_report(report: dict[str, Any], output_path: str | os.PathLike[str]) -> Path:
    """Write a report that `compliance_report` gave, as JSON or HTML by the ending of `output_path`."""
    if _ending(output_path) == ".json":
        return write_text(output_path, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return write_text(output_path, render(report))


def _ending(output_path: str | os.PathLike[str] | None) -> str | None:
    """Return the ending of a path that a report can be written to, checked before any work is done."""
    if output_path is None:
        return None
    ending = Path(output_path).suffix.lower()
    if ending not in (".json", ".html"):
        raise ReportError(f"output_path={os.fspath(output_path)!r} must end in .json or .html")
    return ending


def _shape(tensor: Any) -> tuple[int, ...]:
    """Return the shape of the prepared data; of several values, that of the first."""
    if isinstance(tensor, dict):
        tensor = list(tensor.values())
    if isinstance(tensor, list | tuple):
        tensor = tensor[0]
    return tuple(int(size) for size in tensor.shape)
