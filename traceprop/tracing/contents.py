"""What a value that a function closes over holds, as a key: equal while the function would compute the same with it."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Hashable
from typing import Any

import numpy as np

from traceprop.sources.array import content_fingerprint
from traceprop.sources.tensors import seen_as_numpy

_SMALL = 1024
DEEP = 4
PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


class Same:
    """Equal to itself alone. It holds its object, whose id can therefore not become another's."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def content_key(value: Any, depth: int = 0) -> Hashable:
    """Arrays and tensors count by what they hold, numbers by value, modules by parameters, buffers and modes.

    Other objects count by identity and by their attributes, a few levels deep; lazy values by identity.
    """
    if isinstance(value, np.ndarray):
        small = value.nbytes <= _SMALL and value.dtype != object
        return (value.shape, value.dtype.str, value.tobytes() if small else content_fingerprint(value))
    if isinstance(value, PLAIN):
        return (type(value).__name__, repr(value))
    if isinstance(value, (tuple, list)):
        return (type(value).__name__, *(content_key(item, depth + 1) for item in value))
    if isinstance(value, dict):
        return ("dict", *((str(name), content_key(item, depth + 1)) for name, item in value.items()))
    if isinstance(value, functools.partial):
        return ("partial", Same(value.func), content_key((value.args, value.keywords), depth + 1))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _tensor_key(torch, value)
    if torch is not None and isinstance(value, torch.nn.Module):
        return _module_key(value)
    return (Same(value), *_attributes_key(value, depth))


def _attributes_key(value: Any, depth: int) -> tuple[Hashable, ...]:
    return tuple((name, content_key(item, depth + 1)) for name, item in attributes(value, depth).items())


def attributes(value: Any, depth: int) -> dict[str, Any]:
    """The attributes that an object counts by."""
    held = getattr(value, "__dict__", None)
    if depth >= DEEP or not isinstance(held, dict) or isinstance(value, _CODE) or hasattr(value, "__wrapped__"):
        return {}
    return held


def _tensor_key(torch: Any, tensor: Any) -> Hashable:
    """By content: `tensor.data` can be written to without a trace in its version."""
    kind = (tuple(tensor.shape), str(tensor.dtype))
    if tensor.layout is not torch.strided or tensor.device.type == "meta":
        return (*kind, Same(tensor), tensor._version)
    raw = seen_as_numpy(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
    return (*kind, raw.tobytes() if raw.nbytes <= _SMALL else content_fingerprint(raw))


def _module_key(module: Any) -> Hashable:
    found: list[Hashable] = [Same(module)]
    for name, part in module.named_modules():
        found.append((name, type(part), part.training))
        found += [
            (n, None if t is None else content_key(t)) for n, t in (*part._parameters.items(), *part._buffers.items())
        ]
        found += [
            (n, content_key(v)) for n, v in vars(part).items() if isinstance(v, (*PLAIN, tuple, list, np.ndarray))
        ]
    return tuple(found)
