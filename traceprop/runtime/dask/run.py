"""One run of a plan on a cluster: the tasks of it, and what is done when a worker takes data with it."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError, TracepropError
from traceprop.ir import Param, Value
from traceprop.passes.optimize.partition import Plan
from traceprop.runtime.dask import tasks
from traceprop.runtime.dask.inputs import AbstractInput
from traceprop.runtime.dask.travel import Sent

FAN_IN = 4
"""How many states one task of a tree takes in."""
ATTEMPTS = 8
"""How often data that went with a worker is sent again before the run gives up."""


class ClusterRun:
    """The tasks of one run, by name. They are submitted when something of them is fetched, and again where they were lost.

    `inputs`: one per parameter of the program; `edges`: for each domain the rows at which partitions begin and end.
    A task that was lost with its worker is done again by Dask, from its arguments. Data that was sent from here is not Dask's
    to make again, and so everything behind it is cancelled: it is sent anew, and what is behind it submitted anew.
    """

    def __init__(
        self, client: Any, sent: Sent, plan: Plan, inputs: Mapping[Param, AbstractInput], edges: Sequence[Sequence[int]],
        record: bool,
    ) -> None:  # fmt: skip
        self.client = client
        self.sent = sent
        self.plan = plan
        self.inputs = inputs
        self.edges = [list(each) for each in edges]
        self.record = record
        self.partitions = [(domain, k) for domain, each in enumerate(self.edges) for k in range(len(each) - 1)]
        self.bytes_sent = 0
        self.bytes_gathered = 0
        self.resent = 0
        self._name = uuid.uuid4().hex[:12]
        self._attempts = itertools.count()
        self._futures: dict[str, Any] = {}
        self._lock = threading.RLock()
        self.rows: dict[int, list[str]] = {}
        """The names of the partitions of each result that is in partitions."""
        self.whole: dict[Value, str] = {}
        """The names of the values that are known in full."""
        self.reports: dict[int, list[str]] = {}
        """For each stage the names of its reports."""
        self.shapes: dict[int, list[str]] = {}
        """For each stage the names of the shapes of its statistics: of those that were folded, and of each that was stacked."""

    # -- what is asked --------------------------------------------------------------------------------------------------

    def fetch(self, names: Iterable[str], done: Callable[[int], None] | None = None) -> list[Any]:
        """The values of tasks, here. Raises what an op raised, or `ExecutionError` for a cluster that cannot do it."""
        with self._lock:
            return self._fetch(list(names))

    def _fetch(self, names: list[str]) -> list[Any]:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        for attempt in range(ATTEMPTS):
            if self.client.status != "running":
                raise ExecutionError(
                    f"the Dask client that holds this result is {self.client.status}; take what you need of it "
                    "(np.asarray, .compute()) before the client is closed"
                )
            try:
                self._submit_all()
                found = self.client.gather([self._futures[name] for name in names])
            except CancelledError:  # data that was sent from here went with its worker
                self.resent += attempt + 1 < ATTEMPTS
                continue
            except KilledWorker as error:
                raise ExecutionError(
                    f"{error}. A task that takes worker after worker down wants more memory than they have: smaller "
                    "partitions (batch_size=, in rows), or larger workers"
                ) from None
            except TracepropError:
                raise
            except KeyboardInterrupt:
                self.client.cancel(list(self._futures.values()))
                self._futures.clear()
                raise
            self.bytes_gathered += sum(_size(value) for value in found)
            return found
        raise ExecutionError(
            f"workers of the Dask cluster went away {ATTEMPTS} times while their data was sent; see their logs"
        )

    def futures(self, names: Iterable[str]) -> list[Any]:
        """The futures of tasks, for what goes on from them on the cluster."""
        with self._lock:
            self._submit_all()
            return [self._futures[name] for name in names]

    # -- the tasks ------------------------------------------------------------------------------------------------------

    def _submit(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
        """A task, unless it is there; arguments that are names of tasks in `Ref`s are what these give."""
        if self._missing(name):
            key = f"traceprop-{function.__name__}-{self._name}-{name}-{next(self._attempts)}"
            given = [self._resolved(argument) for argument in arguments]
            self._futures[name] = self.client.submit(function, *given, key=key, pure=False, **options)
        return name

    def _missing(self, name: str) -> bool:
        known = self._futures.get(name)
        return known is None or known.status in ("cancelled", "lost")

    def _resolved(self, argument: Any) -> Any:
        if isinstance(argument, Ref):
            return self._futures[argument]
        return [self._resolved(each) for each in argument] if isinstance(argument, list) else argument

    def _submit_all(self) -> None:
        program = Ref(self._submit("program", tasks.hold, self.sent))
        pieces = self._send_inputs()
        self.rows.clear()
        for number, stage in enumerate(self.plan.stages):
            wanted = tasks.wanted_of(self.plan)[number]
            if not stage.over_parts:
                known = [Ref(self.whole[value]) for value in stage.given]
                once = Ref(self._submit(f"once{number}", tasks.run_once, program, number, known, self.record))
                self.reports[number] = [self._submit(f"report{number}", tasks.report_of, once)]
                for k, value in enumerate(stage.gives):
                    self.whole[value] = self._submit(f"once{number}-{k}", tasks.pick, once, "rows", k)
                continue
            count = len(self.plan.partitioned)
            known = [Ref(self.whole[value]) for value in stage.given[count:]]
            parts = [
                Ref(self._submit(f"stage{number}-{p}", tasks.run_part, program, number, given, known, self.record))
                for p, given in enumerate(pieces)
            ]
            self.reports[number] = [
                self._submit(f"report{number}-{p}", tasks.report_of, part) for p, part in enumerate(parts)
            ]
            for k in wanted.returns:
                self.rows[k] = [
                    self._submit(f"rows{k}-{p}", tasks.pick, part, "rows", k) for p, part in enumerate(parts)
                ]
            self._fold(number, program, parts)

    def _fold(self, number: int, program: Ref, parts: list[Ref]) -> None:
        """The statistics of a stage: states in trees, and what needs all rows on one worker."""
        statistics = self.plan.stages[number].statistics
        self.shapes[number] = []
        folded = [each for each in statistics if each.form != "rows"]
        if folded:
            level = [Ref(self._submit(f"state{number}-{p}", tasks.states_of, part)) for p, part in enumerate(parts)]
            for height in itertools.count():
                groups = [level[k : k + FAN_IN] for k in range(0, len(level), FAN_IN)]
                level = [
                    Ref(self._submit(f"merge{number}-{height}-{k}", tasks.merge, program, number, group))
                    for k, group in enumerate(groups)
                ]
                if len(level) == 1:
                    break
            found = Ref(self._submit(f"found{number}", tasks.found_of, program, number, level[0]))
            self.shapes[number].append(self._submit(f"shapes{number}", tasks.shapes_of, found))
            for k, each in enumerate(folded):
                self.whole[each.found] = self._submit(f"found{number}-{k}", tasks.item, found, k)
        for k, each in enumerate(statistics):
            if each.form == "rows":
                stacks = [
                    Ref(self._submit(f"rows{number}-{k}-{p}", tasks.pick, part, "stacks", k))
                    for p, part in enumerate(parts)
                ]
                name = self._submit(f"stack{number}-{k}", tasks.stack, program, number, k, stacks)
                self.whole[each.found] = name
                self.shapes[number].append(self._submit(f"shapes{number}-{k}", tasks.shapes_of, [Ref(name)]))

    def _send_inputs(self) -> list[list[Ref]]:
        """For each partition its rows of every partitioned parameter; the others in full."""
        plan = self.plan
        for n, param in enumerate(plan.program.params):
            if param not in plan.partitioned:
                held = self.inputs[param]
                self.whole[param] = f"whole{n}"
                self._send([(f"whole{n}", lambda held=held: held.part(0, None))])
        found: list[list[Ref]] = []
        lacking: list[tuple[str, Any]] = []
        for domain, k in self.partitions:
            lo, hi = self.edges[domain][k], self.edges[domain][k + 1]
            given = []
            for n, (param, mine) in enumerate(zip(plan.partitioned, plan.domains, strict=True)):
                held = self.inputs[param]
                if mine == domain:
                    name = f"input{n}-{domain}-{k}"
                    lacking.append((name, lambda held=held, lo=lo, hi=hi: held.part(lo, hi)))
                else:
                    name = f"input{n}-none"
                    lacking.append((name, held.no_rows))
                given.append(Ref(name))
            found.append(given)
        self._send(lacking)
        return found

    def _send(self, wanted: Sequence[tuple[str, Callable[[], tuple[str, Any]]]]) -> None:
        """Reads, takes or sends what is not on the cluster: how it gets there, an input tells (`inputs.py`)."""
        scattered: dict[str, Any] = {}
        for name, make in dict(wanted).items():
            if not self._missing(name):
                continue
            how, value = make()
            if how == "future":
                self._futures[name] = value
            elif how == "read":
                self._submit(name, tasks.read, value)
            elif how == "none of":
                self._submit(name, tasks.no_rows, value)
            elif how == "hold":
                self._submit(name, tasks.hold, value)
            else:
                scattered[name] = value
        if scattered:
            self.bytes_sent += sum(map(_size, scattered.values()))
            sent = self.client.scatter(list(scattered.values()), hash=False)
            self._futures.update(zip(scattered, sent, strict=True))


class Ref(str):
    """The name of a task whose value is meant."""

    __slots__ = ()


def _size(value: Any) -> int:
    """The bytes of what moved, as far as it tells."""
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    if hasattr(value, "estimated_size"):
        return int(value.estimated_size())
    return int(getattr(value, "nbytes", 0) or np.asarray(value, dtype=object).nbytes)
