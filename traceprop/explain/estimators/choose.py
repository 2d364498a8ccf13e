"""Which estimator answers to a name, for what a store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator
from traceprop.explain.estimators.batch_mean import BatchMean
from traceprop.explain.estimators.linear import LARGEST_HESSIAN, Banzhaf, Cosine, Dot, Influence, Newton
from traceprop.explain.estimators.logged import LoggedCosine, LoggedDot
from traceprop.explain.estimators.network import (
    LARGEST_KERNEL,
    AbstractNetworkEstimator,
    EkFac,
    GaussNewtonInfluence,
    GaussNewtonNewton,
    LastLayer,
    NetworkCosine,
    NetworkDot,
    TracIn,
    Trak,
)
from traceprop.explain.estimators.remaining import Remaining, without_forgotten
from traceprop.explain.estimators.replay import Replay
from traceprop.training.store import GradientStore

_Class = type[AbstractEstimator]


def _table(*classes: Any) -> dict[str, Any]:
    return {found.name: found for found in classes}


LINEAR = _table(Influence, Newton, Banzhaf, Dot, Cosine, BatchMean)
NETWORK = _table(
    GaussNewtonInfluence,
    GaussNewtonNewton,
    Trak,
    EkFac,
    TracIn,
    NetworkDot,
    NetworkCosine,
    LastLayer,
    Replay,
    BatchMean,
)
LOGGED = _table(LoggedDot, LoggedCosine)


def estimator(
    name: str,
    store: GradientStore,
    outcome: str,
    checkpoints: int | None = None,
    damping: float | None = None,
    optimizer: Any = None,
    curvature: str | None = None,
    others: Sequence[GradientStore] = (),
    average: str | None = None,
) -> AbstractEstimator:
    """Choose the estimator called `name` for a store; "auto": influence, and where it cannot be had the best that can.

    `others`: the stores of more networks that are asked with it, as one ensemble.

    Raises
    ------
    ModelError
        There is no such estimator, it cannot work with what the store holds, or it has no such option.
    """
    table, holds = _for(store)
    name = _best(store) if name == "auto" else name
    if name not in table:
        everywhere = {**LINEAR, **NETWORK}
        what = f"is not for {holds}" if name in everywhere else "is unknown"
        raise ModelError(f"estimator={name!r} {what}; there are 'auto', {', '.join(map(repr, table))}")
    chosen = table[name]
    options: dict[str, Any] = {}
    if checkpoints is not None:
        if not issubclass(chosen, AbstractNetworkEstimator):
            raise ModelError(f"checkpoints= is for networks; estimator={name!r} of {holds} has none")
        if checkpoints < 1:
            raise ModelError(f"checkpoints is at least 1, not {checkpoints}")
        options["checkpoints"] = checkpoints
    if damping is not None:
        if not issubclass(chosen, GaussNewtonInfluence):
            raise ModelError(f"damping= is for the Gauss-Newton estimators of networks, not for {name!r} of {holds}")
        if not damping > 0:
            raise ModelError(f"damping is above 0, not {damping!r}")
        options["damping"] = damping
    if others:
        if not issubclass(chosen, AbstractNetworkEstimator):
            averaging = [known for known, each in table.items() if issubclass(each, AbstractNetworkEstimator)]
            raise ModelError(
                f"estimator={name!r} is of one store; those that average over an ensemble are {', '.join(map(repr, averaging))}"
            )
        options["others"] = others if not len(store.forgotten) else [without_forgotten(other) for other in others]
    if average is not None:
        if chosen is not Trak:
            raise ModelError(f"average= is for estimator='trak', not for {name!r} of {holds}")
        if average not in ("scores", "factors"):
            raise ModelError(f"average is 'scores' or 'factors', not {average!r}")
        options["average"] = average
    for option, value in (("optimizer", optimizer), ("curvature", curvature)):
        if value is not None:
            if chosen is not Replay:
                raise ModelError(f"{option}= is for estimator='replay', not for {name!r} of {holds}")
            options[option] = value
    if len(store.forgotten):
        return Remaining(chosen(without_forgotten(store), outcome, **options), store, outcome)
    return chosen(store, outcome, **options)


def _for(store: GradientStore) -> tuple[dict[str, _Class], str]:
    if store.objective is not None:
        return LINEAR, "a linear model"
    if store.checkpoints:
        return NETWORK, f"a {type(store.model).__name__}"
    return LOGGED, "gradients logged by hand"


def _best(store: GradientStore) -> str:
    if store.objective is not None:
        return "influence" if store.objective.size <= LARGEST_HESSIAN else "dot"
    if not store.checkpoints or not store.checkpoints[-1].adapter.one_number(store.X, store.y):
        return "dot"
    return "influence" if len(store) <= LARGEST_KERNEL else "trak"
