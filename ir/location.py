"""Where in the user's code an op came from."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType

# Frames of these packages are ours or our callers' plumbing; the demo's pipeline stands for a user's.
_PLUMBING = ("traceprop", "numpy", "polars", "pandas", "torch", "jax", "sklearn", "functools", "contextlib")


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's code. `path` is where the file was found; it does not count in equality."""

    file: str
    line: int
    function: str = ""
    path: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def user_location() -> Location | None:
    """The innermost frame that is not plumbing; `None` where there is none (an interactive embedding)."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_of_user(frame):
            return _location(frame, frame.f_lineno)
        frame = frame.f_back
    return None


def raised_at(error: BaseException) -> Location | None:
    """The innermost frame that is not plumbing, of those that an error came through."""
    found, traceback = None, error.__traceback__
    while traceback is not None:
        if _is_of_user(traceback.tb_frame):
            found = _location(traceback.tb_frame, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def _is_of_user(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return module.split(".", 1)[0] not in _PLUMBING or module.startswith("traceprop.demo")


def _location(frame: FrameType, line: int) -> Location:
    code = frame.f_code
    return Location(os.path.basename(code.co_filename), line, code.co_name, code.co_filename)


_heard: ContextVar[list[str] | None] = ContextVar("traceprop_heard", default=None)


@contextmanager
def heard() -> Iterator[list[str]]:
    """What `warn_at` says in here, as a list: of a process far from the user, which hands it on."""
    said: list[str] = []
    before = _heard.set(said)
    try:
        yield said
    finally:
        _heard.reset(before)


def warn_at(where: Location | None, message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that shows a line of the user's."""
    said = _heard.get()
    if said is not None:
        said.append(message)
        return
    path, line = (where.path, where.line) if where else ("<unknown>", 0)
    warnings.warn_explicit(message, category, path or "<unknown>", line)
