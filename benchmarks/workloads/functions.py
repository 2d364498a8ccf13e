"""The functions of arrays that are timed, as a user would write them. They name no library: each front end can run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

COLUMNS = 10
OPS = 5
"""Of `standardise`."""


def standardise(x: Any) -> Any:
    """Five ops, two of them reductions over rows."""
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)


def chain(x: Any) -> Any:
    """Twenty element-wise steps."""
    for _ in range(5):
        x = abs(x * 1.01 - 0.25) + 0.125
    return x


def on(function: Callable[[Any], Any], x: Any) -> Callable[[], Any]:
    """The call that gives `function(x)`."""
    return lambda: function(x)


def in_hand(function: Callable[[Any], Any], x: Any, take: Callable[[Any], Any]) -> Callable[[], Any]:
    """The call that gives `take(function(x))`: the result as an array of the caller's own."""
    return lambda: take(function(x))


FUNCTIONS = {"standardise": standardise, "20-step chain": chain}
