"""The demo from the first step to the last."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from traceprop.demo import files as demo_files
from traceprop.demo.forgetting import forget
from traceprop.demo.models import learner as find_learner
from traceprop.demo.preparing import prepare_both
from traceprop.demo.question import ask, train
from traceprop.demo.reporting import results, write_reports
from traceprop.demo.show import Show
from traceprop.reports.html import require_jinja2


def run(
    model: str = "sklearn", seed: int = 0, out: str | Path = "traceprop-demo", console: Console | None = None
) -> dict[str, Any]:
    """Run the whole demo and return its figures; equal arguments give equal figures, `["seconds"]` apart.

    Parameters
    ----------
    model : `"sklearn"`, `"torch"` or `"jax"`
    seed : which of the wrong predictions is asked about
    out : the folder for data files, programs and reports; created where it is missing
    console : where to print; nothing is printed without one
    """
    show = Show(console or Console(quiet=True))
    learner = find_learner(model)
    require_jinja2()
    start = time.perf_counter()
    show.start()
    with _progress(show.console) as progress:
        task = progress.add_task("reading", total=6)

        def next_step(doing: str) -> None:
            progress.update(task, advance=1, description=doing)

        files = demo_files.unpack(Path(out))
        show.files(files)
        next_step("tracing and running the preparation")
        prepared = prepare_both(files)
        show.programs(files, prepared)
        show.laziness(prepared)
        next_step("training")
        trained = train(files, prepared, learner)
        show.training(trained, learner.name)
        next_step("explaining a wrong prediction")
        question = ask(files, trained, learner, seed)
        next_step("forgetting, retraining, re-running")
        forgotten = forget(files, prepared, trained, question, learner)
        next_step("writing the report")
        report, json_path, html_path = write_reports(files, prepared, trained, question, forgotten)
        progress.update(task, advance=1)

    show.question(files, question, report["attribution"]["most_harmful"], report["steps"])
    show.forgetting(forgotten)
    show.answer(report["answer"], str(html_path), str(json_path))
    found = results(files, prepared, trained, question, forgotten, report, time.perf_counter() - start)
    return {"model": model, "seed": seed, **found}


def _progress(console: Console) -> Progress:
    """A bar that is gone when the steps are done; shown on terminals only."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def main(model: str, seed: int, out: Path, as_json: bool) -> None:
    """Run the demo for the command line: prose on stdout, or figures as JSON there and progress on stderr."""
    if as_json:
        sys.stdout.write(json.dumps(run(model, seed, out, _console(stderr=True)), indent=2) + "\n")
    else:
        run(model, seed, out, _console(stderr=False))


def _console(stderr: bool) -> Console:
    """A console as wide as the terminal; where there is none, wide enough for the tables."""
    console = Console(stderr=stderr)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=120)
