"""The ways to take rows out of a network, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.network_predictions import Forgetting
from traceprop.passes.unlearning.prediction import Prediction
from traceprop.passes.unlearning.selective_damping import dampened

STEPS = 120
RATE = 1e-3
TRIES = 3
ENOUGH = 0.3
TRAINED_RATE = 1e-3
"""Adam's usual rate, for methods that go on training."""
SHORT = 0.25
"""Of the run's passes: how long fine-tuning is."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """A changed network, how it came to be, and where its rows were to go; `module` None where that is refused."""

    module: Any
    how: str
    prediction: Prediction | None = None
    refusal: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    exact: bool = False


def replay(task: Forgetting) -> Attempt:
    """The recorded run again from the last checkpoint that the rows did not touch."""
    from traceprop.training.torch_replay import replayed

    if task.make is None:
        raise ModelError(
            "exact replay needs optimizer=, called with the parameters for the optimizer of the run: "
            "optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1)"
        )
    module, start, steps = replayed(task.store, task.data, task.gone, task.make)
    how = f"{steps} recorded steps run again without the rows, from the checkpoint at step {start}"
    return Attempt(module, how, metrics={"replayed_from": start, "replayed_steps": steps}, exact=True)


def matching(task: Forgetting) -> Attempt:
    """Fine-tuning towards predicted numbers, on the forgotten rows and a sample of those that stay."""
    attribution, rewinding = task.curved, task.earlier is not None
    if not (attribution or rewinding):
        raise ModelError(
            "nothing predicts the forgotten rows: the loss has no curvature in the network's outputs, and there is no earlier "
            "checkpoint (ctx.batches keeps one at each pass, ctx.checkpoint() by hand)"
        )
    prediction = task.prediction(attribution, rewinding)
    by = " and ".join(
        name
        for name, there in (("a Gauss-Newton group effect", attribution), ("a short rewound run", rewinding))
        if there
    )
    return _matched(task, prediction, f"predicted by {by}")


def rewind(task: Forgetting) -> Attempt:
    """`matching`, by the rewound run alone."""
    if task.earlier is None:
        raise ModelError(
            "rewinding needs a checkpoint from before the end of training: ctx.batches keeps one at each pass, "
            "ctx.checkpoint() by hand"
        )
    return _matched(task, task.prediction(attribution=False), "predicted by a short rewound run")


def _matched(task: Forgetting, prediction: Prediction, by: str) -> Attempt:
    from traceprop.training.torch_steps import numbers, towards

    refusal = prediction.refusal()
    if refusal is not None:
        return Attempt(None, by, prediction, refusal)
    k, data = len(task.gone), task.data[task.watched]
    wanted = np.concatenate([prediction.without, prediction.without_staying])
    best: tuple[float, float, str | None, Any] | None = None
    for attempt in range(TRIES):
        rate = RATE * 3**attempt
        module = towards(task.module, data, wanted, k, STEPS, task.seed, rate)
        moved = numbers(module, data)
        left, off, why_not = prediction.judged(moved[:k], moved[k:])
        total = left + off if np.isfinite(left + off) else np.inf
        if best is None or total < best[0]:
            best = (total, rate, why_not, module)
        if left <= ENOUGH * prediction.way:
            break
    assert best is not None
    _, rate, why_not, module = best
    metrics = {"matching_steps": STEPS * (attempt + 1), "matching_rate": rate}
    how = f"{STEPS} steps of fine-tuning towards the forgotten rows' margins or outputs without them, {by}"
    return Attempt(None if why_not else module, how, prediction, why_not, metrics)


def gauss_newton(task: Forgetting) -> Attempt:
    """One damped Gauss-Newton step in the parameters."""
    from traceprop.training.torch_steps import along

    if not task.curved:
        raise ModelError(
            "method='gauss-newton' needs a loss that is curved in the network's outputs; method='rewind' does not"
        )
    module = along(task.module, task.data[task.watched], task.group_step.weights())
    return Attempt(module, "one damped Gauss-Newton step on the rows that stay", task.prediction(rewinding=False))


def ssd(task: Forgetting) -> Attempt:
    """Selective synaptic dampening."""
    from traceprop.training.torch_steps import importances, with_parameters

    theta = task.last.adapter.parameters()
    everything = np.sort(np.concatenate([task.gone, task.sample]))
    found = dampened(
        theta, importances(task.module, task.data[task.gone]), importances(task.module, task.data[everything])
    )
    metrics = {"dampened_parameters": int((found != theta).sum())}
    return Attempt(with_parameters(task.module, found), "selective synaptic dampening", metrics=metrics)


def scrub(task: Forgetting) -> Attempt:
    """Away from the trained network on the forgotten rows, near to it on the others."""
    from traceprop.training.torch_steps import scrubbed

    rounds = max(round(SHORT * task.passes), 1)
    module = scrubbed(
        task.module, task.data[task.gone], task.data[task.stay], rounds, task.batch, task.seed, TRAINED_RATE
    )
    return Attempt(module, f"SCRUB, {rounds} rounds")


def finetune(task: Forgetting) -> Attempt:
    """Training goes on, on the rows that stay."""
    from traceprop.training.torch_steps import trained

    passes = max(round(SHORT * task.passes), 1)
    steps = passes * task.steps_of_a_pass
    module = trained(task.module, task.data[task.stay], steps, task.batch, task.seed, TRAINED_RATE, task.make)
    return Attempt(module, f"fine-tuning for {passes} passes over the rows that stay")


def ascent(task: Forgetting) -> Attempt:
    """Up the forgotten rows' loss: for comparison, as nothing tells it where to stop."""
    from traceprop.training.torch_steps import trained

    steps = max(-(-len(task.gone) // task.batch), 1) * 5
    module = trained(task.module, task.data[task.gone], steps, task.batch, task.seed, TRAINED_RATE / 10, sign=-1.0)
    return Attempt(module, f"{steps} steps up the forgotten rows' loss")


METHODS: dict[str, Callable[[Forgetting], Attempt]] = {
    "replay": replay,
    "matching": matching,
    "rewind": rewind,
    "gauss-newton": gauss_newton,
    "ssd": ssd,
    "scrub": scrub,
    "finetune": finetune,
    "ascent": ascent,
}


def auto(task: Forgetting) -> tuple[str, Attempt]:
    """Exact replay where the run can be replayed; else by a rewound run, or without an earlier checkpoint by attribution.

    Both of the latter refuse where the network does not get near to its own prediction.
    """
    why = ""
    if task.make is not None:
        try:
            return "replay", replay(task)
        except ModelError as error:
            why = f"; not replayed: {error}"
    name = "matching" if task.earlier is None else "rewind"
    found = METHODS[name](task)
    return name, replace(found, how=found.how + why)
