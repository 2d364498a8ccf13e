"""Whether two native calls compute the same: a key that is made of what they are, not of which object they happen to be."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any

import numpy as np

from traceprop.ir.dump import constant_digest

# Libraries whose functions give the same for the same; a function of anyone else's may draw, count or look at the clock.
_FUNCTIONAL = ("traceprop", "numpy", "jax", "jaxlib", "torch", "operator", "functools", "builtins", "_operator", "math")


class Unlike(Exception):
    """Raised for a call of which it is not known that it gives the same for the same."""


def same_call(left: Callable[..., Any] | None, right: Callable[..., Any] | None) -> bool:
    """Whether two natives, over equal operands, give equal results: one object, or the same function of the same arguments.

    An object that has `call_key()` says itself what it is; it raises `Unlike` where it has an effect or draws. Two calls that
    are not known to be alike are not.
    """
    if left is right:
        return True
    if left is None or right is None:
        return False
    try:
        return bool(key_of(left) == key_of(right))
    except Unlike:
        return False


def key_of(value: Any) -> Hashable:
    """A key that two static arguments, or two functions, share only if they are alike. Raises `Unlike` where nobody knows."""
    if value is None or isinstance(value, (bool, int, float, complex)):
        return (type(value).__name__, repr(value))  # 1 == 1.0 == True, and 0.0 == -0.0
    if isinstance(value, (str, bytes, type, Enum, np.dtype)):
        return value
    if isinstance(value, (tuple, list)):
        return (type(value), *map(key_of, value))
    if isinstance(value, slice):
        return ("slice", key_of((value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return tuple((name, key_of(item)) for name, item in value.items())
    if isinstance(value, np.ndarray):
        return constant_digest(value)
    if isinstance(value, np.generic):
        return (value.dtype.str, value.tobytes())
    if isinstance(value, functools.partial):
        return ("partial", key_of(value.func), key_of(value.args), key_of(value.keywords))
    if isinstance(value, types.MethodType):
        return ("method", value.__func__, key_of(value.__self__))
    if hasattr(value, "call_key"):
        found: Hashable = value.call_key()
        return found
    if isinstance(value, types.FunctionType):
        return _function_key(value)
    if callable(value) and not _is_functional(value):
        raise Unlike
    try:
        hash(value)
    except TypeError:
        return ("id", id(value))  # alive as long as the op that holds it
    return ("id", id(value)) if hasattr(value, "__array__") else (type(value), value)


def _function_key(function: types.FunctionType) -> Hashable:
    if not _is_functional(function):
        raise Unlike
    cells = tuple(key_of(cell.cell_contents) for cell in function.__closure__ or ())
    return (function.__code__, cells, key_of(function.__defaults__), key_of(function.__kwdefaults__))


def _is_functional(value: Any) -> bool:
    module = getattr(value, "__module__", None) or type(value).__module__
    return module.split(".", 1)[0] in _FUNCTIONAL
