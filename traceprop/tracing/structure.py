"""Nested arguments and results: leaves out, leaves in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def flatten(value: Any, name: str, is_leaf: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """The leaves of nested tuples, lists and dicts with a name each: `batch_0`, `batch_x`, …"""
    if not is_leaf(value):
        if isinstance(value, (tuple, list)):
            return [leaf for k, item in enumerate(value) for leaf in flatten(item, f"{name}_{k}", is_leaf)]
        if isinstance(value, dict):
            return [leaf for key, item in value.items() for leaf in flatten(item, f"{name}_{key}", is_leaf)]
    return [(name, value)]


def rebuild(value: Any, replace: Callable[[Any], Any], is_leaf: Callable[[Any], bool]) -> Any:
    """The same structure with every leaf replaced, leaves in the order of `flatten`."""
    if not is_leaf(value):
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(rebuild(item, replace, is_leaf) for item in value))
        if isinstance(value, (tuple, list)):
            return type(value)(rebuild(item, replace, is_leaf) for item in value)
        if isinstance(value, dict):
            return type(value)((key, rebuild(item, replace, is_leaf)) for key, item in value.items())
    return replace(value)
