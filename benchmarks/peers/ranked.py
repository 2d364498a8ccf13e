"""Rows of a table from what the libraries found: of a method at several settings, the default and the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.peers.measured import PeerResult


def best(found: Mapping[str, PeerResult], lds_of: Callable[[np.ndarray], float]) -> dict[str, PeerResult]:
    """Leave of each method its first setting, and the best of them by the truth where that is another one.

    Choosing by the truth is a favour to them that no user could do: the title says so.
    """
    groups: dict[str, list[PeerResult]] = {}
    for result in found.values():
        groups.setdefault(result.group, []).append(result)
    left: dict[str, PeerResult] = {}
    for name, results in groups.items():
        if len(results) == 1:
            left[name] = results[0]
            continue
        left[f"{name}, default"] = results[0]
        judged = [(lds_of(result.scores), result) for result in results if result.scores is not None]
        if judged:
            left[f"{name}, best of {len(results)} settings by the truth"] = max(judged, key=lambda pair: pair[0])[1]
    return left


def rows(
    found: Mapping[str, PeerResult], judge: Callable[[np.ndarray], np.ndarray], fit_cpu_seconds: float
) -> tuple[dict[str, dict[str, Any]], list[list[str]]]:
    """Figures by method, and the cells of a table: name, LDS, its spread over test rows, cost.

    Parameters
    ----------
    judge
        Gives for scores (t, n) the correlation with the truth of each test row, (t,).
    fit_cpu_seconds
        Of one training run; costs are multiples of it.
    """
    figures: dict[str, dict[str, Any]] = {}
    cells = []
    for name, result in best(found, lambda scores: float(np.mean(judge(scores)))).items():
        about = {"library": result.library, "version": result.version, "settings": result.settings}
        if result.scores is None:
            figures[name] = {**about, "failed": result.failed}
            cells.append([name, "failed", "", f"({result.failed})"])
            continue
        lds = judge(result.scores)
        cost = result.cpu_seconds / fit_cpu_seconds
        figures[name] = {
            "lds": float(lds.mean()),
            "sd": float(lds.std()),
            "standard_error": float(lds.std() / np.sqrt(len(lds))),
            "cpu_seconds": result.cpu_seconds,
            "wall_seconds": result.wall_seconds,
            "cost": cost,
            **about,
        }
        cells.append([name, f"{lds.mean():.3f}", f"{lds.std():.3f}", f"{cost:.1f}×"])
    return figures, cells
