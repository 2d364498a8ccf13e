"""kronfluence (Grosse et al. 2023, "Studying large language model generalization with influence functions"): EK-FAC."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import numpy as np

from benchmarks.peers.given import Given, losses, margins
from benchmarks.peers.method import EVERY, Method, Work

DISTRIBUTION = "kronfluence"
BATCH = 500


def prepare(given: Given) -> Work:
    import torch
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from torch.utils.data import TensorDataset

    class Margins(Task):  # type: ignore[misc, unused-ignore]
        """The sum of losses, and the margin as what is explained."""

        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
            x, y = batch
            out = model(x)
            if sample:
                with torch.no_grad():
                    one = out.shape[-1] == 1
                    y = (
                        torch.bernoulli(out.squeeze(-1).sigmoid()).long()
                        if one
                        else torch.multinomial(out.softmax(dim=-1), 1).squeeze(-1)
                    )
            return losses(out, y).sum()

        def compute_measurement(self, batch: Any, model: Any) -> Any:
            x, y = batch
            return margins(model(x), y).sum()

    task = Margins()
    model = prepare_model(given.module(), task)
    train, test = TensorDataset(*given.train_rows()), TensorDataset(*given.test_rows())
    folder = tempfile.TemporaryDirectory()
    analyzer = Analyzer(
        "lds", model, task, cpu=True, log_level=logging.ERROR, disable_tqdm=True, output_dir=folder.name
    )

    def fit() -> Any:
        analyzer.fit_all_factors(
            "factors",
            train,
            per_device_batch_size=BATCH,
            factor_args=FactorArguments("ekfac"),
            overwrite_output_dir=True,
        )
        return folder  # which is removed when nothing holds it

    def scores(_: Any, damping: float | None) -> np.ndarray:
        analyzer.compute_pairwise_scores(
            "scores",
            "factors",
            test,
            train,
            per_device_query_batch_size=len(given.y_test),
            per_device_train_batch_size=BATCH,
            score_args=ScoreArguments(damping_factor=damping),
            overwrite_output_dir=True,
        )
        found = analyzer.load_pairwise_scores("scores")["all_modules"]
        return -found.numpy()  # the effect of a row's loss on the margin

    return Work(scores, fit)


DAMPINGS = {f"damping {each}": float(each) for each in ("1e-4", "1e-3", "1e-2")}
METHODS = (
    Method(
        "kronfluence, EK-FAC",
        prepare,
        {"damping 1e-8, the default": 1e-8, "damping 0.1 of the mean eigenvalue": None, **DAMPINGS},
        EVERY,
        quick=True,
    ),
)
