"""How rows get to the workers: read there from a file, sent from here, or taken where an earlier run left them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.sources import Source
from traceprop.sources.pieces import pieces
from traceprop.sources.streamed import StreamedCsv, StreamedSource

if TYPE_CHECKING:
    from traceprop.runtime.dask.gathered import OnCluster

TARGET_BYTES = 1 << 26
"""About how large a partition is, where there is much more than one per thread."""


class AbstractInput(ABC):
    """One input of a run. `part` and `no_rows` say how rows get to the cluster, and what of: `("read", piece)` by a worker,
    `("send", value)` to a worker, `("hold", value)` with the task itself, `("future", future)` as they are there, and
    `("none of", future)`.
    """

    @abstractmethod
    def part(self, lo: int, hi: int | None) -> tuple[str, Any]:
        """Rows from `lo` up to `hi`; all of them up to `None`."""

    @abstractmethod
    def no_rows(self) -> tuple[str, Any]:
        """A value of the same type without rows."""


class SourceInput(AbstractInput):
    """A source: its file is read by the workers where it is one, else its rows are sent."""

    def __init__(self, source: Source, edges: Sequence[int]) -> None:
        self._source = source
        self._edges = list(edges)

    def part(self, lo: int, hi: int | None) -> tuple[str, Any]:
        stop = self._edges[-1] if hi is None else hi
        edges = self._edges if hi is not None else [0, stop]
        found = pieces(self._source, edges)
        if found is None:
            value = self._source.value()
            return "send", value if hi is None else value[lo:hi]
        known = dict(zip(itertools.pairwise(edges), found, strict=True))
        return "read", known[lo, stop]

    def no_rows(self) -> tuple[str, Any]:
        source = self._source
        return "hold", source.empty() if isinstance(source, StreamedSource) else source.value()[:0]


class ValueInput(AbstractInput):
    """A value that is here: rows are sent."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def part(self, lo: int, hi: int | None) -> tuple[str, Any]:
        return "send", self._value if hi is None else self._value[lo:hi]

    def no_rows(self) -> tuple[str, Any]:
        return "hold", self._value[:0]


class ClusterInput(AbstractInput):
    """A result of an earlier run, in its partitions."""

    def __init__(self, value: OnCluster) -> None:
        self._value = value
        self._at = {edge: k for k, edge in reversed(list(enumerate(zip(value.edges, value.edges[1:], strict=False))))}

    def part(self, lo: int, hi: int | None) -> tuple[str, Any]:
        return "future", self._value.futures()[0 if hi is None else self._at[lo, hi]]

    def no_rows(self) -> tuple[str, Any]:
        return "none of", self._value.futures()[0]


def even_edges(rows: int, nbytes: int, threads: int, partition_rows: int | None) -> list[int]:
    """Where partitions begin and end: of so many rows, or as many as there are threads, and more where they get large."""
    if partition_rows is not None:
        count = -(-rows // partition_rows)
    else:
        count = min(rows, max(threads, -(-nbytes // TARGET_BYTES)))
    return np.linspace(0, rows, max(1, count) + 1).round().astype(np.int64).tolist()


def at_blocks(edges: Sequence[int], source: Source) -> list[int]:
    """The edges moved to where blocks of a file begin that is not held, so that no block is read twice; others as they are."""
    if not isinstance(source, StreamedCsv):
        return list(edges)
    begins = np.array([*(block.row for block in source.blocks), source.n_rows])
    near = begins[np.searchsorted(begins, edges).clip(max=len(begins) - 1)]
    return np.unique([0, *near, source.n_rows]).tolist() if source.n_rows else list(edges)


def bytes_of(value: Any) -> int:
    """About how many bytes a value takes."""
    return int(value.estimated_size()) if hasattr(value, "estimated_size") else int(getattr(value, "nbytes", 0))
