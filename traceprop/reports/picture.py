"""The path from files to a prediction, as one inline SVG picture that anybody can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

WIDTH = 1080
CARD = 196  # width of a file's, the model's and the prediction's card
STEPS = 490  # width of the panel with the steps
GAP = 40
LINE = 26  # height of one step
MAX_STEPS = 12


@dataclass
class Canvas:
    """SVG elements collected in drawing order. Every text is escaped here, and nowhere else."""

    parts: list[str] = field(default_factory=list)

    def card(self, x: float, y: float, width: float, height: float, css: str) -> None:
        """Draw a rounded box."""
        self.parts.append(f'<rect class="{css}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10"/>')

    def text(self, x: float, y: float, text: str, css: str, anchor: str = "start") -> None:
        """Write one line of text."""
        self.parts.append(f'<text class="{css}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw a curve with an arrow head from one card to the next."""
        mid = (x0 + x1) / 2
        path = f"M{x0:g},{y0:g} C{mid:g},{y0:g} {mid:g},{y1:g} {x1 - 7:g},{y1:g}"
        self.parts.append(f'<path class="flow" d="{path}"/>')
        self.parts.append(f'<path class="head" d="M{x1:g},{y1:g} l-9,-5 l0,10 z"/>')


def shorten(text: str, length: int) -> str:
    """Return `text`, its end replaced by … where it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def user_lines(steps: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The user's lines behind the steps, each once, in order: (file.py:12, text of the line or the step's name)."""
    lines: dict[str, str] = {}
    for step in steps:
        where = step["location"] or "step"
        lines.setdefault(where if step["location"] else f"step {len(lines)}", step["code"] or step["name"])
    return list(lines.items())


def picture(report: dict[str, Any]) -> str:
    """Return an SVG element: the files, the steps as lines of the user's code, the training data, model, prediction."""
    sources, lines = report["data"]["sources"], user_lines(report["steps"])
    shown = (
        lines if len(lines) <= MAX_STEPS else [*lines[: MAX_STEPS - 1], ("", f"and {len(lines) - MAX_STEPS + 1} more")]
    )
    panel = 58 + LINE * len(shown)
    right = _right_cards(report)
    height = max(panel, 92 * len(sources), 100 * len(right)) + 20
    canvas, middle = Canvas(), height / 2

    x_steps, x_right = CARD + GAP, CARD + GAP + STEPS + GAP
    top = middle - 46 * len(sources)
    for position, source in enumerate(sources):
        y = top + 92 * position
        _file_card(canvas, y, source)
        canvas.arrow(CARD, y + 40, x_steps, middle)
    _steps_panel(canvas, x_steps, middle - panel / 2, panel, shown)

    top = middle - 50 * len(right)
    for position, (title, main, below, css) in enumerate(right):
        y = top + 100 * position
        canvas.card(x_right, y + 6, WIDTH - x_right - 1, 84, css)
        canvas.text(x_right + 18, y + 30, title, "small")
        canvas.text(x_right + 18, y + 53, shorten(main, 30), "strong")
        canvas.text(x_right + 18, y + 75, shorten(below, 44), "small")
        if position:
            x = x_right + (WIDTH - x_right) / 2
            canvas.parts.append(f'<path class="flow" d="M{x:g},{y - 10:g} l0,7"/>')
            canvas.parts.append(f'<path class="head" d="M{x:g},{y + 6:g} l-5,-9 l10,0 z"/>')
    canvas.arrow(x_steps + STEPS, middle, x_right, top + 48)
    label = "From the files on the left through the steps of the preparation to data, model and prediction on the right"
    return (
        f'<svg class="path" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(canvas.parts)}</svg>'
    )


def _file_card(canvas: Canvas, y: float, source: dict[str, Any]) -> None:
    canvas.card(1, y + 2, CARD - 2, 76, "file")
    canvas.text(16, y + 26, "FILE" if source["file"] else "ARRAY", "tag")
    canvas.text(16, y + 46, shorten(source["source_id"], 20), "strong")
    canvas.text(16, y + 66, f"{source['rows_used']:,} of {source['rows']:,} rows used", "small")


def _steps_panel(canvas: Canvas, x: float, y: float, height: float, lines: list[tuple[str, str]]) -> None:
    canvas.card(x, y, STEPS, height, "steps")
    canvas.text(x + 18, y + 28, "PREPARATION, LINE BY LINE", "tag")
    for position, (where, code) in enumerate(lines):
        base = y + 54 + LINE * position
        number = where.rsplit(":", 1)[-1] if ":" in where else ""
        canvas.text(x + 44, base, number, "number", "end")
        canvas.text(x + 56, base, shorten(code, 61), "code")


def _right_cards(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(title, main line, line below, style) of what comes after the steps."""
    shape, model, prediction = report["data"]["shape"], report["model"], report["prediction"]
    size = " × ".join(f"{n:,}" for n in shape)
    rows = sum(source["rows_used"] for source in report["data"]["sources"])
    cards = [
        ("PREPARED DATA", f"{size} numbers" if len(shape) > 1 else size, f"from {rows:,} rows of the files", "data")
    ]
    if model:
        cards.append(
            ("MODEL", model["class"].rsplit(".", 1)[-1], f"{model['parameter_count']:,} learned numbers", "model")
        )
    if prediction:
        below = f"the right answer is {prediction['truth']}"
        css = "right" if prediction["said"] == prediction["truth"] else "wrong"
        cards.append(("PREDICTION ASKED ABOUT", f"says {prediction['said']}", below, css))
    return cards
