"""How finely runs are recorded: the default in force, per thread and task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum


class Granularity(str, Enum):
    """What a run keeps: per op, composed per batch, or composed per run."""

    OP = "op"
    BATCH = "batch"
    EPOCH = "epoch"


_DEFAULT = "default"
_current: ContextVar[str | None] = ContextVar("traceprop_granularity", default=_DEFAULT)


def checked(granularity: str | None) -> str | None:
    """The granularity as a plain string. Raises `ValueError` for a name that there is not."""
    if granularity is None or granularity == _DEFAULT:
        return granularity
    try:
        return Granularity(granularity).value
    except ValueError:
        raise ValueError(f"granularity is 'op', 'batch', 'epoch', 'default' or None, not {granularity!r}") from None


def set_granularity(granularity: str | None) -> None:
    """Sets the default of this thread or task. `None` switches tracking off, `"default"` restores the built-in one."""
    _current.set(checked(granularity))


def get_granularity() -> str | None:
    """The default in force: `"op"` for programs unless it was set; `None` where tracking is off."""
    current = _current.get()
    return "op" if current == _DEFAULT else current


def training_granularity() -> str | None:
    """The default in force for training contexts: `"epoch"` unless it was set."""
    current = _current.get()
    return "epoch" if current == _DEFAULT else current


@contextmanager
def granularity(level: str | None) -> Iterator[None]:
    """The default inside a `with` block."""
    token = _current.set(checked(level))
    try:
        yield
    finally:
        _current.reset(token)
