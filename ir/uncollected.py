"""Making a great many objects that all stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from traceprop.ir.forks import renewed_in_child

_paused = 0


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection: what a trace or a parse makes stays, and searching it for garbage takes a third of the time."""
    global _paused
    was = gc.isenabled()
    gc.disable()
    _paused += was
    try:
        yield
    finally:
        if was:
            _paused -= 1
            gc.enable()


@renewed_in_child
def _resume() -> None:
    """The thread that would have switched it on again is not in the child."""
    global _paused
    if _paused:
        _paused = 0
        gc.enable()
