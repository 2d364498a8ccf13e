"""One run of a plan on a cluster: the tasks of its stages, over all partitions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from traceprop.ir import Param, Value
from traceprop.passes.optimize.partition import Plan
from traceprop.runtime.dask import tasks
from traceprop.runtime.dask.graph import FAN_IN, AbstractGraph, Ref
from traceprop.runtime.dask.inputs import AbstractInput
from traceprop.runtime.dask.travel import Sent


class ClusterRun(AbstractGraph):
    """The tasks of one run.

    `inputs`: one per parameter of the program; `edges`: for each domain the rows at which partitions begin and end.
    `rows`: the names of the partitions of each result that is in partitions; `whole`: of the values that are known in full.
    `reports`, `shapes`: for each stage the names of its reports, and of its statistics' shapes, those that are stacked last.
    """

    def __init__(
        self, client: Any, sent: Sent, plan: Plan, inputs: Mapping[Param, AbstractInput], edges: Sequence[Sequence[int]],
        record: bool,
    ) -> None:  # fmt: skip
        super().__init__(client)
        self.sent = sent
        self.plan = plan
        self.inputs = inputs
        self.edges = [list(each) for each in edges]
        self.record = record
        self.partitions = [(domain, k) for domain, each in enumerate(self.edges) for k in range(len(each) - 1)]
        self.rows: dict[int, list[str]] = {}
        self.whole: dict[Value, str] = {}
        self.reports: dict[int, list[str]] = {}
        self.shapes: dict[int, list[str]] = {}

    def submit_all(self) -> None:
        program = Ref(self.submit("program", tasks.hold, self.sent))
        pieces = self._send_inputs()
        self.rows.clear()
        for number, stage in enumerate(self.plan.stages):
            wanted = tasks.wanted_of(self.plan)[number]
            if not stage.over_parts:
                known = [Ref(self.whole[value]) for value in stage.given]
                once = Ref(self.submit(f"once{number}", tasks.run_once, program, number, known, self.record))
                self.reports[number] = [self.submit(f"report{number}", tasks.report_of, once)]
                for k, value in enumerate(stage.gives):
                    self.whole[value] = self.submit(f"once{number}-{k}", tasks.pick, once, "rows", k)
                continue
            count = len(self.plan.partitioned)
            known = [Ref(self.whole[value]) for value in stage.given[count:]]
            parts = [
                Ref(self.submit(f"stage{number}-{p}", tasks.run_part, program, number, pieces[p], known, self.record))
                for p in self.looked_at(number)
            ]
            self.reports[number] = [
                self.submit(f"report{number}-{p}", tasks.report_of, part) for p, part in enumerate(parts)
            ]
            for k in wanted.returns:
                self.rows[k] = [
                    self.submit(f"rows{k}-{p}", tasks.pick, part, "rows", k) for p, part in enumerate(parts)
                ]
            self._fold(number, program, parts)

    def looked_at(self, number: int) -> list[int]:
        """The partitions whose rows a stage looks at, by number; -1, of no rows, where it looks at none."""
        domains = self.plan.stages[number].domains
        return [p for p, (domain, _) in enumerate(self.partitions) if domain in domains] or [-1]

    def _fold(self, number: int, program: Ref, parts: list[Ref]) -> None:
        """The statistics of a stage: states in trees, and what needs all rows on one worker."""
        statistics = self.plan.stages[number].statistics
        self.shapes[number] = []
        folded = [each for each in statistics if each.form != "rows"]
        if folded:
            level = [Ref(self.submit(f"state{number}-{p}", tasks.states_of, part)) for p, part in enumerate(parts)]
            for height in itertools.count():
                groups = [level[k : k + FAN_IN] for k in range(0, len(level), FAN_IN)]
                level = [
                    Ref(self.submit(f"merge{number}-{height}-{k}", tasks.merge, program, number, group))
                    for k, group in enumerate(groups)
                ]
                if len(level) == 1:
                    break
            found = Ref(self.submit(f"found{number}", tasks.found_of, program, number, level[0]))
            self.shapes[number].append(self.submit(f"shapes{number}", tasks.shapes_of, found))
            for k, each in enumerate(folded):
                self.whole[each.found] = self.submit(f"found{number}-{k}", tasks.item, found, k)
        for k, each in enumerate(statistics):
            if each.form == "rows":
                stacks = [
                    Ref(self.submit(f"rows{number}-{k}-{p}", tasks.pick, part, "stacks", k))
                    for p, part in enumerate(parts)
                ]
                name = self.submit(f"stack{number}-{k}", tasks.stack, program, number, k, stacks)
                self.whole[each.found] = name
                self.shapes[number].append(self.submit(f"shapes{number}-{k}", tasks.shapes_of, [Ref(name)]))

    def _send_inputs(self) -> list[list[Ref]]:
        """For each partition its rows of every partitioned parameter, and last no rows of any; the others in full."""
        plan = self.plan
        for n, param in enumerate(plan.program.params):
            if param not in plan.partitioned:
                held = self.inputs[param]
                self.whole[param] = f"whole{n}"
                self.send([(f"whole{n}", lambda held=held: held.part(0, None))])
        members = list(enumerate(zip(plan.partitioned, plan.domains, strict=True)))
        found: list[list[Ref]] = []
        lacking: list[tuple[str, Any]] = []
        for domain, k in [*self.partitions, (None, 0)]:
            given = []
            for n, (param, mine) in members:
                held = self.inputs[param]
                if mine == domain:
                    lo, hi = self.edges[domain][k : k + 2]
                    name = f"input{n}-{domain}-{k}"
                    lacking.append((name, lambda held=held, lo=lo, hi=hi: held.part(lo, hi)))
                else:
                    name = f"input{n}-none"
                    lacking.append((name, held.no_rows))
                given.append(Ref(name))
            found.append(given)
        self.send(lacking)
        return found
