"""Unlearning in networks, as `tp.unlearn` calls it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from traceprop.errors import ModelError, NothingToForgetError
from traceprop.explain.forgetting import Request
from traceprop.explain.network_judging import against_retrained
from traceprop.explain.network_methods import METHODS, Attempt, auto
from traceprop.explain.network_outcome import Outcome
from traceprop.explain.network_predictions import Forgetting
from traceprop.explain.touched import touched
from traceprop.explain.unlearned import UnlearningResult, record, refused
from traceprop.passes.unlearning.prediction import root_mean_square
from traceprop.training.checkpoints import Checkpoint
from traceprop.training.data import check_lengths, plain_array, plain_features
from traceprop.training.network_steps import carried_over, numbers
from traceprop.training.store import GradientStore


def unlearn_network(
    store: GradientStore,
    model: Any,
    request: Request,
    method: str,
    verify: str,
    inplace: bool,
    X_test: Any,
    y_test: Any,
    retrain: Any,
    optimizer: Any,
    seed: int,
) -> UnlearningResult:
    """See `tp.unlearn`; `request` is what is to be forgotten, as the store's owners resolve it."""
    if method != "auto" and method not in METHODS:
        names = ", ".join(map(repr, ("auto", *METHODS)))
        raise ModelError(f"method={method!r} is not for a network; there are {names}")
    _check_callables(verify, retrain, optimizer)
    adapter = _network_adapter(store, inplace)
    model = _checked_model(model, store, adapter)
    left = np.setdiff1d(request.samples, store.forgotten)
    if not len(left):
        raise NothingToForgetError(f"nothing to forget: all training rows behind {request.asked} are forgotten already")
    request = replace(request, samples=left)
    gone = np.union1d(left, store.forgotten)
    stay = np.setdiff1d(np.arange(len(store)), gone)
    if not len(stay):
        raise NothingToForgetError(f"nothing would be left: all training rows are behind {request.asked}")
    test = None if X_test is None else _test_data(X_test, y_test)

    task = Forgetting(store, left, stay, seed, optimizer, test)
    started = time.perf_counter()
    refusal = _one_class(task, adapter)
    if refusal is not None:
        return refused(request, method, refusal, {})
    name, attempt = auto(task) if method == "auto" else (method, METHODS[method](task))
    seconds = time.perf_counter() - started
    metrics = _metrics(request, task, attempt, seconds)
    if attempt.module is None:
        assert attempt.refusal is not None
        return refused(request, name, attempt.refusal, metrics)

    moved = numbers(attempt.module, task.data[left])
    if not np.isfinite(moved).all():
        return refused(request, name, "the steps left the finite numbers", metrics)
    outcome = Outcome(task, attempt.module)
    metrics |= outcome.metrics
    before, after = np.nan, np.nan
    if attempt.prediction is not None:
        before, after = attempt.prediction.way, root_mean_square(moved - attempt.prediction.without)
    changed = _changed(attempt, adapter)
    verdict, why = _verdict(attempt, outcome, before, after)
    verified = changed and attempt.untouched
    if not changed:
        why += "; the model was left as it was"
    if verify == "retrain":
        judged, ok = against_retrained(task, attempt.module, retrain, seconds, test)
        metrics |= judged
        before, after = judged["forget_logit_distance_original"], judged["forget_logit_distance"]
        verified = changed and ok
        why += (
            f"; against two retrained models: the forgotten rows' logits {after:.2g} away and before {before:.2g}, the test "
            f"rows' {judged['test_logit_distance']:.2g} and {judged['test_logit_distance_original']:.2g}; the two lie "
            f"{judged['forget_logit_distance_floor']:.2g} and {judged['test_logit_distance_floor']:.2g} apart"
        )
    corrected = carried_over(attempt.module, model, inplace, task.data)
    after_store = _store_after(store, adapter, corrected, gone)
    if inplace:
        store.become(after_store)
        after_store = store
    report = record(request, f"{name}: {attempt.how}", metrics, verdict, why, verified, inplace)
    reached = touched(request.rows, left, None, corrected, changed)
    report["touched"] = reached.to_dict()
    return UnlearningResult(
        corrected, verified, before, after, metrics, verdict, why, report, after_store, touched=reached
    )


def _check_callables(verify: str, retrain: Any, optimizer: Any) -> None:
    if verify == "retrain" and retrain is None:
        raise ModelError(
            "verify='retrain' needs retrain= for a network: a function from the positions of the training rows that stay to a "
            "model trained on them, as you train; it is called twice"
        )
    for name, value in (("retrain", retrain), ("optimizer", optimizer)):
        if value is not None and not callable(value):
            raise ModelError(f"{name}= is a function, not {type(value).__name__}")


def _network_adapter(store: GradientStore, inplace: bool) -> Any:
    adapter: Any = store.checkpoints[-1].adapter
    if not hasattr(adapter, "deciding"):
        raise ModelError(
            "unlearning is for linear models and for networks of torch and JAX, and this store holds a "
            f"{type(store.model).__name__} whose gradients alone are known"
        )
    if inplace and not adapter.in_place:
        raise ModelError("JAX params cannot be changed in place; take the result's .model, and leave out inplace=")
    return adapter


def _checked_model(model: Any, store: GradientStore, adapter: Any) -> Any:
    model = store.model if model is None else model
    if type(model) is not type(adapter.model):
        raise ModelError(f"model is {type(model).__name__}, but the store describes a {type(adapter.model).__name__}")
    now, then = adapter.of(model).parameters(), adapter.parameters()
    if now.shape != then.shape or not np.array_equal(now, then):
        raise ModelError(
            "the model's parameters are not those that the store describes: it was trained on, or corrected, since; "
            "train it in a new context, or give the .gradient_store of the earlier result"
        )
    return model


def _one_class(task: Forgetting, adapter: Any) -> str | None:
    adapter.one_number(task.store.X, task.store.y)  # settles whether it is a cross-entropy
    if adapter.cross_entropy and len(np.unique(task.data.labels[task.stay])) < 2:
        return "the rows that stay are of one class; no classifier can be fitted to them"
    return None


def _test_data(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray | None]:
    features = plain_features(X, "X_test")
    if y is None:
        return features, None
    labels = plain_array(y, "y_test")
    check_lengths(features, labels, ("X_test", "y_test"))
    return features, labels


def _verdict(attempt: Attempt, outcome: Outcome, before: float, after: float) -> tuple[str, str]:
    """What is known of the network by the way that it was made, and by its outcome."""
    if attempt.exact:
        return "exact", f"{attempt.how}; tried with all rows first, the run led to the recorded parameters"
    why = [attempt.how]
    if attempt.untouched:
        why.append(
            f"the forgotten rows had no part in it, and their outputs moved by {before:.2g}; what is estimated is how near it "
            "comes to a run of full length: as near as two of those to one another, where that was measured"
        )
    else:
        why.append("of a network that no minimum is known of")
        if attempt.prediction is not None:
            why[-1] += f": the forgotten rows are {after:.2g} from their prediction, and were {before:.2g} from it"
    why.append(outcome.said)
    if outcome.refusal:
        why.append(f"beware: {outcome.refusal}")
    return "estimated", "; ".join(why)


def _changed(attempt: Attempt, adapter: Any) -> bool:
    return not np.array_equal(adapter.of(attempt.module).parameters(), adapter.parameters())


def _store_after(store: GradientStore, adapter: Any, corrected: Any, gone: np.ndarray) -> GradientStore:
    """The corrected network and no checkpoint of its training, which the forgotten rows had a part in."""
    user = adapter.of(corrected)
    last = Checkpoint(user.frozen(), store.checkpoints[-1].epoch, 0)
    return replace(store, adapter=user, checkpoints=[last], schedule=[], blocks=None, forgotten=gone)


def _metrics(request: Request, task: Forgetting, attempt: Attempt, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source_rows": sum(map(len, request.rows.values())),
        "source_rows_not_in_training": sum(request.untrained.values()),
        "forgotten": len(task.gone),
        "retained": len(task.stay),
        "seconds": seconds,
    }
    found |= task.costs | attempt.metrics
    if attempt.prediction is not None:
        found["predicted_move"] = attempt.prediction.way
        found["predictions_apart"] = attempt.prediction.spread
    return found
