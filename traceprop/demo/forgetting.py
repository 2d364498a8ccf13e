"""Step 6: the worst rows of one office are taken out of pipeline and model; models really retrained say how well."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import traceprop as tp
from traceprop.demo.files import OFFICES, Files, copy_rows
from traceprop.demo.models import AbstractLearner, losses, margins, probability
from traceprop.demo.pipeline import prepare
from traceprop.demo.preparing import Prepared, table
from traceprop.demo.question import Question, Trained

TO_FORGET = 50


@dataclass(frozen=True)
class Judged:
    """One model as measured: log-odds on the forgotten and the held-out rows, and on the row asked about.

    `margin` is the right answer's log-odds for the row asked about.
    """

    forget_logits: np.ndarray
    test_logits: np.ndarray
    forgotten_loss: float
    accuracy: float
    margin: float
    seconds: float

    @property
    def probability(self) -> float:
        """What the model gives the right answer for the row asked about."""
        return probability(self.margin)


@dataclass(frozen=True)
class Forgotten:
    """The corrected model beside the original one, one retrained on the same features, and the whole pipeline re-run.

    `rows` are rows of the office's file, `samples` the training rows that they became. `predicted` is how much the right
    answer's log-odds for the row asked about were to change, as said before anything was taken out.
    """

    office: str
    rows: np.ndarray
    samples: np.ndarray
    result: Any
    original: Judged
    corrected: Judged
    retrained: Judged
    rerun: Judged
    predicted: float

    def measured(self, target: Judged) -> float:
        """How much they did change, from the original model to `target`."""
        return target.margin - self.original.margin

    def gap_closed(self, target: Judged) -> float:
        """100·(L_unlearned - L_original) / (L_retrained - L_original), L the mean loss on the forgotten rows."""
        gap = target.forgotten_loss - self.original.forgotten_loss
        return 100.0 * (self.corrected.forgotten_loss - self.original.forgotten_loss) / gap

    def way_left(self, target: Judged, rows: str) -> float:
        """Mean distance of logits, corrected to `target`, in percent of that from the original to `target`."""
        there, start, end = (getattr(model, f"{rows}_logits") for model in (target, self.original, self.corrected))
        return 100.0 * float(np.abs(end - there).mean() / np.abs(start - there).mean())


def worst_rows(prepared: Prepared, question: Question) -> tuple[str, np.ndarray, np.ndarray]:
    """The office whose worst 50 rows hurt the right answer most, those rows of its file, and their training rows."""
    pairs = tp.provenance(prepared.X).row_pairs()
    candidates = []
    for office in OFFICES:
        samples, rows = pairs[office]
        worst = np.argsort(question.scores[samples], kind="stable")[:TO_FORGET]
        candidates.append((float(question.scores[samples[worst]].sum()), office, rows[worst], samples[worst]))
    _, office, rows, samples = min(candidates, key=lambda candidate: candidate[0])
    return office, np.sort(rows), np.sort(samples)


def forget(
    files: Files, prepared: Prepared, trained: Trained, question: Question, learner: AbstractLearner
) -> Forgotten:
    """Unlearn, retrain on the features that the corrected pipeline gives, re-run everything from files, and measure all."""
    office, rows, samples = worst_rows(prepared, question)
    predicted = float(np.asarray(question.engine.effect([samples], question.x, question.y))[0, 0])

    result, unlearn_seconds = timed(
        lambda: tp.unlearn(trained.model, gradient_store=trained.gradient_store, source_id=office, rows=rows)
    )
    if result.model is None:
        raise tp.errors.RefusedError(f"unlearning was refused: {result.why}")

    def judge(model: Any, seconds: float, sets: list[tuple[np.ndarray, np.ndarray]]) -> Judged:
        forget_logits, test_logits, asked = (learner.logits(model, X) for X, _ in sets)
        return Judged(
            forget_logits=forget_logits,
            test_logits=test_logits,
            forgotten_loss=float(losses(forget_logits, sets[0][1]).mean()),
            accuracy=float(np.mean(margins(test_logits, sets[1][1]) > 0)),
            margin=float(margins(asked, sets[2][1])[0]),
            seconds=seconds,
        )

    folder = files.folder / "without-the-rows"
    taken, answers = trained.fitted_pipeline(table(copy_rows(files.office(office), folder / "the-rows.csv", rows)))
    asked = [(taken, answers), (trained.held_out, trained.held_out_labels), (question.x, question.y)]
    here = [(np.asarray(X), np.asarray(y)) for X, y in asked]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a category that only the forgotten rows had gives zeros now
        there = [(np.asarray(result.refitted(X)), y) for (X, _), (_, y) in zip(asked, here, strict=True)]
    retrained, retrain_seconds = _retrained(result, learner)
    rerun, rerun_sets, rerun_seconds = _rerun(files, office, rows, learner)
    return Forgotten(
        office=office,
        rows=rows,
        samples=samples,
        result=result,
        original=judge(trained.model, trained.seconds, here),
        corrected=judge(result.model, unlearn_seconds, there),
        retrained=judge(retrained, retrain_seconds, there),
        rerun=judge(rerun, rerun_seconds, rerun_sets),
        predicted=predicted,
    )


def _retrained(result: Any, learner: AbstractLearner) -> tuple[Any, float]:
    """A new model fitted to what the corrected pipeline makes of the rows that stay."""
    kept = ~result.refit.gone
    features, labels = result.refit.X[kept], result.refit.y[kept]
    return timed(lambda: learner.fit(learner.new(features.shape[1]), features, labels))


def timed(call: Callable[[], Any], runs: int = 3, patience: float = 1.0) -> tuple[Any, float]:
    """Do the same thing some times, fewer once `patience` seconds have gone; return its result and its median time."""
    times: list[float] = []
    while len(times) < runs and sum(times) < patience:
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return result, statistics.median(times)


def _rerun(
    files: Files, office: str, rows: np.ndarray, learner: AbstractLearner
) -> tuple[Any, list[tuple[np.ndarray, np.ndarray]], float]:
    """Everything again, from a file without the rows on: its own means, its own categories, its own model.

    Also gives what the new pipeline makes of the forgotten rows, the held-out rows and the row asked about.
    """
    folder = files.folder / "without-the-rows"
    less = copy_rows(files.office(office), folder / f"{office}.csv", rows, keep=False)
    start = time.perf_counter()
    tables = [table(less if name == office else files.office(name), source_id=name) for name in OFFICES]
    X, y = prepare(*tables)
    features, labels = np.asarray(X), np.asarray(y)
    model = learner.fit(learner.new(features.shape[1]), features, labels)
    seconds = time.perf_counter() - start

    fitted = prepare.fit(*tables)
    forgotten = copy_rows(files.office(office), folder / "the-rows.csv", rows)
    with warnings.catch_warnings():
        # A category that only forgotten or held-out rows have gives zeros, as it should here.
        warnings.simplefilter("ignore")
        sets = [
            tuple(np.asarray(part) for part in fitted(table(path)))
            for path in (forgotten, files.held_out, files.folder / "question.csv")
        ]
    return model, sets, seconds  # type: ignore[return-value]
