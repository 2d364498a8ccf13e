"""Programs on a Dask cluster: what `executor="dask"` and `executor=client` stand for."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from traceprop.errors import ExecutionError, TraceError
from traceprop.ir import Expr, Param, Program
from traceprop.ir.executor import Outcome
from traceprop.passes.optimize.partition import Plan, partition
from traceprop.runtime.dask.client import check_client, current_client, is_client, threads_of
from traceprop.runtime.dask.gathered import ClusterResults, OnCluster, outcome_of
from traceprop.runtime.dask.inputs import (
    AbstractInput,
    ClusterInput,
    SourceInput,
    ValueInput,
    at_blocks,
    bytes_of,
    even_edges,
)
from traceprop.runtime.dask.run import ClusterRun
from traceprop.runtime.dask.travel import Sent, sent
from traceprop.runtime.executor import LOCAL, WritesFiles
from traceprop.sources import ArraySource, FrameSource, Source
from traceprop.sources.streamed import StreamedSource


def executor_for(executor: Any, batch_size: int | None = None) -> DaskExecutor:
    """The executor that `executor="dask"` or a client asks for. Raises `ValueError` for anything else."""
    if executor == "dask":
        return DaskExecutor(None, batch_size)
    if is_client(executor):
        check_client(executor)
        return DaskExecutor(executor, batch_size)
    raise ValueError(f"executor is 'local', 'dask' or a dask.distributed.Client, not {executor!r}")


class DaskExecutor(WritesFiles):
    """Cuts rows into partitions and runs a program on them where they are; statistics of all rows are folded as trees.

    `client`: None for the one that is current when a program runs. `partition_rows`: how many rows a partition has; None for
    as many partitions as there are threads, and more where they would take over 64 MiB.
    """

    takes_inputs = True
    """Calls hand over their inputs as they are, and not as this machine would hold them."""

    def __init__(self, client: Any = None, partition_rows: int | None = None) -> None:
        if partition_rows is not None and partition_rows < 1:
            raise ValueError(f"batch_size is at least one row, not {partition_rows}")
        self._client = client
        self.partition_rows = partition_rows

    @property
    def client(self) -> Any:
        """The client. Raises `ExecutionError` where there is none that runs."""
        return current_client() if self._client is None else check_client(self._client)

    @property
    def threads(self) -> int:
        """How many tasks the cluster runs at once."""
        return threads_of(self.client)

    def compile(self, program: Program, options: Mapping[str, Any]) -> DaskExecutable:
        """The program with its plan."""
        return DaskExecutable(self, program, options)

    def run(self, program: Program, inputs: Sequence[Any], options: Mapping[str, Any]) -> Outcome:
        """Runs a program: on the cluster, and with plain values for inputs, which follow from what is here, on this machine."""
        if not any(isinstance(given, Source) or hasattr(given, "concrete") for given in inputs):
            return LOCAL.run(program, inputs, options)
        for given in inputs:
            if isinstance(given, Source):
                given.check_unchanged()
        planned = planned_for(program, options)
        client = self.client
        edges = self._edges(planned.plan, dict(zip(program.params, inputs, strict=True)), client)
        held = {
            param: _input(given, planned.plan, param, edges, client)
            for param, given in zip(program.params, inputs, strict=True)
        }
        run = ClusterRun(client, planned.sent, planned.plan, held, edges, options.get("granularity") is not None)
        shapes = {param: _shape(given) for param, given in zip(program.params, inputs, strict=True)}
        return outcome_of(run, sum(len(stage.program.ops) for stage in planned.plan.stages), shapes)

    def _edges(self, plan: Plan, inputs: Mapping[Param, Any], client: Any) -> list[list[int]]:
        """For each domain, where its partitions begin and end: where an earlier run left them, else evenly."""
        found: dict[int, list[int]] = {}
        sizes: dict[int, tuple[int, int]] = {}
        for param, domain in zip(plan.partitioned, plan.domains, strict=True):
            there = on_cluster(inputs[param], client)
            if there is not None and domain not in found:
                found[domain] = there.edges
            rows, nbytes = _size(inputs[param], there)
            sizes[domain] = (rows, sizes.get(domain, (0, 0))[1] + nbytes)
        total = max(1, sum(rows for rows, _ in sizes.values()))
        threads = threads_of(client)
        for domain, (rows, nbytes) in sizes.items():
            if domain not in found:
                share = max(1, round(threads * rows / total))
                found[domain] = even_edges(rows, nbytes, share, self.partition_rows)
                for param, other in zip(plan.partitioned, plan.domains, strict=True):
                    given = inputs[param]
                    source = given if isinstance(given, Source) else given.source
                    if other == domain and source is not None and self.partition_rows is None:
                        found[domain] = at_blocks(found[domain], source)
        return [found[domain] for domain in sorted(found)]

    def __repr__(self) -> str:
        return f"<DaskExecutor {self._client or 'of the current client'}>"


class DaskExecutable:
    """A program made ready to run on a cluster.

    `.program`: the whole, without what nobody asked for; `.plan`: the stages that it is cut into; `.code`: their generated
    source; called with one plain value per parameter it gives plain values.
    """

    def __init__(self, executor: DaskExecutor, program: Program, options: Mapping[str, Any]) -> None:
        self._executor = executor
        self.traced = program
        self._options = dict(options)
        self._planned = planned_for(program, options)
        self.plan = self._planned.plan
        self.program = self.plan.program

    @property
    def code(self) -> str:
        """What a worker runs: the source of each stage."""
        from traceprop.runtime.parts import Stages

        stages = Stages(self.plan, {}, self._planned.sent.passes)
        return "\n".join(
            f"# {'for each partition' if stage.over_parts else 'on one worker'}\n{stages.executable(stage).code}"
            for stage in self.plan.stages
        )

    def __call__(self, *values: Any) -> Any:
        inputs = [
            value if isinstance(value, Source) else _source(param, value)
            for param, value in zip(self.traced.params, values, strict=True)
        ]
        results = self._executor.run(self.traced, inputs, self._options).results
        return results[0] if len(results) == 1 else tuple(results)

    def cost(self) -> Any:
        """What is recorded, before running: as on this machine."""
        return LOCAL.compile(self.traced, self._options).cost()

    def explain(self) -> str:
        """Where and how often rows are worked on, what is folded over all of them, and what one worker does alone."""
        plan = self.plan
        lines = [f"{self.traced.name}: {len(self.traced.ops)} ops as traced, on Dask"]
        if not plan.partitioned:
            lines.append(f"all of it runs on one worker: {self._planned.why}")
        else:
            names = ", ".join(param.name for param in plan.partitioned)
            lines.append(f"the rows of {names} are cut into partitions and gone over {_times(plan.passes)}")
        for statistic in (each for stage in plan.stages for each in stage.statistics):
            where = f" at {statistic.op.location}" if statistic.op is not None and statistic.op.location else ""
            label = statistic.op.label if statistic.op is not None else statistic.form
            if statistic.form != "rows":
                lines.append(f"{label}{where} is folded over all partitions, as a tree")
        lines += [f"{label} needs all rows at once: they are gathered on one worker" for label in _alone(plan)]
        kept = self._options.get("granularity") is not None
        count = len(plan.captures)
        lines.append(f"{count} index arrays are recorded per run" if kept else "no lineage is recorded")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<executable {self.traced.name} on Dask>\n{textwrap.indent(self.explain(), '  ')}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _alone(plan: Plan) -> list[str]:
    """The ops that need all rows of something."""
    ops = [statistic.op for statistic in plan.gathered if statistic.op is not None]
    return list(dict.fromkeys(f"{op.label} at {op.location or 'an unknown line'}" for op in ops))


# -- plans --------------------------------------------------------------------------------------------------------------


class Planned:
    """A program's plan, what travels of it, and (`why`) why its rows are in no partitions where they are not."""

    def __init__(self, plan: Plan, sent: Sent, why: str) -> None:
        self.plan = plan
        self.sent = sent
        self.why = why


def planned_for(program: Program, options: Mapping[str, Any]) -> Planned:
    """The plan of a program; kept with it. Raises `ExecutionError` for a program of JAX or PyTorch."""
    world = options.get("world", "numpy")
    if world != "numpy":
        raise ExecutionError(
            f"{program.name} computes with {world}, whose calls do not travel: executor='dask' runs programs of NumPy and "
            "tables. Trace it with executor='local' (its inputs may be results of a Dask run)"
        )
    passes, level = options.get("passes"), options.get("granularity") or "op"
    known: dict[Any, Planned] = program.memo.setdefault("dask", {})
    key = (level, passes)
    if key not in known:
        plan, params, why = _plan(program, level)
        known[key] = Planned(plan, sent(program, plan, params, level, passes), why)
    return known[key]


def _plan(program: Program, level: str) -> tuple[Plan, list[str], str]:
    """With as many parameters in partitions as can be: those whose number of rows is a number may have to stay whole."""
    rows = [param for param in program.params if param.rank and not param.fitted and param.type.dims[0] != 1]
    free = [param for param in rows if isinstance(param.type.dims[0], Expr)]
    why = "no parameter has rows"
    for chosen in (rows, free):
        names = [param.name for param in chosen]
        if not names:
            continue
        try:
            return partition(program, names, level), names, ""
        except TraceError as error:
            why = str(error)
    return partition(program, [], level), [], why


# -- inputs -------------------------------------------------------------------------------------------------------------


def on_cluster(given: Any, client: Any) -> OnCluster | None:
    """The partitions of an input that an earlier run left on this cluster, if it did and they are rows."""
    if isinstance(given, Source) or given.source is not None:
        return None
    call = given.call()
    results = call.outcome().results
    if not isinstance(results, ClusterResults):
        return None
    found = results.held[call.program.returns.index(given.value)]
    same = found.run.client is client and found.axis == 0
    return found if same else None


def _shape(given: Any) -> tuple[int, ...]:
    return (given.n_rows,) if isinstance(given, Source) else given.concrete_shape()


def _size(given: Any, there: OnCluster | None) -> tuple[int, int]:
    if there is not None:
        return int(there.edges[-1]), 0
    if isinstance(given, Source):
        return given.n_rows, given.nbytes if isinstance(given, StreamedSource) else bytes_of(given.value())
    value = given.concrete()
    return len(value), bytes_of(value)


def _input(given: Any, plan: Plan, param: Param, edges: Sequence[Sequence[int]], client: Any) -> AbstractInput:
    mine = None
    if param in plan.partitioned:
        mine = list(edges[plan.domains[plan.partitioned.index(param)]])
    source = given if isinstance(given, Source) else given.source
    if source is not None:
        return SourceInput(source, mine or [0, source.n_rows])
    there = on_cluster(given, client)
    if there is not None and mine == there.edges:
        return ClusterInput(there)
    return ValueInput(given.concrete())


def _source(param: Param, value: Any) -> Source:
    table = hasattr(value, "__arrow_c_stream__") or hasattr(value, "columns")
    return FrameSource(value, param.name) if table else ArraySource(value, param.name, param.name)
