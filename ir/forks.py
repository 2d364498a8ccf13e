"""What a fork leaves behind: the child has its parent's memory, and of its threads only the one that forked.

So a lock that another thread held stays locked, and a library that hands work to threads of its own waits for threads that
are gone. Locks are made anew in the child (`renewed_in_child`); a library whose threads are gone is known by name (`check`),
so that a program that needs it raises instead of waiting for ever.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from traceprop.errors import ForkError

_THREADS = {"polars": "polars-", "jax": "tf_XLA"}
"""How the threads are called that a library cannot work without; the kernel keeps 15 characters of a name."""
_WAY_OUT = {
    "polars": "start workers with the 'spawn' or 'forkserver' method (DataLoader: multiprocessing_context='spawn'), compute what "
    "they need before they start, or give them arrays: NumPy programs run in any process",
    "jax": "start workers with the 'spawn' or 'forkserver' method (DataLoader: multiprocessing_context='spawn'), or give them "
    "functions of NumPy's, which run in any process",
}
_gone: frozenset[str] = frozenset()
_going: frozenset[str] = frozenset()
_warns = False
_Renewed = TypeVar("_Renewed", bound=Callable[[], Any])


def renewed_in_child(renew: _Renewed) -> _Renewed:
    """Has `renew` called in every child that is forked from here on, before anything else runs in it."""
    if hasattr(os, "register_at_fork"):  # Windows does not fork
        os.register_at_fork(after_in_child=renew)
    return renew


def lost(library: str) -> bool:
    """Whether this process was forked from one in which the library had started its threads, and so cannot use it."""
    return library in _gone


def check(library: str, what: str) -> None:
    """Raises `ForkError` where the library would wait for ever; `what` needs it: "reading loans.csv"."""
    if library in _gone:
        raise ForkError(
            f"{what} needs {library}, whose threads were running when this process was forked and are not in it: it would "
            f"wait for them for ever; {_WAY_OUT[library]}"
        )


def warn_of_torch() -> None:
    """Warns once, in a forked process, where PyTorch still means to share work among threads that may be gone."""
    global _warns
    torch = sys.modules.get("torch")
    if _warns and torch is not None:
        _warns = False
        if torch.get_num_threads() > 1:
            warnings.warn(
                "PyTorch in a forked process may wait for ever for threads of its parent: call torch.set_num_threads(1) in it "
                "first, as a DataLoader does in its workers",
                stacklevel=3,
            )


def _look() -> None:
    """Before a fork: which libraries have threads that the child won't have."""
    global _going
    loaded = [library for library in _THREADS if library in sys.modules]
    try:
        tasks = Path("/proc/self/task").iterdir() if loaded else ()
        names = [task.joinpath("comm").read_text() for task in tasks]
    except OSError:  # no such listing on this system: what is loaded may have been used
        _going = frozenset(loaded)
        return
    _going = frozenset(library for library in loaded if any(name.startswith(_THREADS[library]) for name in names))


@renewed_in_child
def _born() -> None:
    global _gone, _warns
    _gone, _warns = _gone | _going, "torch" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look)
