"""The traceprop that was published before: its `dot` and `trak` on gradients that the caller computes, as its README shows."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.given import Given, losses
from benchmarks.peers.method import EVERY, Method, Work

DISTRIBUTION = "traceprop"
# The default is 4,096; for a network's 10^5 gradients that is a dense matrix of gigabytes, drawn in float64.
DEFAULT, FEWER = 4_096, 512
BATCH = 500


def prepare(given: Given) -> Work:
    from torch.func import functional_call, grad, vmap

    import traceprop as tp

    assert Path(tp.__file__).is_relative_to(sys.prefix), "this is not the published package"
    module = given.module()
    state = {name: value.detach() for name, value in module.named_parameters()}

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return losses(functional_call(module, parameters, x.unsqueeze(0)), y.unsqueeze(0)).sum()

    by_sample = vmap(grad(loss), in_dims=(None, 0, 0))

    def gradients(x: Any, y: Any) -> np.ndarray:
        found = by_sample(state, x, y)
        return np.concatenate([each.flatten(start_dim=1).numpy() for each in found.values()], axis=1)

    def fit() -> Any:
        with tp.training_context(source_id="rows", proj_dim=DEFAULT if given.kind == "linear" else FEWER) as context:
            at = 0
            for x, y in zip(*(each.split(BATCH) for each in given.train_rows()), strict=True):
                block = gradients(x, y)
                if hasattr(context.gradient_store, "log_batch"):
                    context.gradient_store.log_batch(block, source_id="rows", sample_index_offset=at)
                else:
                    for position, row in enumerate(block, at):
                        context.log_gradient(row, sample_index=position)
                at += len(y)
        return context.gradient_store

    def scores(store: Any, estimator: str) -> np.ndarray:
        engine = tp.attribution_engine(store, estimator=estimator)
        return np.asarray(engine.attribute_scores_batch(gradients(*given.test_rows())))

    return Work(scores, fit)


METHODS = (Method("published traceprop", prepare, {"dot": "dot", "trak": "trak"}, EVERY, quick=True, apart=True),)
ROW_BY_ROW = tuple(replace(each, kinds=("linear",)) for each in METHODS)
# 0.7.0 gives the scores of 0.6.0; it takes gradients in blocks too, where a network's would take 0.6.0 minutes.
VERSIONS = {"0.6.0": ROW_BY_ROW, "0.7.0": METHODS}
