"""Predicted against actual changes of margins, drawn: one picture per task, in docs/pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
POINTS = 2_500
_SHOWN = 0.985  # of the actual changes: a few rows would else shrink all others to a spot
COLOURS = ("#0072b2", "#e69f00")  # blue and orange of Okabe and Ito, told apart by the colour-blind


def draw(path: Path, title: str, actual: np.ndarray, predicted: Mapping[str, tuple[np.ndarray, float]]) -> None:
    """Draw predictions over the truth, both less their mean over subsets, which no ranking of subsets depends on.

    Parameters
    ----------
    actual
        Margins of retrained models, (s, t).
    predicted
        By method: what it foretold (s, t), and its LDS.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 5.0), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    truth = _centred(actual)
    chosen = np.random.default_rng(0).choice(truth.size, min(POINTS, truth.size), replace=False)
    limit = float(np.quantile(np.abs(truth), _SHOWN))
    axes.axline((0, 0), slope=1, color="#666666", linewidth=0.9, zorder=1)
    for (name, (values, lds)), colour, front in zip(predicted.items(), COLOURS, (3, 2), strict=False):
        guess = _centred(values)
        r = float(np.corrcoef(guess.ravel(), truth.ravel())[0, 1])
        axes.scatter(
            guess.ravel()[chosen],
            truth.ravel()[chosen],
            s=5,
            alpha=0.45,
            linewidths=0,
            color=colour,
            zorder=front,
            label=f"{name}: r = {r:.3f}, LDS = {lds:.3f}",
        )
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)
    axes.set_xlabel("predicted change of a test row's margin")
    axes.set_ylabel("actual change, models retrained")
    axes.title.set_fontsize(11)
    axes.grid(color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    legend: Any = figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    for handle in legend.legend_handles:
        handle.set(alpha=1.0, sizes=[18])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})


def _centred(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.asarray(values, dtype=np.float64)
    return found - found.mean(axis=0)
