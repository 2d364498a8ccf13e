"""Step 7: the report for people and for machines, and the demo's figures as one dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traceprop as tp
from traceprop.demo.files import OFFICES, Files
from traceprop.demo.forgetting import Forgotten, Judged
from traceprop.demo.pipeline import CATEGORIES, NUMBERS
from traceprop.demo.preparing import Prepared
from traceprop.demo.question import Question, Trained
from traceprop.reports.compliance import write_report
from traceprop.reports.sections import plain
from traceprop.reports.story import ComparedModel, Comparison, Prediction


def model_rows(forgotten: Forgotten) -> list[tuple[str, str, Judged]]:
    """The four models in reading order: name, what it is, figures."""
    n, office = len(forgotten.rows), forgotten.office
    return [
        ("original", "trained on all rows", forgotten.original),
        (
            "corrected",
            f"{n} rows of {office} taken out of pipeline and model, nothing trained again",
            forgotten.corrected,
        ),
        ("retrained", "trained again, on the features of the corrected pipeline", forgotten.retrained),
        ("re-run", "everything again, from files without them", forgotten.rerun),
    ]


def figures(forgotten: Forgotten) -> dict[str, float]:
    """How close the corrected model is to the retrained one and to the whole pipeline re-run, in percent.

    And what was predicted for the row asked about, against what re-running gave, in log-odds.
    """
    found = {"rows_removed": float(len(forgotten.rows))}
    for name, target in (("retrained", forgotten.retrained), ("rerun", forgotten.rerun)):
        found[f"gap_closed_{name}_percent"] = forgotten.gap_closed(target)
        found[f"forget_logits_way_left_{name}_percent"] = forgotten.way_left(target, "forget")
        found[f"test_logits_way_left_{name}_percent"] = forgotten.way_left(target, "test")
    found["predicted_log_odds_change"] = forgotten.predicted
    for name, target in (("corrected", forgotten.corrected), ("rerun", forgotten.rerun)):
        found[f"measured_log_odds_change_{name}"] = forgotten.measured(target)
    return found


TARGETS = ("retrained", "re-run")


def distances(forgotten: Forgotten) -> list[tuple[str, str, str, str]]:
    """The same for reading: what is measured, against each of TARGETS, and what would be right."""
    found = figures(forgotten)

    def row(name: str, figure: str, right: str) -> tuple[str, str, str, str]:
        retrained, rerun = (f"{found[f'{figure}_{target}_percent']:.2f} %" for target in ("retrained", "rerun"))
        return name, retrained, rerun, right

    return [
        row("gap closed (loss on the removed rows)", "gap_closed", "100 %"),
        row("distance left, answers on removed rows", "forget_logits_way_left", "0 %"),
        row("distance left, answers on held-out rows", "test_logits_way_left", "0 %"),
        (
            "change of the right answer's log-odds, measured",
            f"{forgotten.measured(forgotten.retrained):+.4f}",
            f"{forgotten.measured(forgotten.rerun):+.4f}",
            f"{forgotten.predicted:+.4f} predicted",
        ),
    ]


def write_reports(
    files: Files, prepared: Prepared, trained: Trained, question: Question, forgotten: Forgotten
) -> tuple[dict[str, Any], Path, Path]:
    """Write report.json and report.html; return the report and their paths."""
    report = tp.compliance_report(
        tensor=[prepared.X, prepared.y],
        model=forgotten.result.model,
        system_name="Income estimate (demo)",
        system_version="1.0",
        deployer_name="two census offices",
        prediction=Prediction(
            row={name: question.row[name] for name in (*NUMBERS, *CATEGORIES)},
            said=question.said,
            truth=question.truth,
            probability=question.probability,
            file=str(files.held_out),
            line=question.line,
        ),
        attribution=question.result,
        unlearning=forgotten.result,
        comparison=Comparison(
            models=[
                ComparedModel(name, judged.probability, judged.accuracy, judged.forgotten_loss, judged.seconds, note)
                for name, note, judged in model_rows(forgotten)
            ],
            figures=figures(forgotten),
            targets=TARGETS,
            distances=distances(forgotten),
        ),
        output_path=files.folder / "report.json",
    )
    html = write_report(report, files.folder / "report.html")
    return report, files.folder / "report.json", html


def results(
    files: Files,
    prepared: Prepared,
    trained: Trained,
    question: Question,
    forgotten: Forgotten,
    report: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Return everything found, in JSON's own types. What differs from run to run stands under `seconds`."""
    found = {
        "sources": {
            source["source_id"]: {key: source[key] for key in ("file", "rows", "rows_used", "rows_left_out")}
            for source in report["data"]["sources"]
        },
        "program": {
            "features": list(prepared.features.shape),
            "text_reads_back": prepared.reads_back,
            "ops_run_before_asked": prepared.ops_run_before,
            "ops_run_after": prepared.ops_run_after,
            "max_difference_from_pandas": prepared.difference,
            "labels_equal": prepared.labels_equal,
            "lineage_exact": report["data"]["exact"],
            "steps": report["steps"],
        },
        "training": {"held_out_rows": len(trained.held_out_labels), "accuracy": trained.accuracy},
        "question": {
            "file": str(files.held_out),
            "line": question.line,
            "text": question.text,
            "said": question.said,
            "truth": question.truth,
            "probability_of_truth": question.probability,
            "wrong_predictions": question.n_wrong,
        },
        "attribution": report["attribution"],
        "correction": {
            "source_id": forgotten.office,
            "rows": forgotten.rows,
            "verdict": forgotten.result.verdict,
            "why": forgotten.result.why,
            "verified": forgotten.result.verified,
            "probability_of_truth": {name: judged.probability for name, _, judged in model_rows(forgotten)},
            "accuracy": {name: judged.accuracy for name, _, judged in model_rows(forgotten)},
            "loss_on_removed_rows": {name: judged.forgotten_loss for name, _, judged in model_rows(forgotten)},
            **figures(forgotten),
        },
        "files": {
            name: str(files.folder / name)
            for name in ("report.html", "report.json", "program-traced.txt", "program-optimized.txt", "program.html")
        },
        "seconds": {
            "total": seconds,
            **{name.replace("-", "_"): judged.seconds for name, _, judged in model_rows(forgotten)},
        },
    }
    assert set(found["sources"]) == set(OFFICES)
    return plain(found)  # type: ignore[no-any-return]
