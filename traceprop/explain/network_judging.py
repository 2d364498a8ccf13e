"""Networks that were made to forget, against networks that never saw the rows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.network_predictions import Forgetting
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.unlearning.gap import gap_closed, logit_distance
from traceprop.training.network_steps import losses, outputs

HALF_WAY = 0.5
FLOORS = 1.25


def against_retrained(
    task: Forgetting,
    module: Any,
    retrain: Any,
    seconds: float,
    test: tuple[np.ndarray, np.ndarray | None] | None,
) -> tuple[dict[str, Any], bool]:
    """Train twice for real, and compare: metrics, and whether the network is as near to those as can be asked.

    Both, because a network's training has a noise of its own: what lies between the two is the floor. Near enough is
    within 1.25 floors, or half of the original's distance, on the forgotten rows, and no further than the original, or
    1.25 floors, on the test rows.
    """
    start = time.perf_counter()
    twice = [_module(retrain(task.stay.copy()), task) for _ in range(2)]
    each = (time.perf_counter() - start) / 2
    forgotten = task.data[task.gone]
    there = task.data[task.sample] if test is None else task.data.unlabelled(task.module, test[0])
    found: dict[str, Any] = {
        "retraining": "retrain=, twice",
        "test_rows": "training rows that stay" if test is None else "X_test",
        "seconds_retraining": each,
        "time_over_retraining": seconds / each if each else np.nan,
        "gap_closed": gap_closed(
            losses(task.module, forgotten),
            losses(module, forgotten),
            np.mean([losses(one, forgotten) for one in twice], axis=0),
        ),
    }
    for name, data in (("forget", forgotten), ("test", there)):
        goals = [centred(one, data) for one in twice]
        for what, one in (("", module), ("_original", task.module)):
            found[f"{name}_logit_distance{what}"] = float(
                np.mean([logit_distance(centred(one, data), goal) for goal in goals])
            )
        found[f"{name}_logit_distance_floor"] = logit_distance(*goals)
    forget, at_first, floor = (found[f"forget_logit_distance{what}"] for what in ("", "_original", "_floor"))
    test_now, test_first, test_floor = (found[f"test_logit_distance{what}"] for what in ("", "_original", "_floor"))
    near = forget < at_first and forget <= max(HALF_WAY * at_first, FLOORS * floor)
    return found, bool(near and test_now <= max(test_first, FLOORS * test_floor))


def centred(module: Any, data: Any) -> Floats:
    """Outputs (n, k), of several less their mean: softmax sees them up to a constant."""
    found = outputs(module, data)
    return found - found.mean(axis=1, keepdims=True) if found.shape[1] > 1 else found


def _module(found: Any, task: Forgetting) -> Any:
    if type(found) is not type(task.module):
        raise ModelError(f"retrain= gave {type(found).__name__}, not a trained {type(task.module).__name__}")
    return found
