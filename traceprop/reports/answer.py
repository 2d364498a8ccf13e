"""The report's first sentences: what somebody reads who reads nothing else."""

from __future__ import annotations

from typing import Any


def answer(report: dict[str, Any]) -> list[str]:
    """Return two to four sentences that say what the report found."""
    return [*_data(report), *_prediction(report), *_attribution(report), *_correction(report)]


def _data(report: dict[str, Any]) -> list[str]:
    if report["prediction"]:
        return []
    sources = report["data"]["sources"]
    used, rows = sum(source["rows_used"] for source in sources), sum(source["rows"] for source in sources)
    names = _listed([source["source_id"] for source in sources])
    whence = f"{'This file has' if len(sources) == 1 else 'These have'} {rows:,} rows, of which {used:,} were used"
    return [f"The data was prepared from {names} in {len(report['steps'])} steps. {whence}."]


def _prediction(report: dict[str, Any]) -> list[str]:
    prediction = report["prediction"]
    if not prediction:
        return []
    said, truth = prediction["said"], prediction["truth"]
    if said == truth:
        return [f"The model says {said}, which is right."]
    return [
        f"The model says {said}; the right answer is {truth}, to which it gave {100 * prediction['probability']:.1f} %."
    ]


def _attribution(report: dict[str, Any]) -> list[str]:
    harmful = (report["attribution"] or {}).get("most_harmful")
    if not harmful:
        return []
    first = harmful[0]
    where = (
        f"line {first['line']} of {first['source_id']}"
        if first["line"]
        else f"row {first['row']} of {first['source_id']}"
    )
    return [f"The row that pushed it hardest away from the right answer is {where}."]


def _correction(report: dict[str, Any]) -> list[str]:
    correction = report["correction"]
    if not correction or correction["verdict"] == "refused":
        return []
    models = correction.get("models") or []
    if len(models) < 2 or not report["prediction"]:
        return ["The rows named below were taken out of the model without training it again."]
    before, after = models[0]["probability"], models[1]["probability"]
    turned = ", and so turned the answer right" if before < 0.5 <= after else ""
    return [
        f"Taking {correction['figures']['rows_removed']:.0f} harmful rows out of the model, without training it again, "
        f"moved the right answer from {100 * before:.1f} % to {100 * after:.1f} %{turned}."
    ]


def _listed(names: list[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
