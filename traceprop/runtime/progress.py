"""A bar for what takes longer than one likes to wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_within: ContextVar[bool] = ContextVar("within", default=False)
PATIENCE = 1.0  # seconds


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many more of `total` are done; a bar shows after a second, on terminals only.

    It goes to stderr and is gone at the end. What is done within something that has a bar shows none of its own.
    """
    if _within.get():
        yield lambda _=1: None
        return
    token = _within.set(True)
    bar = None
    done, started = 0, time.monotonic()

    def advance(count: int = 1) -> None:
        nonlocal bar, done
        done += count
        if bar is None:
            if time.monotonic() - started < PATIENCE or done >= total:
                return
            bar = _bar()
            bar.start()
            bar.add_task(title, total=total, completed=done)
        else:
            bar.update(bar.tasks[0].id, completed=done)

    try:
        yield advance
    finally:
        _within.reset(token)
        if bar is not None:
            bar.stop()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
