"""Which library a function computes with, and how values pass its border."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from traceprop.tracing.lazy import Lazy

WORLDS = ("numpy", "jax", "torch")
_MODULES = {"jax": "jax", "torch": "torch"}


def world_of(function: Callable[..., Any], leaves: Iterable[Any]) -> str:
    """`"jax"` or `"torch"` where an argument is of that library or the function's own code names it; else `"numpy"`.

    Nothing is imported to find out: a library that nobody has imported is not in use.
    """
    for leaf in leaves:
        world = leaf.world if isinstance(leaf, Lazy) else world_of_value(leaf)
        if world != "numpy":
            return world
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return "torch" if _is_torch_module(function) else "numpy"
    scope = {**function.__globals__, **_closure(function)}
    for name in (*code.co_names, *code.co_freevars):
        value = scope.get(name)
        if isinstance(value, types.ModuleType):
            world = _MODULES.get(value.__name__.split(".", 1)[0])
            if world:
                return world
        elif _is_torch_module(value):
            return "torch"
    return "numpy"


def _closure(function: Any) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def world_of_value(value: Any) -> str:
    """The library that an array is of."""
    module = type(value).__module__.split(".", 1)[0]
    return "jax" if module in ("jax", "jaxlib") else "torch" if module == "torch" else "numpy"


def _is_torch_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def to_numpy(value: Any) -> np.ndarray:
    """An array of any world as NumPy's, without a copy where the memory can be shared."""
    if world_of_value(value) == "torch":
        return value.detach().cpu().numpy()
    return np.asarray(value)


def to_world(value: Any, world: str) -> Any:
    """A NumPy array as the world's own kind; anything else as it is."""
    if not isinstance(value, np.ndarray) or world == "numpy":
        return value
    if world == "jax":
        import jax

        with jax.enable_x64(value.dtype.itemsize == 8 or bool(jax.config.jax_enable_x64)):
            return jax.numpy.asarray(value)
    import torch

    return torch.from_numpy(value if value.flags.writeable else value.copy())
