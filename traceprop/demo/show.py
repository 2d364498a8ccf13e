"""What the demo prints. Figures go to the reader in the order in which they were found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from traceprop.demo.abridge import changes, op_rows
from traceprop.demo.columns import line_table
from traceprop.demo.files import Files
from traceprop.demo.forgetting import Forgotten
from traceprop.demo.preparing import Prepared
from traceprop.demo.question import Question, Trained
from traceprop.demo.reporting import TARGETS, distances, model_rows

IR_HEAD, IR_TAIL = 13, 5


def by_line(steps: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Steps by the user's line, in order: (file.py:12, text of the line, short names such as `take, one_hot ×8`)."""
    lines: dict[str, dict[str, int]] = {}
    code: dict[str, str] = {}
    for step in steps:
        where = step["location"] or ""
        short = step["name"].rstrip("]").rsplit(".", 1)[-1]
        names = lines.setdefault(where, {})
        names[short] = names.get(short, 0) + 1
        code[where] = step["code"] or ""
    return [
        (where, code[where], ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in names.items()))
        for where, names in lines.items()
    ]


class Show:
    """Prints each step of the demo on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def heading(self, number: int, text: str) -> None:
        """Print the title of a step."""
        self.console.print(f"\n[bold blue]{number}[/] [bold]{escape(text)}[/]")

    def say(self, text: str) -> None:
        """Print a line of prose; rich markup is on."""
        self.console.print(f"  {text}", highlight=False)

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        flexible: Sequence[int],
        styles: Sequence[str] = (),
        right: Sequence[int] = (),
        title: str | None = None,
    ) -> None:
        """Print a table of one line per row, indented, with its flexible columns cut to what there is room for."""
        made = line_table(head, rows, self.console.width - 2, flexible, styles, right, title)
        self.console.print(Padding(made, (0, 0, 0, 2)))

    def start(self) -> None:
        """Print what the demo is about."""
        self.console.print(
            Panel(
                "A model estimates incomes from two offices' census files. It gets somebody wrong.\n"
                "[bold]Which lines of which files misled it, and can they be taken out without training again?[/]",
                title="traceprop demo",
                border_style="blue",
            )
        )

    def files(self, files: Files) -> None:
        """Step 1."""
        self.heading(1, "Two CSV files as the offices deliver them: text categories, ? for missing")
        for path in (files.north_office, files.south_office):
            lines = path.read_text(encoding="utf-8").splitlines()
            self.say(f"[cyan]{escape(str(path))}[/]  {len(lines) - 1:,} rows, for example line 2:")
            self.console.print(Text(f"    {lines[1]}", style="dim"), no_wrap=True, overflow="ellipsis")

    def programs(self, files: Files, prepared: Prepared) -> None:
        """Step 2."""
        self.heading(2, "The preparation, traced to a program: behind every line, the cells that it reads")
        rows = op_rows(prepared.traced)
        shown = rows
        if len(rows) > IR_HEAD + IR_TAIL:
            gap = (f"... {len(rows) - IR_HEAD - IR_TAIL} more ...", "", "")
            shown = [*rows[:IR_HEAD], gap, *rows[-IR_TAIL:]]
        self.table(("op", "cells that it reads", "your line"), shown, flexible=(0, 1), styles=("", "cyan", "dim"))
        changed = changes(prepared.traced, prepared.optimized)
        self.say(f"passes: {len(rows)} ops before, {len(op_rows(prepared.optimized))} after")
        for sign, op in changed[:IR_HEAD]:
            style = "green" if sign == "+" else "red"
            self.console.print(Text(f"    {sign} {op}", style=style), no_wrap=True, overflow="ellipsis")
        if len(changed) > IR_HEAD:
            self.say(f"  ... {len(changed) - IR_HEAD} more changes ...")
        self.say(f"the text reads back to an equal program: [bold]{'yes' if prepared.reads_back else 'NO'}[/]")
        names = ("program-traced.txt", "program-optimized.txt", "program.html")
        self.say(f"whole, with types: {', '.join(f'[cyan]{escape(str(files.folder / name))}[/]' for name in names)}")

    def laziness(self, prepared: Prepared) -> None:
        """Step 3."""
        self.heading(3, "Run when asked for, and equal to pandas")
        rows, columns = prepared.features.shape
        self.say(
            f"ops run after the call: [bold]{prepared.ops_run_before}[/]; once a value was asked for: "
            f"[bold]{prepared.ops_run_after}[/]"
        )
        self.say(
            f"features {rows:,} × {columns}; largest difference from the same function in pandas: "
            f"[bold]{prepared.difference:.3g}[/]; labels equal: [bold]{'yes' if prepared.labels_equal else 'NO'}[/]"
        )

    def training(self, trained: Trained, model: str) -> None:
        """Step 4."""
        self.heading(4, f"A logistic regression learns from them ({model})")
        self.say(
            f"trained in {trained.seconds:.2f} s; right on [bold]{100 * trained.accuracy:.2f} %[/] of "
            f"{len(trained.held_out_labels):,} held-out rows"
        )
        for note in trained.notes:
            self.say(f"[yellow]note[/] {escape(note)}")

    def question(
        self, files: Files, question: Question, entries: list[dict[str, Any]], steps: list[dict[str, Any]]
    ) -> None:
        """Step 5."""
        self.heading(5, f"One of its {question.n_wrong} wrong answers")
        self.say(f"[cyan]{escape(str(files.held_out))}[/] line {question.line}:")
        self.console.print(Text(f"    {question.text}", style="dim"), no_wrap=True, overflow="ellipsis")
        self.say(
            f"the model says [bold red]{escape(question.said)}[/]; the right answer is "
            f"[bold green]{escape(question.truth)}[/], which it gave {100 * question.probability:.1f} %"
        )
        self.say(f"[dim]one of {question.n_close} close calls among them; another --seed asks about another[/]")
        result = question.result
        self.say(f"influence of every training row on that: [bold]{result.verdict}[/] [dim]({escape(result.why)})[/]")
        self.console.print()
        self.table(
            ("influence", "file", "line", "text of that line"),
            [
                (f"{entry['influence_score']:+.4f}", Path(entry["file"]).name, str(entry["line"]), entry["text"] or "")
                for entry in entries
            ],
            flexible=(3,),
            styles=("bold red", "cyan", "cyan", ""),
            right=(0, 2),
            title="The ten rows that hurt the right answer most",
        )
        self.console.print()
        self.table(
            ("your line", "what it says", "steps"),
            by_line(steps),
            flexible=(1, 2),
            styles=("cyan", "", "dim"),
            title="The steps that those rows went through",
        )

    def forgetting(self, forgotten: Forgotten) -> None:
        """Step 6."""
        self.heading(6, f"The {len(forgotten.rows)} worst rows of {forgotten.office}, taken out of pipeline and model")
        self.say(f"[bold]{forgotten.result.verdict}[/] [dim]({escape(forgotten.result.why)})[/]")
        self.table(
            ("model", "", "right answer", "held-out", "loss, removed", "time"),
            [
                (
                    name,
                    note,
                    f"{100 * judged.probability:.2f} %",
                    f"{100 * judged.accuracy:.2f} %",
                    f"{judged.forgotten_loss:.4f}",
                    f"{1000 * judged.seconds:.0f} ms",
                )
                for name, note, judged in model_rows(forgotten)
            ],
            flexible=(1,),
            styles=("bold", "dim", "bold", "", "", ""),
            right=(2, 3, 4, 5),
        )
        self.console.print()
        self.table(
            ("corrected model against", *TARGETS, "right"),
            distances(forgotten),
            flexible=(0,),
            styles=("", "bold", "bold", "dim"),
            right=(1, 2, 3),
        )

    def answer(self, sentences: list[str], html: str, json: str) -> None:
        """Step 7, and the answer."""
        self.heading(7, "The report")
        self.say(f"for people:   [cyan]{escape(html)}[/]")
        self.say(f"for machines: [cyan]{escape(json)}[/]")
        self.console.print()
        self.console.print(
            Panel("\n".join(escape(sentence) for sentence in sentences), title="answer", border_style="green")
        )
