"""Tasks of one computation on a cluster, by name: submitted when something of them is fetched, and again where they were lost."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError, TracepropError
from traceprop.runtime.dask import tasks
from traceprop.runtime.progress import PATIENCE, progress

FAN_IN = 4
"""How many states one task of a tree takes in."""
ATTEMPTS = 8
"""How often data that went with a worker is sent again before the run gives up."""


class Ref(str):
    """The name of a task whose value is meant."""

    __slots__ = ()


class AbstractGraph(ABC):
    """Tasks by name. `submit_all` says what they are; what is there already is not submitted again.

    A task that was lost with its worker is done again by Dask, from its arguments. Data that was sent from here is not Dask's
    to make again, and so everything behind it is cancelled: it is sent anew, and what is behind it submitted anew.

    `bytes_sent`, `bytes_gathered`: of data that went to the cluster and came back. `resent`: how often data was sent again.
    """

    def __init__(self, client: Any) -> None:
        from traceprop.runtime.dask.workers import make_ready  # which loads distributed

        make_ready(client)
        self.client = client
        self.bytes_sent = 0
        self.bytes_gathered = 0
        self.resent = 0
        self._name = uuid.uuid4().hex[:12]
        self._attempts = itertools.count()
        self._futures: dict[str, Any] = {}
        self._lock = threading.RLock()

    @abstractmethod
    def submit_all(self) -> None:
        """Submits every task that is missing, those that others need before them."""

    # -- what is asked --------------------------------------------------------------------------------------------------

    def fetch(self, names: Iterable[str]) -> list[Any]:
        """The values of tasks, here. Raises what an op raised, or `ExecutionError` for a cluster that cannot do it."""
        wanted = list(names)
        return self.fetch_named(lambda: wanted)

    def fetch_named(self, names: Callable[[], list[str]]) -> list[Any]:
        """The values of tasks whose names are known once all are submitted."""
        with self._lock:
            return self._fetch(names)

    def _fetch(self, named: Callable[[], list[str]]) -> list[Any]:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        for attempt in range(ATTEMPTS):
            if self.client.status != "running":
                raise ExecutionError(
                    f"the Dask client that holds this result is {self.client.status}; take what you need of it "
                    "(np.asarray, .compute()) before the client is closed"
                )
            try:
                if attempt or not named() or any(map(self.missing, named())):
                    self.submit_all()
                found = self._waited_for([self._futures[name] for name in named()])
            except CancelledError:  # data that was sent from here went with its worker
                self.resent += attempt + 1 < ATTEMPTS
                continue
            except KilledWorker as error:
                raise ExecutionError(
                    f"{error}. A task that takes worker after worker down wants more memory than they have: smaller "
                    "partitions (batch_size=, in rows), or larger workers"
                ) from None
            except TimeoutError as error:
                raise ExecutionError(
                    f"the Dask cluster has no workers that answer ({error}); start some, or scale it up"
                ) from None
            except TracepropError:
                raise
            except OSError:  # a worker went while it was sent to; that a task met one is told otherwise
                self.resent += attempt + 1 < ATTEMPTS
                time.sleep(0.1 * 2**attempt)
                continue
            except KeyboardInterrupt:
                self.client.cancel(list(self._futures.values()))
                self._futures.clear()
                raise
            self.bytes_gathered += sum(size_of(value) for value in found)
            return found
        raise ExecutionError(
            f"workers of the Dask cluster went away {ATTEMPTS} times while their data was sent; see their logs"
        )

    def _waited_for(self, futures: list[Any]) -> list[Any]:
        """The values of futures, with a bar of all tasks where it takes a while."""
        from distributed import wait

        with progress("on Dask", len(self._futures)) as advance:
            done = 0
            while len({"error", "cancelled", "lost"} & {future.status for future in futures}) == 0:
                try:
                    wait(futures, timeout=PATIENCE)
                    break
                except TimeoutError:
                    finished = sum(future.done() for future in list(self._futures.values()))
                    advance(finished - done)
                    done = finished
        return list(self.client.gather(futures))

    def futures(self, names: Sequence[str]) -> list[Any]:
        """The futures of tasks, for what goes on from them on the cluster."""
        with self._lock:
            if any(map(self.missing, names)):
                self.submit_all()
            return [self._futures[name] for name in names]

    def keep(self, names: Iterable[str]) -> None:
        """Lets go of all tasks but some. What is lost of these is made again from where it came from, all of it if need be."""
        with self._lock:
            self._futures = {name: self._futures[name] for name in names}

    # -- the tasks ------------------------------------------------------------------------------------------------------

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
        """A task, unless it is there; arguments that are names of tasks in `Ref`s are what these give."""
        if self.missing(name):
            key = f"traceprop-{function.__name__}-{self._name}-{name}-{next(self._attempts)}"
            given = [self._resolved(argument) for argument in arguments]
            self._futures[name] = self.client.submit(function, *given, key=key, pure=False, **options)
        return name

    def missing(self, name: str) -> bool:
        known = self._futures.get(name)
        return known is None or known.status in ("cancelled", "lost")

    def _resolved(self, argument: Any) -> Any:
        if isinstance(argument, Ref):
            return self._futures[argument]
        return [self._resolved(each) for each in argument] if isinstance(argument, list) else argument

    def send(self, wanted: Sequence[tuple[str, Callable[[], tuple[str, Any]]]]) -> None:
        """Reads, takes or sends what is not on the cluster: how it gets there, an input tells (`inputs.py`)."""
        scattered: dict[str, Any] = {}
        for name, make in dict(wanted).items():
            if not self.missing(name):
                continue
            how, value = make()
            if how == "future":
                self._futures[name] = value
            elif how == "read":
                self.submit(name, tasks.read, value)
            elif how == "none of":
                self.submit(name, tasks.no_rows, value)
            elif how == "hold":
                self.submit(name, tasks.hold, value)
            else:
                scattered[name] = value
        if scattered:
            self.bytes_sent += sum(map(size_of, scattered.values()))
            sent = self.client.scatter(list(scattered.values()), hash=False)
            self._futures.update(zip(scattered, sent, strict=True))


def size_of(value: Any) -> int:
    """The bytes of what moved, as far as it tells."""
    if isinstance(value, (list, tuple)):
        return sum(map(size_of, value))
    if hasattr(value, "estimated_size"):
        return int(value.estimated_size())
    return int(getattr(value, "nbytes", 0) or np.asarray(value, dtype=object).nbytes)
