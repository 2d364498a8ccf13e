"""How the generated function of a JAX or PyTorch program is entered: arrays in, compilation, scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traceprop.ir import ArrayType, Program
from traceprop.tracing.worlds import to_world

Function = Callable[..., tuple[tuple[Any, ...], dict[str, int]]]


def entered(function: Function, program: Program, slots: int, world: str) -> Function:
    """The function with its world around it; takes NumPy arrays or the world's own."""
    if world == "jax":
        return _jitted(function, program, slots)
    if world == "torch":
        return _eager_torch(function)
    return function


def _eager_torch(function: Function) -> Function:
    import torch

    def run(captures: list[Any], *values: Any) -> Any:
        with torch.no_grad():
            return function(captures, *(to_world(value, "torch") for value in values))

    return run


def _jitted(function: Function, program: Program, slots: int) -> Function:
    """Compiled once by XLA, captures as extra outputs. Programs with 64-bit values run with `enable_x64` in scope only."""
    import jax

    sizes: dict[str, int] = {}

    def pure(*values: Any) -> Any:
        captures: list[Any] = [None] * slots
        results, found = function(captures, *values)
        sizes.update(found)
        return results, captures

    compiled = jax.jit(pure)
    wide = needs_x64(program)

    def run(captures: list[Any], *values: Any) -> Any:
        with jax.enable_x64(True) if wide else jax.enable_x64(bool(jax.config.jax_enable_x64)):
            results, kept = compiled(*values)
        captures[:] = kept
        return results, sizes

    return run


def needs_x64(program: Program) -> bool:
    """Whether a program holds 64-bit numbers, which JAX has only in that scope."""
    return any(
        isinstance(value.type, ArrayType) and value.type.dtype in ("f64", "i64", "u64", "c128")
        for value in program.values
    )
