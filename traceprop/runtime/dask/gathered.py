"""What a run on a cluster leaves behind: results that stay there until somebody asks, and recorded positions, which are here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError
from traceprop.ir import Expr, Type, Value, symbol
from traceprop.ir.executor import Outcome
from traceprop.ir.location import user_location, warn_at
from traceprop.passes.encodings import from_bytes
from traceprop.passes.optimize.compress import holds
from traceprop.passes.optimize.partition import Kept
from traceprop.runtime.captures import WAITING, Captures
from traceprop.runtime.dask.run import ClusterRun
from traceprop.runtime.dask.tasks import Report
from traceprop.runtime.partials import stacked
from traceprop.runtime.parts import Counted, PartRun


@dataclass
class OnCluster:
    """One result of a run. `names`: the tasks that hold it, one per partition, or one; `edges`: the rows at which each begins.

    `axis`: along which partitions have rows; `None` for a value that is not in partitions.
    """

    run: ClusterRun
    names: list[str]
    axis: int | None
    edges: list[int]

    def gather(self) -> Any:
        """The value, here: as the engine holds it."""
        found = self.run.fetch(self.names)
        if self.axis is None:
            return found[0]
        filled = [piece for piece in found if np.shape(piece)[self.axis]] or found[:1]
        return stacked(filled, self.axis)

    def futures(self) -> list[Any]:
        """The partitions, there."""
        return self.run.futures(self.names)


class ClusterResults(Sequence[Any]):
    """The results of a run, in order; each is gathered when it is first asked for, and then here."""

    def __init__(self, held: Sequence[OnCluster]) -> None:
        self.held = tuple(held)
        self._here: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return tuple(self[n] for n in range(len(self))[k])
        if k not in self._here:
            self._here[k] = self.held[k].gather()
        return self._here[k]

    def to_dask(self, k: int, type: Type, shape: Sequence[int]) -> Any:
        """One result as a collection of Dask's own, over the partitions as they are."""
        from traceprop.runtime.dask.collections import as_collection

        return as_collection(self.held[k], type, shape)


class Moved:
    """Recorded positions of all partitions, one after another, each moved by what stands before it; decoded when needed."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Sequence[tuple[bytes, np.ndarray]]) -> None:
        self._pieces = tuple(pieces)

    @property
    def nbytes(self) -> int:
        return sum(len(blob) for blob, _ in self._pieces)

    def __len__(self) -> int:
        return sum(len(from_bytes(blob)) for blob, _ in self._pieces)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        arrays = [np.asarray(from_bytes(blob)) for blob, _ in self._pieces]
        moved = [array + by if np.any(by) else array for array, (_, by) in zip(arrays, self._pieces, strict=True)]
        found = moved[0] if len(moved) == 1 else np.concatenate(moved)
        return found if dtype is None else found.astype(dtype, copy=False)


class ClusterOutcome(Outcome):
    """What a run on a cluster left behind."""

    __slots__ = ()

    def batches(self, values: Sequence[Value], empties: bool = False) -> Iterator[tuple[Any, ...]]:
        """Some results, a partition at a time, so that no more of them is here; those of no rows only with `empties`.

        Raises `ExecutionError` for results that are in no partitions, or not in the same.
        """
        results: ClusterResults = self.results  # type: ignore[assignment]
        plan = results.held[0].run.plan
        held = [results.held[next(k for k, kept in enumerate(plan.returns) if kept.value is v)] for v in values]
        first = held[0]
        if any(each.axis is None or each.edges != first.edges for each in held):
            raise ExecutionError(
                f"{plan.program.name} gives {', '.join(str(value.type) for value in values)}: batches are of results that have "
                "rows of the sources in the order of the sources, and the same rows; ask for others as a whole"
            )
        for k, (lo, hi) in enumerate(itertools.pairwise(first.edges)):
            if hi > lo or empties:
                yield tuple(each.run.fetch([each.names[k]])[0] for each in held)


def outcome_of(run: ClusterRun, executed: int, given: Mapping[Value, tuple[int, ...]]) -> ClusterOutcome:
    """Waits for a run, and gives what it left behind. `given`: the shapes of its inputs, as far as they were known before."""
    reports, shapes = _reports(run)
    sizes: dict[str, int] = {}
    blobs: dict[int, list[tuple[bytes, Any]]] = {}
    counts: dict[int, dict[Any, int]] = {}
    for number, stage in enumerate(run.plan.stages):
        if not stage.over_parts:
            sizes |= reports[number][0].sizes
            for k, blob in reports[number][0].captures.items():
                blobs[k] = [(blob, np.zeros(1, np.int64))]
            continue
        counted = Counted()
        counts = {}
        spaces = [space for space in run.plan.spaces if set(space.domains) <= set(stage.domains)]
        for p, report in zip(run.looked_at(number), reports[number], strict=True):
            part = PartRun({}, report.sizes)
            for k, blob in report.captures.items():
                blobs.setdefault(k, []).append((blob, np.array(counted.offsets(run.plan.captures[k]) or [0])))
            counts[p] = {space: part.rows_in(space) or 0 for space in run.plan.spaces}
            counted.add(part, spaces)
        for space, rows in counted.totals.items():
            _name(sizes, space.dim, rows)
        for statistic, shape in zip(_in_order(stage.statistics), shapes[number], strict=True):
            for dim, size in zip(statistic.found.type.dims, shape, strict=False):
                _name(sizes, dim, size)
    every = [report for each in reports.values() for report in each]
    for message in dict.fromkeys(message for report in every for message in report.warned):
        warn_at(user_location(), message)
    for report in every:
        for name, size in report.sizes.items():
            sizes.setdefault(name, size)
    for param, shape in given.items():
        for dim, size in zip(param.type.dims, shape, strict=False):
            _name(sizes, dim, size)
    results = ClusterResults([_result(run, k, kept, counts) for k, kept in enumerate(run.plan.returns)])
    run.keep({name for held in results.held for name in held.names})
    found = {run.plan.captures[k].value: Moved(pieces) for k, pieces in blobs.items()}
    captures = Captures(found, _hints(found))
    WAITING.add(captures)
    return ClusterOutcome(results, captures, sizes, executed)  # type: ignore[arg-type]


def _reports(run: ClusterRun) -> tuple[dict[int, list[Report]], dict[int, list[tuple[int, ...]]]]:
    def names() -> list[str]:
        return [name for each in (*run.reports.values(), *run.shapes.values()) for name in each]

    found = iter(run.fetch_named(names))
    reports = {number: [next(found) for _ in each] for number, each in run.reports.items()}
    shapes = {number: [shape for _ in each for shape in next(found)] for number, each in run.shapes.items()}
    return reports, shapes


def _in_order(statistics: Sequence[Any]) -> list[Any]:
    return [each for each in statistics if each.form != "rows"] + [each for each in statistics if each.form == "rows"]


def _result(run: ClusterRun, k: int, kept: Kept, counts: Mapping[int, Mapping[Any, int]]) -> OnCluster:
    if kept.part is None:
        if kept.held not in run.whole:
            raise ExecutionError(f"result {k} of {run.plan.program.name} is in no stage")
        return OnCluster(run, [run.whole[kept.held]], None, [])
    mine = [
        p for p in counts if p < 0 or run.partitions[p][0] in kept.part.space.domains
    ]  # others have none of its rows
    names = [run.rows[k][n] for n, p in enumerate(counts) if p in mine]
    edges = np.cumsum([0, *(counts[p][kept.part.space] for p in mine)]).tolist()
    return OnCluster(run, names, kept.part.axis, edges)


def _hints(found: Mapping[Value, Any]) -> dict[Value, str]:
    return {value: said for value in found if (said := holds(value)) is not None}


def _name(sizes: dict[str, int], dim: Any, size: int) -> None:
    if isinstance(dim, Expr) and dim == symbol(str(dim)):
        sizes[str(dim)] = int(size)
