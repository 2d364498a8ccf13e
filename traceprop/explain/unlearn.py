"""Unlearning as a user calls it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from traceprop.errors import ModelError, NothingToForgetError
from traceprop.explain.forgetting import Request, resolve
from traceprop.explain.judging import against_retraining, mean_loss
from traceprop.explain.refit import Refit, refit
from traceprop.explain.through import check_through, follows_rows
from traceprop.explain.touched import ledger_of, too_much, touched
from traceprop.explain.unlearned import UnlearningResult, record, refused
from traceprop.passes.attribution.fit import ESCAPING_SHIFT
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.unlearning.gap import logit_distance
from traceprop.passes.unlearning.newton import NewtonRun, minimise
from traceprop.passes.unlearning.tracked import TrackedHessian
from traceprop.training.adapter import AbstractLinearAdapter
from traceprop.training.data import check_lengths, plain_array, plain_features
from traceprop.training.store import GradientStore

METHOD = "Newton steps on the objective of the rows that stay"


def unlearn(
    model: Any = None,
    gradient_store: GradientStore | None = None,
    source_id: str | None = None,
    rows: Any = None,
    where: str | None = None,
    key: tuple[str, Any] | None = None,
    method: str = "auto",
    through: str | None = None,
    verify: str = "auto",
    inplace: bool = False,
    X_test: Any = None,
    y_test: Any = None,
    budget: float | None = None,
    retrain: Any = None,
    optimizer: Any = None,
    seed: int = 0,
) -> UnlearningResult:
    """Take source rows out of a linear model, or a network of torch or JAX, without training it again.

    In linear models Newton steps lead from the fitted parameters to the minimum of the objective of the rows that stay,
    features held fixed (Guo et al. 2020, "Certified data removal from machine learning models", with as many steps as it
    takes). For networks see docs/unlearning.md: nothing is certified there, and every method says what it is.

    Parameters
    ----------
    model
        The model to correct; None for the one that the store describes, and otherwise one with the same parameters.
    gradient_store
        A training context's `ctx.gradient_store`, or an earlier result's `.gradient_store` to forget more.
    source_id, rows
        Rows of a source, numbered from 0; both in the *source*, mapped to training rows through the lineage.
        A `source_id` alone means all its rows.
    where
        A predicate over the columns of `source_id`, such as "age > 90".
    key
        (column, value): the rows with that value in every source that has the column.
    method
        "auto" or "newton". For networks "auto" (exact replay where at most half of the run is to be replayed; else
        "compressed-replay", training again without the rows in less than half of the work; where the run was not seen "rewind",
        or "matching"; refused where rows that stay come out worse), or one of "replay", "compressed-replay", "matching",
        "rewind", "gauss-newton", "ssd", "scrub", "finetune", "ascent".
    through
        "features": the features are held fixed. "pipeline": the rows go from the pipeline too: means, scalers,
        imputers and encodings are those of the rows that stay (pass `reweight`), and so are all features; `.refitted`
        gives new rows the same way, and what has no weighted form stays fixed and is named in `.why`. None: "pipeline"
        where the training data are lazy values of a program that reduces those rows in a weighted form, else "features".
    verify
        "auto": by a bound on the distance to the minimum. "retrain": also against a model retrained for real.
    inplace
        Correct the given model itself, and the store with it.
    X_test, y_test
        Rows to compare logits on with verify="retrain"; without them, the training rows that stay. Of networks also to see
        whether what was not to be forgotten still holds.
    budget
        How large a gradient this removal and all before it, from the same fit, may leave together (sum form; see
        `Ledger` and docs/unlearning.md); None: what it is, by default a ten-thousandth of the rows' own gradients. A
        removal that would exceed it is refused.
    retrain
        Of networks, for verify="retrain": a function from the positions of the training rows that stay, int64, to a model
        trained on them; called twice, as networks differ from run to run.
    optimizer
        Of networks: a function from parameters to the optimizer that training used, where it is none of torch's own that the
        context saw stepping. Given, "auto" replays the run however long it is. Of JAX params: to an object with optax's `init`
        and `update`, for the steps of "rewind" and "finetune".
    seed
        Of networks: of the steps' batches and of the sample of rows that stay.

    Raises
    ------
    NothingToForgetError
        No training row is meant: an empty `rows`, no match, or rows that never reached training.
    LineageError
        An unknown source (the nearest is named), or rows out of range.
    ModelError
        A model that is not linear or not the store's, no row left, or an argument that this version does not know.
    """
    if gradient_store is None:
        raise ModelError("unlearn needs gradient_store=, a training context's ctx.gradient_store")
    if not isinstance(gradient_store, GradientStore):
        raise ModelError(f"gradient_store is ctx.gradient_store, not {type(gradient_store).__name__}")
    check_through(through)
    network = gradient_store.objective is None and bool(gradient_store.checkpoints)
    if not network and method not in ("auto", "newton"):
        raise ModelError(f"method={method!r} is not in this version; there are 'auto' and 'newton'")
    if verify not in ("auto", "retrain"):
        raise ModelError(f"verify is 'auto' or 'retrain', not {verify!r}")
    request = resolve(
        gradient_store.owners, source_id, rows, where, key, untrained=through != "features" and not network
    )
    if network:
        from traceprop.explain.network_unlearn import unlearn_network

        if through == "pipeline" or budget is not None:
            raise ModelError(
                "through='pipeline' and budget= are for linear models; a network's features are held fixed"
            )
        return unlearn_network(
            gradient_store, model, request, method, verify, inplace, X_test, y_test, retrain, optimizer, seed
        )
    if retrain is not None or optimizer is not None:
        raise ModelError("retrain= and optimizer= are for networks; a linear model is retrained by its own fit")
    adapter, objective, theta = gradient_store.linear("unlearning")
    model = _checked_model(model, gradient_store, adapter, theta)
    pipeline = through == "pipeline" or (through is None and follows_rows(gradient_store, request.rows))
    request = _still_there(request, gradient_store, objective, pipeline)
    ledger = ledger_of(gradient_store, budget)
    test = None if X_test is None else _test_data(X_test, y_test, adapter)

    start = time.perf_counter()
    again = refit(gradient_store, request) if pipeline else None
    rest = objective.without(request.samples) if again is None else again.objective(adapter, objective)
    if not rest.count:
        raise NothingToForgetError(f"nothing would be left: all training rows are behind {request.asked}")
    if again is not None and not again.changes(gradient_store):
        raise request.nothing()
    refusal = too_much(ledger, 0.0) or _one_class(rest)
    if refusal is not None:
        return refused(request, METHOD, refusal, {"retained": rest.count})
    same = again is None or rest.features is objective.features
    run = minimise(
        rest, theta, tracked=TrackedHessian.known(objective, theta, gradient_store.fit.hessian) if same else None
    )
    refusal = _escaped(rest, run)
    if refusal is not None:
        return refused(request, METHOD, refusal, {"retained": rest.count})
    corrected = adapter.corrected(run.theta, model, inplace=False)
    stored = adapter.theta(corrected)  # rounded to the model's own precision
    seconds = time.perf_counter() - start

    bound = run.bound + float(np.linalg.norm(stored - run.theta))
    changed = not np.array_equal(stored, theta)
    metrics = _metrics(request, objective, rest, theta, stored, run, bound, seconds)
    metrics["original_gradient_norm"] = gradient_store.gradient_norm
    metrics["through"] = "features" if again is None else "pipeline"
    before, after = _influence(objective, _compared(request, rest), theta, stored, run)
    verdict, why, verified = _verdict(run, bound, changed)
    if again is not None:
        verdict, why, verified = _through_pipeline(again, verdict, why, verified)
    residual = float(np.linalg.norm(rest.gradient(stored)))
    if verdict == "certified":
        refusal = too_much(ledger, residual)
        if refusal is not None:
            return refused(request, METHOD, refusal, {"retained": rest.count})
        ledger.enter(request.asked, residual)
    metrics |= {"residual": residual, "budget": ledger.budget, "budget_spent": ledger.spent}
    if verify == "retrain":
        test_before = None if test is None else test[0]
        if again is not None and test is not None:
            test = _test_data(again.value(X_test), y_test, adapter)
        refitted = None if again is None else (again.X, again.y)
        judged, ok = against_retraining(
            gradient_store, rest, _compared(request, rest), stored, seconds, test, test_before, refitted
        )
        metrics |= judged
        before, after = judged["forget_logit_distance_original"], judged["forget_logit_distance"]
        verified = verified and ok if verdict == "certified" else changed and ok
        why += (
            f"; against retraining ({adapter.retraining}): {judged['gap_closed']:.1f} % of the gap closed, forgotten "
            f"rows' logits at {judged['forget_of_the_way']:.2%} and test logits at {judged['test_of_the_way']:.2%} of the "
            f"original model's distance; the retraining stopped at a gradient norm of "
            f"{judged['retrained_gradient_norm']:.1e}"
        )
    if inplace:
        corrected = adapter.corrected(stored, model, inplace=True)
    data = {} if again is None else {"X": again.X, "y": again.y, "weights": again.weights}
    store = gradient_store.after(rest, stored, corrected, **data)
    if inplace:
        gradient_store.become(store)
        store = gradient_store
    report = record(request, METHOD, metrics, verdict, why, verified, inplace)
    if again is not None:
        report["held_fixed"] = list(again.held) or "nothing"
    gone = np.flatnonzero(objective.kept & ~rest.kept)
    reached = touched(request.rows, gone, again, corrected, changed)
    report["touched"] = reached.to_dict()
    return UnlearningResult(corrected, verified, before, after, metrics, verdict, why, report, store, again, reached)


def _checked_model(model: Any, store: GradientStore, adapter: AbstractLinearAdapter, theta: Floats) -> Any:
    """Give the model to correct. Raises ModelError unless it has the parameters that the store describes."""
    model = store.model if model is None else model
    if type(model) is not type(store.model):
        raise ModelError(f"model is {type(model).__name__}, but the store describes a {type(store.model).__name__}")
    now = adapter.theta(model)
    if now.shape != theta.shape or not np.array_equal(now, theta):
        raise ModelError(
            "the model's parameters are not those that the store describes: it was trained on, or corrected, since; "
            "train it in a new context, or give the .gradient_store of the earlier result"
        )
    return model


def _still_there(request: Request, store: GradientStore, objective: LinearObjective, pipeline: bool) -> Request:
    """The request without the samples that are gone already. Raises NothingToForgetError where nothing is left of it."""
    if not len(request.samples) and not pipeline:
        raise request.nothing()
    left = request.samples[objective.kept[request.samples]]
    counted = pipeline and any(
        name not in store.weights or store.weights[name][rows].any() for name, rows in request.rows.items()
    )
    if not len(left) and not counted:
        raise NothingToForgetError(f"nothing to forget: all training rows behind {request.asked} are forgotten already")
    return replace(request, samples=left)


def _compared(request: Request, rest: LinearObjective) -> np.ndarray:
    """The samples whose logits tell how far removal went: the forgotten ones, or, where none was, those that stay."""
    return request.samples if len(request.samples) else np.flatnonzero(rest.kept)


def _test_data(X: Any, y: Any, adapter: AbstractLinearAdapter) -> tuple[Floats, np.ndarray | None]:
    features = plain_features(X, "X_test")
    if y is None:
        return adapter.features(features), None
    labels = plain_array(y, "y_test")
    check_lengths(features, labels, ("X_test", "y_test"))
    return adapter.features(features), adapter.targets(labels)


def _one_class(rest: LinearObjective) -> str | None:
    """Say why not, where the rows that stay are of fewer classes than the model has and an intercept is free."""
    if not rest.loss.cross_entropy or (rest.strength and rest.penalised.all()):
        return None
    left = np.unique(rest.y[rest.kept])
    if len(left) == max(rest.classes, 2):
        return None
    return (
        f"the rows that stay have {len(left)} of {max(rest.classes, 2)} classes, so the best intercept is infinite; no "
        "model can be fitted to them"
    )


def _escaped(rest: LinearObjective, run: NewtonRun) -> str | None:
    """Say why not, where the steps went on towards infinity, or to nowhere."""
    shift = float(np.abs((rest.features @ run.left)[rest.kept]).max(initial=0.0))
    if not np.isfinite(run.theta).all() or not np.isfinite(shift):
        return "the Newton steps left the finite numbers"
    if rest.strength == 0 and rest.loss.cross_entropy and shift > ESCAPING_SHIFT:
        return (
            f"after {run.steps} Newton steps another one would still move a logit by {shift:.2g}: the rows that stay are "
            "separable and nothing is penalised, so the best parameters are infinite; fit with an L2 penalty"
        )
    return None


def _verdict(run: NewtonRun, bound: float, touched: bool) -> tuple[str, str, bool]:
    steps = f"{run.steps} Newton steps" if run.steps != 1 else "1 Newton step"
    norm = f"gradient norm {run.gradient_norms[-1]:.1e} on the rows that stay"
    if not touched:
        return "estimated", f"the model was left as it was: the forgotten rows pull on no parameter ({norm})", False
    if np.isfinite(bound) and run.converged:
        return (
            "certified",
            (
                f"{steps}, {norm}: the parameters are within {bound:.1e} of the best fit to the rows that stay, features "
                "held fixed"
            ),
            True,
        )
    if run.converged:
        return "estimated", f"{steps}, {norm}; no bound is known for this loss", False
    return (
        "estimated",
        f"{steps}, then no step lessened the loss: {norm}, above the tolerance {run.tolerance:.1e}",
        False,
    )


def _through_pipeline(again: Refit, verdict: str, why: str, verified: bool) -> tuple[str, str, bool]:
    """What the features, as the pipeline without the rows gives them, add to the verdict."""
    why = why.replace("features held fixed", "features as the pipeline gives them without the forgotten rows")
    if again.held:
        steps = "; ".join(again.held)
        return "estimated", f"{why}; held fixed, as it was with all rows: {steps}", False
    if not again.work.forms:
        return verdict, f"{why}; the pipeline reduces no rows, so no other row's features changed", verified
    return verdict, why, verified


def _metrics(
    request: Request,
    objective: LinearObjective,
    rest: LinearObjective,
    theta: Floats,
    stored: Floats,
    run: NewtonRun,
    bound: float,
    seconds: float,
) -> dict[str, Any]:
    return {
        "source_rows": sum(map(len, request.rows.values())),
        "source_rows_not_in_training": sum(request.untrained.values()),
        "forgotten": len(request.samples),
        "retained": rest.count,
        "newton_steps": run.steps,
        "gradient_norms": list(run.gradient_norms),
        "tolerance": run.tolerance,
        "parameter_bound": bound,
        "parameter_change": float(np.linalg.norm(stored - theta)),
        "forget_loss_before": mean_loss(objective, theta, _compared(request, rest)),
        "forget_loss_after": mean_loss(objective, stored, _compared(request, rest)),
        "seconds": seconds,
    }


def _influence(
    objective: LinearObjective, samples: np.ndarray, theta: Floats, stored: Floats, run: NewtonRun
) -> tuple[float, float]:
    features = objective.features[samples]
    target = features @ (run.theta - run.left)
    return logit_distance(features @ theta, target), logit_distance(features @ stored, target)
