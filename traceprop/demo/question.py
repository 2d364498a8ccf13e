"""Steps 4 and 5: a model is trained, gets somebody wrong, and the rows that misled it are named."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

import traceprop as tp
from traceprop.demo.files import Files, columns, copy_rows
from traceprop.demo.models import AbstractLearner, margins, probability
from traceprop.demo.pipeline import prepare
from traceprop.demo.preparing import Prepared, table

CLOSE_CALL = 0.4  # the wrong answer asked about gave the right one at least this probability
LABELS = {0.0: "<=50K", 1.0: ">50K"}


@dataclass(frozen=True)
class Trained:
    """A fitted model, its per-sample gradients, and how it does on held-out rows (`held_out`: their lazy features)."""

    model: Any
    gradient_store: Any
    seconds: float
    fitted_pipeline: Any
    held_out: Any
    held_out_features: np.ndarray
    held_out_labels: np.ndarray
    held_out_rows: np.ndarray
    margins: np.ndarray
    notes: list[str]

    @property
    def accuracy(self) -> float:
        """Share of the held-out rows that the model gets right."""
        return float(np.mean(self.margins > 0))


@dataclass(frozen=True)
class Question:
    """One held-out row that the model got wrong, and the training rows behind it.

    `x` (1, d) and `y` (1,) are what the fitted pipeline makes of the raw row; `scores` (n,) is the influence of every
    training row on the right answer's log-odds; negative ones hurt it.
    """

    line: int
    text: str
    row: dict[str, str]
    said: str
    truth: str
    margin: float
    n_wrong: int
    n_close: int
    x: Any
    y: Any
    engine: Any
    result: Any
    scores: np.ndarray

    @property
    def probability(self) -> float:
        """What the model gave the right answer."""
        return probability(self.margin)


def train(files: Files, prepared: Prepared, learner: AbstractLearner) -> Trained:
    """Fit the model inside a training context, and apply model and fitted pipeline to the held-out rows."""
    model = learner.new(prepared.features.shape[1])
    with tp.training_context(model, prepared.X, prepared.y, **learner.context_arguments(len(prepared.labels))) as ctx:
        start = time.perf_counter()
        model = learner.fit(model, prepared.features, prepared.labels)
        seconds = time.perf_counter() - start
        ctx.model = model
    fitted = prepare.fit(*prepared.tables)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        X, y = fitted(table(files.held_out))
        features, labels = np.asarray(X), np.asarray(y)
    notes = [str(warning.message) for warning in caught]
    _, rows = tp.provenance(X).row_pairs()["held_out"]
    found = margins(learner.logits(model, features), labels)
    return Trained(model, ctx.gradient_store, seconds, fitted, X, features, labels, rows, found, notes)


def ask(files: Files, trained: Trained, learner: AbstractLearner, seed: int) -> Question:
    """Pick a wrong prediction, take its raw row through the fitted pipeline, and explain it."""
    wrong = np.flatnonzero(trained.margins < 0)
    close = wrong[trained.margins[wrong] > np.log(CLOSE_CALL / (1 - CLOSE_CALL))]
    chosen = int(np.random.default_rng(seed).choice(close))
    row = int(trained.held_out_rows[chosen])
    path = copy_rows(files.held_out, files.folder / "question.csv", [row])
    text = path.read_text(encoding="utf-8").splitlines()[1]

    x, y = trained.fitted_pipeline(table(path))
    engine = tp.attribution_engine(trained.gradient_store)
    result = engine.explain(x, y, top_k=10)
    truth = float(np.asarray(y)[0])
    return Question(
        line=row + 2,  # rows count from 0, lines from 1, and the first line is the header
        text=text,
        row=dict(zip(columns(files.held_out), text.split(","), strict=True)),
        said=LABELS[1.0 - truth],
        truth=LABELS[truth],
        margin=float(margins(learner.logits(trained.model, np.asarray(x)), np.asarray(y))[0]),
        n_wrong=len(wrong),
        n_close=len(close),
        x=x,
        y=y,
        engine=engine,
        result=result,
        scores=np.asarray(engine.scores(x, y))[0],
    )
