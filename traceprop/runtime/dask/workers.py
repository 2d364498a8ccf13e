"""Workers made ready: the libraries that values come in are loaded before the first value does."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from distributed import WorkerPlugin

_ready: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()


class Ready(WorkerPlugin):
    """Loads what tasks need on each worker, also on those that start later.

    Values are unpacked in one thread of a worker while tasks run in another. Were polars imported in both at once, one
    would find it half made, and the worker would be lost.
    """

    name = "traceprop"

    def setup(self, worker: Any) -> None:
        import polars  # noqa: F401

        import traceprop.runtime.dask.tasks  # noqa: F401


def make_ready(client: Any) -> None:
    """Sees to it that the workers of a client's cluster are ready, once."""
    with _lock:
        if client not in _ready:
            client.register_plugin(Ready())
            _ready.add(client)
