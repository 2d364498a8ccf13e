"""What a report may claim: each claim stands under proven or estimated, because of a verdict or of a check."""

from __future__ import annotations

from typing import Any

PROVEN_VERDICTS = {"exact", "certified"}


def statements(report: dict[str, Any]) -> dict[str, list[str]]:
    """Sort what the report says into `proven`, `estimated` and `not_covered`."""
    sorted_: dict[str, list[str]] = {"proven": [], "estimated": [], "not_covered": []}
    _lineage(report, sorted_)
    _attribution(report, sorted_)
    _correction(report, sorted_)
    _held_fixed(report, sorted_)
    _measured(report, sorted_)
    sorted_["not_covered"] += [
        "Whether the system meets a law or a standard. This report states facts about data, steps and a model; it is "
        "no assessment of conformity and no legal advice.",
        "Whether the content of the files is true, and how they came to be before they were read.",
    ]
    if report["attribution"] is not None:
        sorted_["not_covered"].append(
            "Whether the rows named are wrong. Influence tells what they did to one prediction; true rows can do harm, too."
        )
    if report["system"]["high_risk_category"] is not None:
        sorted_["not_covered"].append(
            "Whether the category named above is the right one: it is repeated as stated by the deployer."
        )
    return sorted_


def _lineage(report: dict[str, Any], sorted_: dict[str, list[str]]) -> None:
    data, steps = report["data"], report["steps"]
    if data["exact"]:
        sorted_["proven"].append(
            f"Where every row came from: each of the {len(steps)} steps has an exact rule for which cells it reads, "
            "and what the data decided (which rows a filter kept, for example) was recorded while it ran."
        )
    else:
        sorted_["estimated"].append(
            "Where rows came from: at least one step has no exact rule, so the rows named include every true one and "
            "may include others."
        )
    read = [source for source in data["sources"] if source["sha256"]]
    if read:
        names = ", ".join(source["source_id"] for source in read)
        sorted_["proven"].append(f"Which files were there when the report was written ({names}): by their SHA-256.")


def _attribution(report: dict[str, Any], sorted_: dict[str, list[str]]) -> None:
    attribution = report["attribution"]
    if attribution is None:
        return
    if attribution["verdict"] == "refused":
        sorted_["not_covered"].append(f"Which rows influenced the prediction: refused. {attribution['why']}")
        return
    key = "proven" if attribution["verdict"] in PROVEN_VERDICTS else "estimated"
    sorted_[key].append(f"Influence, as a number ({attribution['verdict']}): {attribution['why']}.")
    sorted_["estimated"].append(
        "What removing one of the rows named would do by itself: influence tells it to first order, with the other rows' "
        "features as they are."
    )


def _correction(report: dict[str, Any], sorted_: dict[str, list[str]]) -> None:
    correction = report["correction"]
    if correction is None:
        return
    if correction["verdict"] == "refused":
        sorted_["not_covered"].append(f"A corrected model: refused. {correction['why']}")
        return
    key = "proven" if correction["verdict"] in PROVEN_VERDICTS else "estimated"
    sorted_[key].append(f"That the rows are out of the corrected model ({correction['verdict']}): {correction['why']}.")


def _held_fixed(report: dict[str, Any], sorted_: dict[str, list[str]]) -> None:
    if report["correction"] and report["correction"]["verdict"] != "refused":
        sorted_["estimated"].append(
            "What the whole preparation would give without the rows: the correction holds features fixed, so averages and "
            "categories are still those of all rows. Where a model re-run from the files stands beside it, the difference "
            "is measured."
        )


def _measured(report: dict[str, Any], sorted_: dict[str, list[str]]) -> None:
    if report["correction"] and report["correction"].get("models"):
        sorted_["proven"].append(
            "How the models compare: the retrained ones were really trained for this report, and all figures beside "
            "them are measured on the same rows."
        )
