"""The parts of a report, each made from what one stage knows. All are plain dicts, lists, texts and numbers."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.reports.story import Comparison, Prediction

if TYPE_CHECKING:
    from traceprop.explain import AttributionResult, UnlearningResult
    from traceprop.ir.location import Location
    from traceprop.lineage import View


def data_section(view: View, shape: tuple[int, ...]) -> dict[str, Any]:
    """Which files the prepared data came from, how many of their rows it has, and whether all rules are exact."""
    pairs = view.row_pairs("direct")
    sources = []
    for source_id in view.sources():
        source = view.source(source_id)
        _, rows = pairs.get(source_id, (None, np.empty(0, np.int64)))
        used = len(np.unique(rows))
        sources.append(
            {
                "source_id": source_id,
                "file": source.path,
                "sha256": file_sha256(source.path),
                "rows": int(source.n_rows),
                "rows_used": used,
                "rows_left_out": int(source.n_rows) - used,
                "columns": list(source.columns) if source.columns else None,
            }
        )
    return {"shape": [int(size) for size in shape], "exact": bool(view.exact), "sources": sources}


def file_sha256(path: str | None) -> str | None:
    """Return the checksum of a file as it is now, or None where there is no such file."""
    if path is None or not Path(path).is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def step_section(view: View) -> list[dict[str, Any]]:
    """The steps from the sources on, in order, each with the user's line and its text."""
    return [
        {
            "name": step.name,
            "location": step.location or None,
            "code": code_of(step.code),
            "inputs": list(step.inputs),
            "output": step.output,
        }
        for step in view.ops()
    ]


def code_of(location: Location | None) -> str | None:
    """Return the text of the user's line, where the file can be read."""
    if location is None:
        return None
    return linecache.getline(location.path or location.file, location.line).strip() or None


def model_section(model: object) -> dict[str, Any] | None:
    """The model's class, the number of its parameters, and a checksum over their bytes."""
    if model is None:
        return None
    parameters = {name: np.ascontiguousarray(value) for name, value in parameters_of(model).items()}
    digest = hashlib.sha256()
    for name, value in parameters.items():
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return {
        "class": f"{type(model).__module__.split('.')[0]}.{type(model).__name__}",
        "parameters": {name: list(value.shape) for name, value in parameters.items()},
        "parameter_count": sum(int(value.size) for value in parameters.values()),
        "parameters_sha256": digest.hexdigest() if parameters else None,
    }


def parameters_of(model: object) -> dict[str, np.ndarray]:
    """Return a model's parameters by name: torch modules, fitted scikit-learn models, and dicts of arrays."""
    if hasattr(model, "state_dict"):
        return {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    if isinstance(model, Mapping):
        return {str(name): np.asarray(value) for name, value in model.items()}
    fitted = {name: getattr(model, name, None) for name in ("coef_", "intercept_")}
    return {name: np.asarray(value) for name, value in fitted.items() if value is not None}


def followed_section(view: View, attribution: dict[str, Any] | None) -> dict[str, Any] | None:
    """One row, from its line in a file to its place in the prepared data: the most harmful one, else the first."""
    harmful = (attribution or {}).get("most_harmful")
    if harmful:
        first = harmful[0]
        names = ("source_id", "row", "line", "text", "influence_score")
        return {**{name: first[name] for name in names}, "prepared_row": first["sample_index"]}
    located = view.locate(0)
    if not located:
        return None
    first = located[0]
    return {
        "source_id": first.source_id,
        "row": first.row,
        "line": first.line,
        "text": first.text,
        "influence_score": None,
        "prepared_row": 0,
    }


def prediction_section(prediction: Prediction | None) -> dict[str, Any] | None:
    """The prediction asked about."""
    return None if prediction is None else {**asdict(prediction), "row": dict(prediction.row)}


def attribution_section(result: AttributionResult | None, k: int) -> dict[str, Any] | None:
    """The rows that hurt the right answer most, and those that help it most, each with the text of its line."""
    if result is None:
        return None
    section: dict[str, Any] = {"verdict": result.verdict, "why": result.why}
    if result.verdict != "refused":
        section["most_harmful"] = [plain(entry) for entry in result.most_harmful(k)]
        section["most_helpful"] = [plain(entry) for entry in result.top(k)]
    return section


def correction_section(result: UnlearningResult | None, comparison: Comparison | None) -> dict[str, Any] | None:
    """What was taken out of the model, and how the corrected model compares with others."""
    if result is None:
        return None
    section: dict[str, Any] = {
        "verdict": result.verdict,
        "why": result.why,
        "verified": plain(result.verified),
        "influence_before": plain(result.influence_before),
        "influence_after": plain(result.influence_after),
        "metrics": plain(result.metrics),
    }
    if comparison is not None:
        section["models"] = [asdict(model) for model in comparison.models]
        section["figures"] = {name: float(value) for name, value in comparison.figures.items()}
        section["targets"] = list(comparison.targets)
        section["distances"] = [list(row) for row in comparison.distances]
    return section


def plain(value: Any) -> Any:
    """Return `value` in JSON's own types: NumPy scalars and arrays as numbers and lists, NaN and ±inf as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
