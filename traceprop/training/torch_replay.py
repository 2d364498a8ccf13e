"""A recorded training run, run again without some rows."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
from torch import nn

from traceprop.errors import ModelError
from traceprop.runtime.progress import progress
from traceprop.training.checkpoints import Checkpoint
from traceprop.training.store import GradientStore
from traceprop.training.torch import Deciding
from traceprop.training.torch_steps import MakeOptimizer

SAME = 1e-5


def share_to_replay(store: GradientStore, gone: np.ndarray) -> float:
    """Give which part of the recorded steps comes after the last checkpoint before a row of `gone` was used; else infinity."""
    if not store.schedule:
        return math.inf
    here = _before(store, gone)[0]
    return math.inf if here is None else 1.0 - here.step / len(store.schedule)


def replayed(
    store: GradientStore, data: Deciding, gone: np.ndarray, make: MakeOptimizer, seen: bool = False
) -> tuple[nn.Module, int, int]:
    """Run the recorded steps again from the last checkpoint before the first of them that used a row of `gone`.

    Every step takes its recorded samples but those, and the mean of their losses; and, where the optimizer is the one
    that was `seen`, its recorded learning rate. Before that, the run is tried: with all rows, from the same checkpoint to the
    next one, it must lead to that one's parameters.

    Returns
    -------
    The module, the step that it started from and the number of steps.

    Raises
    ------
    ModelError
        The context did not record the steps, no checkpoint is from before the rows were used, or the run that was
        tried leads elsewhere: another optimizer, a schedule, dropout, an optimizer's memory from before the checkpoint.
    """
    if not store.schedule:
        raise ModelError("exact replay needs the recorded run: call ctx.step(loss, rows) after each optimizer step")
    here, first = _before(store, gone)
    if here is None:
        raise ModelError(
            f"exact replay needs a checkpoint from before the rows were used, at step {first}; call ctx.checkpoint() before "
            "training starts"
        )
    recipe = store.recipe if seen else None
    rates = [] if recipe is None else [rate / recipe.highest for rate in recipe.rates]
    rates = rates if len(rates) == len(store.schedule) else []
    after = next((one for one in store.checkpoints if one.step > here.step), None)
    if after is None:
        return deepcopy(here.adapter.model).eval().cpu(), here.step, 0
    nobody = np.empty(0, dtype=np.int64)
    tried = _run(store, data, here, after.step, nobody, make, rates)
    wanted = after.adapter.parameters()
    found = nn.utils.parameters_to_vector([p for p in tried.parameters() if p.requires_grad]).detach().double().numpy()
    if not np.allclose(found, wanted, rtol=0, atol=SAME * max(float(np.abs(wanted).max()), 1.0)):
        raise ModelError(
            f"exact replay does not find its way: with all rows, steps {here.step} to {after.step} lead "
            f"{float(np.abs(found - wanted).max()):.1e} away from the checkpoint there; optimizer= must make the optimizer of "
            "the run, new at that checkpoint, and the steps be its mean loss and nothing else"
        )
    return _run(store, data, here, len(store.schedule), gone, make, rates), here.step, len(store.schedule) - here.step


def _before(store: GradientStore, gone: np.ndarray) -> tuple[Checkpoint | None, int]:
    """The last checkpoint before a row of `gone` was used, and the step at which that was."""
    touched = (step for step, (_, rows) in enumerate(store.schedule) if np.isin(rows, gone).any())
    first = next(touched, len(store.schedule))
    known = [*([] if store.initial is None else [store.initial]), *store.checkpoints]
    return next((one for one in reversed(known) if one.step <= first), None), first


def _run(
    store: GradientStore,
    data: Deciding,
    here: Checkpoint,
    until: int,
    gone: np.ndarray,
    make: MakeOptimizer,
    rates: list[float],
) -> nn.Module:
    module: nn.Module = deepcopy(here.adapter.model).train().cpu()
    optimizer = make([p for p in module.parameters() if p.requires_grad])
    with progress("recorded steps", until - here.step) as done:
        for step in range(here.step, until):
            rows = store.schedule[step][1]
            done(1)
            stay = rows[~np.isin(rows, gone)]
            if not len(stay):
                continue
            some = data[stay]
            if rates:
                _at_rate(optimizer, rates[step])
            optimizer.zero_grad()
            data.loss(module(some.inputs), some.targets).mean().backward()
            optimizer.step()
    return module.eval()


def _at_rate(optimizer: Any, share: float) -> None:
    """Set the learning rates to a share of the run's highest."""
    for group in optimizer.param_groups:
        if "lr" in group:
            group["lr"] = group.setdefault("highest_lr", group["lr"]) * share
