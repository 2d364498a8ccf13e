"""Which library a function computes with, and how values pass its border."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.location import user_location
from traceprop.tracing.lazy import Lazy

WORLDS = ("numpy", "jax", "torch")
_MODULES = {"jax": "jax", "torch": "torch"}


_KEYS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}


def world_of(function: Callable[..., Any], leaves: Iterable[Any]) -> str:
    """`"jax"` or `"torch"` where an argument is of that library or the function's own code names it; else `"numpy"`.

    Nothing is imported to find out: a library that nobody has imported is not in use.
    """
    for leaf in leaves:
        world = leaf.world if isinstance(leaf, Lazy) else world_of_value(leaf)
        if world != "numpy":
            return world
    return _world_of_code(function, set())


def _world_of_code(function: Any, seen: set[int]) -> str:
    """The library that a function's code names, or that of a helper beside it which it calls."""
    if isinstance(function, functools.partial):
        return _world_of_code(function.func, seen)
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return "torch" if _is_torch_module(function) else "numpy"
    if id(code) in seen:
        return "numpy"
    seen.add(id(code))
    scope = {**function.__globals__, **_closure(function)}
    for name in _names(code):
        value = scope.get(name)
        helper = getattr(value, "__wrapped__", value)
        if isinstance(value, types.ModuleType):
            world = _MODULES.get(value.__name__.split(".", 1)[0], "numpy")
        elif world_of_value(value) != "numpy":  # an array, or a function that JAX compiles
            world = world_of_value(value)
        elif isinstance(helper, types.FunctionType) and helper.__module__ == function.__module__:
            world = _world_of_code(helper, seen)
        else:
            world = "torch" if _is_torch_module(value) else _home(value)
        if world != "numpy":
            return world
    return "numpy"


def _home(value: Any) -> str:
    """The library of a function that was imported by its own name."""
    if not callable(value) or isinstance(value, type):
        return "numpy"
    return _MODULES.get(str(getattr(value, "__module__", "")).split(".", 1)[0], "numpy")


def _names(code: types.CodeType) -> Iterator[str]:
    """What a function's code names, comprehensions and inner functions included."""
    yield from code.co_names
    yield from code.co_freevars
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _names(inner)


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
    return _library(type(value))


@functools.lru_cache(maxsize=1024)
def _library(kind: type) -> str:
    module = kind.__module__.split(".", 1)[0]
    return "jax" if module in ("jax", "jaxlib") else "torch" if module == "torch" else "numpy"


def as_it_is(value: Any) -> Any:
    """A JAX array or a PyTorch tensor as programs may be given it; `None` where they take it by way of NumPy.

    That is where a JAX array has no dtype of its own (`weak_type`), and where a tensor is of another kind or device.
    """
    world = world_of_value(value)
    if world == "jax":
        return None if getattr(value, "weak_type", True) else value
    if world == "torch":
        import torch

        plain = type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout is torch.strided
        if plain and value.is_cpu and not (value.is_conj() or value.is_neg()):
            return value.detach()
    return None


def _is_torch_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def holds_arrays(value: Any) -> bool:
    """Whether an object that is no array is one of JAX's trees with arrays in it, which nobody here would see."""
    jax = sys.modules.get("jax")
    if jax is None or jax.tree_util.all_leaves([value]):
        return False
    return any(isinstance(leaf, jax.Array) for leaf in jax.tree_util.tree_leaves(value))


def mode_of(world: str) -> bool | None:
    """What else a world's traces hang on: whether JAX has 64-bit numbers by default."""
    if world != "jax":
        return None
    import jax

    return bool(jax.config.jax_enable_x64)


def to_numpy(value: Any) -> np.ndarray:
    """An array of any world as NumPy's, without a copy where the memory can be shared."""
    if world_of_value(value) == "torch":
        return value.detach().cpu().numpy()
    if key_kind(value) is not None:
        import jax

        return np.asarray(jax.random.key_data(value))
    return np.asarray(value)


def key_kind(value: Any) -> str | None:
    """For JAX's typed random keys the generator that they are for, as `wrapped_keys` takes it; else `None`.

    To a program they are their words, whose last axis is that of one key. Raises `TraceError` for a generator of the user's.
    """
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) or world_of_value(value) == "torch":
        return None
    dtype = str(dtype)
    if not dtype.startswith("key<"):
        return None
    if dtype not in _KEYS:
        raise TraceError(
            f"a random key of {dtype} as an argument at {user_location() or 'an unknown line'}: only keys of JAX's own "
            f"generators are known ({', '.join(_KEYS.values())}); pass its words, jax.random.key_data(key), and wrap them "
            "inside with jax.random.wrap_key_data"
        )
    return _KEYS[dtype]


def wrapped_keys(words: Any, kind: str) -> Any:
    """Typed random keys made of their words."""
    import jax

    return jax.random.wrap_key_data(words, impl=kind)


def to_world(value: Any, world: str) -> Any:
    """A NumPy array as the world's own kind; anything else as it is."""
    if not isinstance(value, np.ndarray) or world == "numpy":
        return value
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    if world == "jax":
        import jax

        with jax.enable_x64(value.dtype.itemsize == 8 or bool(jax.config.jax_enable_x64)):
            return jax.numpy.asarray(value)
    import torch

    as_it_is = value.flags.writeable and min(value.strides, default=0) >= 0
    return torch.from_numpy(value if as_it_is else value.copy())
