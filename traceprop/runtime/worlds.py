"""How the generated function of a JAX or PyTorch program is entered: arrays in, compilation, scope."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from traceprop.ir.forks import warn_of_torch
from traceprop.tracing.worlds import to_world

Function = Callable[..., tuple[tuple[Any, ...], dict[str, int]]]


TORCH_COMPILER = "inductor"
_numbers = itertools.count()


def entered(function: Function, slots: int, world: str, backend: str = "auto") -> Function:
    """The function with its world around it; takes NumPy arrays or the world's own.

    A PyTorch function runs eagerly; with `backend="torch"` it goes through `torch.compile` where there is a C++ compiler.
    """
    if world == "jax":
        return _jitted(function, slots)
    if world == "torch":
        return _eager_torch(_compiled_torch(function, slots) if backend == "torch" and cxx_compiler() else function)
    return function


def eagerly(function: Function, world: str) -> Function:
    """The function with its world around it, line after line: JAX without XLA's compilation of the whole."""
    if world == "torch":
        return _eager_torch(function)
    if world != "jax":
        return function
    import jax

    def run(captures: list[Any], *values: Any) -> Any:
        with jax.enable_x64(True):
            return function(captures, *(to_world(value, "jax") for value in values))

    return run


def settled(value: Any) -> Any:
    """The value, once it is there: JAX gives arrays that are still being computed."""
    jax = sys.modules.get("jax")
    return value if jax is None else jax.block_until_ready(value)


def engine(world: str, backend: str) -> str:
    """What computes the arrays of a program, in words."""
    if world == "torch" and backend == "torch":
        return "PyTorch, " + (
            "compiled by torch.compile" if cxx_compiler() else "eagerly: there is no C++ compiler here"
        )
    return {"jax": "JAX, compiled by XLA", "torch": "PyTorch, eagerly"}.get(world, "NumPy and polars")


def cxx_compiler() -> str | None:
    """The C++ compiler that `torch.compile` would call."""
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")


def _compiled_torch(function: Function, slots: int) -> Function:
    """Compiled once for any number of rows, captures as extra results; eagerly, with a warning, what PyTorch cannot compile.

    Its compiler looks the names of a function up in the module that the function says it is of, so there is one.
    """
    import torch
    from torch._dynamo.exc import TorchDynamoException

    module = types.ModuleType(f"traceprop_generated_{next(_numbers)}")
    module.__dict__.update(function.__globals__, __name__=module.__name__)
    own = types.FunctionType(function.__code__, module.__dict__, function.__name__)
    sys.modules[module.__name__] = module
    weakref.finalize(function, sys.modules.pop, module.__name__, None)

    def pure(*values: Any) -> Any:
        captures: list[Any] = [None] * slots
        return own(captures, *values), captures

    compiled: Callable[..., Any] | None = torch.compile(pure, dynamic=True, backend=TORCH_COMPILER)

    def run(captures: list[Any], *values: Any) -> Any:
        nonlocal compiled
        if compiled is not None:
            try:
                results, captures[:] = compiled(*values)
                return results
            except TorchDynamoException as error:
                compiled = None
                reason = str(error).strip().splitlines()[0]
                warnings.warn(f"{function.__name__} runs eagerly, for torch.compile fails: {reason}", stacklevel=2)
        return function(captures, *values)

    return run


def _eager_torch(function: Function) -> Function:
    import torch

    def run(captures: list[Any], *values: Any) -> Any:
        warn_of_torch()
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
