"""Optimizer steps as functions of numbers, and what they do to derivatives on the way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from traceprop.errors import ModelError

Vector = torch.Tensor
State = tuple[Vector, ...]
"""What an optimizer remembers from step to step: vectors as long as the parameters, (p,) each."""


class AbstractRule(ABC):
    """One optimizer step on all parameters at once: `theta` (p,), `memory` (p,) each, `gradient` (p,) of the mean loss."""

    memories: int

    @abstractmethod
    def step(self, theta: Vector, memory: State, gradient: Vector, count: int) -> tuple[Vector, State]:
        """Give parameters and memory after step number `count`, from 1."""

    @abstractmethod
    def back(
        self, theta: Vector, memory: State, gradient: Vector, count: int, by_theta: Vector, by_memory: State
    ) -> tuple[Vector, State, Vector]:
        """Carry derivatives by what a step gave, (m, p) each, to derivatives by its parameters, memory and gradient."""


class SGDRule(AbstractRule):
    """`torch.optim.SGD`."""

    def __init__(self, group: dict[str, Any]) -> None:
        self._rate, self._momentum, self._dampening = group["lr"], group["momentum"], group["dampening"]
        self._decay, self._nesterov = group["weight_decay"], group["nesterov"]
        self.memories = 1 if self._momentum else 0

    def _fresh(self, count: int) -> float:
        return 1.0 if count == 1 else 1.0 - self._dampening

    def step(self, theta: Vector, memory: State, gradient: Vector, count: int) -> tuple[Vector, State]:
        change = gradient + self._decay * theta if self._decay else gradient
        if not self._momentum:
            return theta - self._rate * change, ()
        moving = self._momentum * memory[0] + self._fresh(count) * change
        change = change + self._momentum * moving if self._nesterov else moving
        return theta - self._rate * change, (moving,)

    def back(
        self, theta: Vector, memory: State, gradient: Vector, count: int, by_theta: Vector, by_memory: State
    ) -> tuple[Vector, State, Vector]:
        by_change = -self._rate * by_theta
        before: State = ()
        if self._momentum:
            direct = by_change
            by_moving = torch.add(by_memory[0], by_change, alpha=self._momentum if self._nesterov else 1.0)
            before = (self._momentum * by_moving,)
            by_change = by_moving * self._fresh(count)
            if self._nesterov:
                by_change += direct
        if self._decay:
            by_theta = torch.add(by_theta, by_change, alpha=self._decay)
        return by_theta, before, by_change


class AdamRule(AbstractRule):
    """`torch.optim.Adam` and `AdamW`."""

    memories = 2

    def __init__(self, group: dict[str, Any], decoupled: bool) -> None:
        self._rate, self._eps = group["lr"], group["eps"]
        self._first, self._second = group["betas"]
        self._decay = 0.0 if decoupled else group["weight_decay"]
        self._shrink = 1.0 - self._rate * group["weight_decay"] if decoupled else 1.0

    def _moments(self, theta: Vector, memory: State, gradient: Vector) -> tuple[Vector, Vector, Vector]:
        change = gradient + self._decay * theta if self._decay else gradient
        first = torch.lerp(memory[0], change, 1.0 - self._first)
        second = (self._second * memory[1]).addcmul_(change, change, value=1.0 - self._second)
        return change, first, second

    def step(self, theta: Vector, memory: State, gradient: Vector, count: int) -> tuple[Vector, State]:
        _, first, second = self._moments(theta, memory, gradient)
        size = (second / (1.0 - self._second**count)).sqrt_().add_(self._eps)
        rate = self._rate / (1.0 - self._first**count)
        return (theta * self._shrink).addcdiv_(first, size, value=-rate), (first, second)

    def back(
        self, theta: Vector, memory: State, gradient: Vector, count: int, by_theta: Vector, by_memory: State
    ) -> tuple[Vector, State, Vector]:
        change, first, second = self._moments(theta, memory, gradient)
        unbiased = 1.0 - self._second**count
        root = (second / unbiased).sqrt_()
        rate = self._rate / (1.0 - self._first**count)
        of_first = -rate / (root + self._eps)
        # Where no gradient has been yet the root has no derivative, and the step none either: it stays 0.
        of_second = torch.where(root > 0, rate * first / ((root + self._eps) ** 2 * 2.0 * root * unbiased), 0.0)
        by_first = torch.addcmul(by_memory[0], by_theta, of_first)
        by_second = torch.addcmul(by_memory[1], by_theta, of_second)
        by_change = (by_second * (2.0 * (1.0 - self._second) * change)).add_(by_first, alpha=1.0 - self._first)
        by_theta = by_theta * self._shrink if self._shrink != 1.0 else by_theta
        if self._decay:
            by_theta = torch.add(by_theta, by_change, alpha=self._decay)
        return by_theta, (by_first.mul_(self._first), by_second.mul_(self._second)), by_change


def rule_of(make: Callable[[list[nn.Parameter]], Any], parameters: list[nn.Parameter]) -> AbstractRule:
    """Find the rule of the optimizer that `make` gives.

    Raises
    ------
    ModelError
        It is none of SGD, Adam and AdamW, has groups of parameters of its own, or an option that is not followed.
    """
    optimizer = make(parameters)
    known = {torch.optim.SGD: "SGD", torch.optim.Adam: "Adam", torch.optim.AdamW: "AdamW"}
    name = known.get(type(optimizer))
    if name is None:
        raise ModelError(
            f"a run is differentiated through SGD, Adam and AdamW, and optimizer= makes a {type(optimizer).__name__}"
        )
    if len(optimizer.param_groups) != 1:
        raise ModelError("a run is differentiated with one group of parameters, and optimizer= makes several")
    group = optimizer.param_groups[0]
    odd = [option for option in ("maximize", "amsgrad") if group.get(option)]
    odd += [option for option in ("lr",) if isinstance(group[option], torch.Tensor)]
    if odd:
        raise ModelError(f"a run is not differentiated through {name} with {odd[0]}={group[odd[0]]!r}")
    return SGDRule(group) if name == "SGD" else AdamRule(group, decoupled=name == "AdamW")
