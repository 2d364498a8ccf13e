"""What a traced function may not depend on unseen: values it closes over, and NumPy's random numbers."""

from __future__ import annotations

import dis
import threading
import types
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir.forks import renewed_in_child
from traceprop.ir.location import user_location
from traceprop.tracing.contents import content_key
from traceprop.tracing.trace import active_trace

_RANDOM = (np.random.Generator, np.random.RandomState)
_WAY_OUT = (
    "use tp.random(seed), or draw the numbers before the call and pass them in, so that they are an input with a name"
)


def closure_key(function: Callable[..., Any]) -> Hashable:
    """A key that changes when a value that the function (or a helper of the user's that it calls) closes over changes.

    What a value counts by, `content_key` says. Raises `TraceError` for a random generator.
    """
    found: list[tuple[str, Hashable]] = []
    owner = owner_of(function)
    if owner is not None:
        found.append(("self", content_key(owner)))
    _collect(function, found, set())
    return tuple(found)


def owner_of(function: Any) -> Any:
    """The object whose attributes the function may read: a bound method's, or a callable object (a module) itself."""
    if isinstance(function, types.MethodType):
        return function.__self__
    return None if hasattr(getattr(function, "__wrapped__", function), "__code__") else function


def _collect(function: Any, found: list[tuple[str, Hashable]], seen: set[int]) -> None:
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None or id(function) in seen:
        return
    seen.add(id(function))
    for name, value in _closed_over(function, code):
        if isinstance(value, _RANDOM) or isinstance(getattr(value, "__self__", None), _RANDOM):
            raise TraceError(
                f"{function.__name__} draws random numbers from {name!r} at {_line_of(code, name)}: a traced function "
                f"computes the same from the same inputs; {_WAY_OUT}"
            )
        if is_helper(value):
            if value.__module__ == function.__module__:
                _collect(value, found, seen)
        elif not isinstance(value, (types.ModuleType, type, types.BuiltinFunctionType)):
            found.append((name, content_key(value)))


def is_helper(value: Any) -> bool:
    """Whether a value is a Python function, or one that is wrapped: traced, cached, timed."""
    return isinstance(getattr(value, "__wrapped__", value), types.FunctionType)


def _closed_over(function: Any, code: types.CodeType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    scope = function.__globals__
    for name in global_names(code):
        if name in scope:
            yield name, scope[name]


def global_names(code: types.CodeType) -> list[str]:
    """The names that code, and code inside it, may look up in its module."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += global_names(constant)
    return names


def _line_of(code: types.CodeType, name: str) -> str:
    for instruction in dis.get_instructions(code):
        if instruction.argval == name and instruction.positions and instruction.positions.lineno:
            return f"{code.co_filename.rsplit('/', 1)[-1]}:{instruction.positions.lineno}"
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"


class _RandomGuard:
    """Stands for `np.random` while any thread traces: raises in a traced function, passes through everywhere else."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(_real_random, name)
        if active_trace() is not None and callable(value) and not isinstance(value, type):
            raise TraceError(
                f"np.random.{name} at {user_location() or 'an unknown line'} in a traced function: it would be drawn once, "
                f"when the function is traced, and never again; {_WAY_OUT}"
            )
        return value


_real_random = np.random
_guards = 0
_lock = threading.Lock()


@contextmanager
def random_guarded(name: str) -> Iterator[None]:
    """Makes `np.random` raise in this thread's trace, by whichever name it was imported."""
    global _guards
    with _lock:
        _guards += 1
        np.random = _RandomGuard()  # type: ignore[assignment]
    before = _state()
    try:
        yield
        if threading.active_count() == 1 and _state() != before:  # else another thread may have drawn
            raise TraceError(f"{name} draws from NumPy's global random numbers while it is traced; {_WAY_OUT}")
    finally:
        with _lock:
            _guards -= 1
            if not _guards:
                np.random = _real_random


@renewed_in_child
def _unguarded() -> None:
    """The threads that were tracing are not in the child."""
    global _guards, _lock
    _guards, _lock = 0, threading.Lock()
    np.random = _real_random


def _state() -> tuple[int, int]:
    _, key, position, *_ = _real_random.get_state()
    return int(position), int(key[0])
