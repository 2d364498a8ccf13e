"""How the generated function of a JAX or PyTorch program is entered: arrays in, compilation, scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traceprop.tracing.worlds import to_world

Function = Callable[..., tuple[tuple[Any, ...], dict[str, int]]]


def entered(function: Function, slots: int, world: str) -> Function:
    """The function with its world around it; takes NumPy arrays or the world's own."""
    if world == "jax":
        return _jitted(function, slots)
    if world == "torch":
        return _eager_torch(function)
    return function


def _eager_torch(function: Function) -> Function:
    import torch

    def run(captures: list[Any], *values: Any) -> Any:
        with torch.no_grad():
            return function(captures, *(to_world(value, "torch") for value in values))

    return run


def _jitted(function: Function, slots: int) -> Function:
    """Compiled once by XLA, captures as extra outputs.

    It runs with `enable_x64` in this scope: every primitive is of the dtypes that it was traced with, 32-bit ones too.
    """
    import jax

    sizes: dict[str, int] = {}

    def pure(*values: Any) -> Any:
        captures: list[Any] = [None] * slots
        results, found = function(captures, *values)
        sizes.update(found)
        return results, captures

    compiled = jax.jit(pure)

    def run(captures: list[Any], *values: Any) -> Any:
        with jax.enable_x64(True):
            results, kept = compiled(*(to_world(value, "jax") for value in values))
        captures[:] = kept
        return results, sizes

    return run
