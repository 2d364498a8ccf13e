"""The ways to take rows out of a network, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.network_outcome import Outcome
from traceprop.explain.network_predictions import Forgetting
from traceprop.passes.unlearning.prediction import Prediction
from traceprop.passes.unlearning.selective_damping import dampened
from traceprop.training.network_steps import (
    along,
    importances,
    losses,
    numbers,
    scrubbed,
    towards,
    trained,
    with_parameters,
)

STEPS = 120
RATE = 1e-3
TRIES = 3
ENOUGH = 0.3
TRAINED_RATE = 1e-3
"""Adam's usual rate, for methods that go on training."""
OPTIMIZER = (
    "optimizer=, called with the parameters for the optimizer of the run: "
    "optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1)"
)
BUDGET = 0.5
"""Of the run: how much of it may be replayed where a shorter way is known."""
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
    untouched: bool = False
    """Whether the rows had no part in it, by the way that it was made."""


def replay(task: Forgetting) -> Attempt:
    """The recorded run again from the last checkpoint that the rows did not touch."""
    from traceprop.training.torch_replay import replayed

    _check_seen(task, "exact replay")
    if task.maker is None:
        raise ModelError(f"exact replay needs {OPTIMIZER}")
    module, start, steps = replayed(task.store, task.data, task.gone, task.maker, seen=task.make is None)
    how = f"{steps} recorded steps run again without the rows, from the checkpoint at step {start}"
    metrics = {"replayed_from": start, "replayed_steps": steps}
    return Attempt(module, how, metrics=metrics, exact=True, untouched=True)


def compressed_replay(task: Forgetting) -> Attempt:
    """Training again from where it began, without the rows, by the recorded recipe in less than half of the work."""
    from traceprop.training.torch_compressed import MERGED, compressed
    from traceprop.training.torch_steps import fits_already

    _check_seen(task, "training again")
    begin, recipe, make = task.store.initial, task.store.recipe, task.maker
    if begin is None:
        raise ModelError(
            "training again needs the network as it was when the context began, and it had no shape yet then"
        )
    if make is None or recipe is None:
        raise ModelError(f"training again needs the run's steps, as its torch optimizer takes them, and {OPTIMIZER}")
    if recipe.passes is None or recipe.batch is None:
        raise ModelError(
            "training again needs to know how long training was: feed the loop by ctx.batches, or say so by "
            "ctx.checkpoint(epoch) at the end"
        )
    module, data, sample = begin.adapter.model, task.data[task.stay], task.data[task.sample]
    at_first = float(losses(module, sample).mean())
    for rise in (MERGED, 1.0):
        found, steps = compressed(module, data, recipe.passes, recipe.batch, task.seed, make, recipe.share, rise)
        left = float(losses(found, sample).mean())
        if left < at_first:
            break
    k = len(task.gone)
    staying = task.numbers[k:]
    prediction = Prediction(task.numbers[:k], numbers(found, task.data[task.gone]), staying, staying)
    metrics = {"compressed_steps": steps, "recorded_steps": len(recipe.rates), "rate_raised": rise}
    how = (
        f"trained again without the rows, from where the context began, in {steps} steps of {recipe.kind.__name__} for the "
        f"{len(recipe.rates)} of the run"
    )
    known = fits_already(module, sample, task.seed)
    if known:
        how += "; the network fitted these data already then, and may have seen the rows before"
    why_not = None if left < at_first else "the shorter run does not lessen the loss of the rows that stay"
    return Attempt(None if why_not else found, how, prediction, why_not, metrics, untouched=not known)


def _check_seen(task: Forgetting, what: str) -> None:
    if not task.data.steps_seen:
        raise ModelError(
            f"{what} is for torch networks: a JAX loop steps by a function of its own, which the context does not see; "
            "method='rewind' trains on from an earlier checkpoint, 'matching' and 'gauss-newton' need none, and "
            "'finetune' goes on from the end"
        )


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
    if not task.curved:
        raise ModelError(
            "method='gauss-newton' needs a loss that is curved in the network's outputs; method='rewind' does not"
        )
    module = along(task.module, task.data[task.watched], task.group_step.weights())
    return Attempt(module, "one damped Gauss-Newton step on the rows that stay", task.prediction(rewinding=False))


def ssd(task: Forgetting) -> Attempt:
    """Selective synaptic dampening."""
    theta = task.last.adapter.parameters()
    everything = np.sort(np.concatenate([task.gone, task.sample]))
    found = dampened(
        theta, importances(task.module, task.data[task.gone]), importances(task.module, task.data[everything])
    )
    metrics = {"dampened_parameters": int((found != theta).sum())}
    return Attempt(with_parameters(task.module, found, task.data), "selective synaptic dampening", metrics=metrics)


def scrub(task: Forgetting) -> Attempt:
    """Away from the trained network on the forgotten rows, near to it on the others."""
    rounds = max(round(SHORT * task.passes), 1)
    module = scrubbed(
        task.module, task.data[task.gone], task.data[task.stay], rounds, task.batch, task.seed, TRAINED_RATE
    )
    return Attempt(module, f"SCRUB, {rounds} rounds")


def finetune(task: Forgetting) -> Attempt:
    """Training goes on, on the rows that stay."""
    passes = max(round(SHORT * task.passes), 1)
    steps = passes * task.steps_of_a_pass
    module = trained(task.module, task.data[task.stay], steps, task.batch, task.seed, TRAINED_RATE, task.make)
    return Attempt(module, f"fine-tuning for {passes} passes over the rows that stay")


def ascent(task: Forgetting) -> Attempt:
    """Up the forgotten rows' loss: for comparison, as nothing tells it where to stop."""
    steps = max(-(-len(task.gone) // task.batch), 1) * 5
    module = trained(task.module, task.data[task.gone], steps, task.batch, task.seed, TRAINED_RATE / 10, sign=-1.0)
    return Attempt(module, f"{steps} steps up the forgotten rows' loss")


METHODS: dict[str, Callable[[Forgetting], Attempt]] = {
    "replay": replay,
    "compressed-replay": compressed_replay,
    "matching": matching,
    "rewind": rewind,
    "gauss-newton": gauss_newton,
    "ssd": ssd,
    "scrub": scrub,
    "finetune": finetune,
    "ascent": ascent,
}


def auto(task: Forgetting) -> tuple[str, Attempt]:
    """The first of these that is possible, and whose outcome is one to hand out; else refused, with what each lacked.

    Exact replay, where `optimizer=` was given or at most half of the run is to be replayed; replay in less than half of the
    work; a rewound run; and without an earlier checkpoint attribution.
    """
    from traceprop.training.torch_replay import share_to_replay

    tried: list[str] = []
    names = ["matching" if task.earlier is None else "rewind"]
    if task.data.steps_seen:
        names = ["compressed-replay", *names]
        cheap = task.maker is not None and share_to_replay(task.store, task.gone) <= BUDGET
        names = ["replay", *names] if task.make is not None or cheap else names
    for name in names:
        try:
            found = METHODS[name](task)
        except ModelError as error:
            if name == names[-1]:
                raise
            tried.append(f"not {name}: {error}")
            continue
        if found.module is not None and not found.exact:
            refusal = Outcome(task, found.module).refusal
            found = replace(found, module=None, refusal=refusal) if refusal else found
        if found.module is not None:
            return name, replace(found, how="; ".join([found.how, *tried]))
        tried.append(f"{name}: {found.refusal}")
    return name, replace(found, refusal="; ".join(tried))
