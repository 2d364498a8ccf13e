"""What lineage will cost a program, before it runs: bytes kept and time per row, by what each record is known to hold."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.ir import Op, Program
from traceprop.ir.location import Location
from traceprop.ir.opset import record
from traceprop.passes.encodings import encode
from traceprop.passes.optimize.compress import column_of

ROWS = 1_000_000
SAMPLE = 1 << 19
"""Positions that an encoding is tried on; its time and bytes per position are taken from there."""


@dataclass(frozen=True)
class RecordCost:
    """What one recorded array costs for each row that it tells of: bytes once encoded, and seconds to encode it.

    `holds`: what is known of its numbers, and so how they are encoded.
    """

    op: str
    location: Location | None
    holds: str
    bytes_per_row: float
    seconds_per_row: float


@dataclass(frozen=True)
class Cost:
    """What keeping a program's lineage costs per row, predicted; prints as a table.

    Attributes
    ----------
    granularity
        What it is predicted for; None with tracking off.
    rows
        For how many rows of input: positions among more rows take more bits each.
    records
        By recorded array. Nothing else is kept: an op without a record costs nothing.
    """

    granularity: str | None
    rows: int
    records: tuple[RecordCost, ...]

    @property
    def bytes_per_row(self) -> float:
        """Bytes kept for each row of input."""
        return sum(one.bytes_per_row for one in self.records)

    @property
    def seconds_per_row(self) -> float:
        """Seconds for each row of input, beside what the run takes anyway: for encoding, which waits for the first question."""
        return sum(one.seconds_per_row for one in self.records)

    @property
    def bytes(self) -> int:
        """Bytes kept of the whole run."""
        return round(self.bytes_per_row * self.rows)

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        return self.seconds_per_row * self.rows

    def __str__(self) -> str:
        level = f'granularity "{self.granularity}"' if self.granularity else "tracking off"
        lines = [
            f"{level}: {self.bytes_per_row:.3g} bytes and {1e9 * self.seconds_per_row:.3g} ns per row, "
            f"{self.bytes:,} bytes and {1e3 * self.seconds:.3g} ms for {self.rows:,} rows"
        ]
        for one in self.records:
            lines.append(
                f"  {one.location or 'an unknown line'}  {one.op}, {one.holds}: {one.bytes_per_row:.3g} bytes, "
                f"{1e9 * one.seconds_per_row:.3g} ns"
            )
        return "\n".join(lines)

    __repr__ = __str__


def predicted(program: Program, granularity: str | None, rows: int) -> Cost:
    """Predict by what the records of a program, behind the passes, are known to hold.

    A filter is taken to keep every other row, in no order that would shorten it, a join to find one match for each row, an
    order to be any: data with more of a pattern takes less. Each kind is tried on this machine, once, on made-up positions.
    """
    found = [_record(op, rows) for op in program.ops if op.definition is record]
    return Cost(granularity, rows, tuple(one for one in found if one is not None))


def _record(op: Op, rows: int) -> RecordCost | None:
    (value,) = op.operands
    holds = str(op.attrs.get("holds", "positions"))
    if holds == "column" and column_of(value) is not None:
        return None  # a column of pairs that are kept themselves
    label = value.op.label if value.op is not None else "a parameter"
    first, *inner = value.type.dims or (1,)
    each = 1.0 if holds == "pairs" else float(np.prod([dim for dim in inner if isinstance(dim, int)], initial=1.0))
    if isinstance(first, int):  # as many as the trace says, however many rows there are
        each *= first / rows
    size, seconds = tried(holds, _kind(value), rows)
    return RecordCost(label, op.location, holds, each * size, each * seconds)


def _kind(value: Any) -> str:
    """Whether ascending positions are those of a filter, among more rows, or of a join, each row once."""
    op = value.op
    return "match" if op is not None and op.definition.name == "join" else "choice"


@functools.lru_cache(maxsize=256)
def tried(holds: str, kind: str, rows: int) -> tuple[float, float]:
    """Bytes and seconds per row of input, for positions among so many rows: tried on a sample of made-up ones."""
    rng = np.random.default_rng(0)
    n = min(SAMPLE, max(rows, 1))
    if holds == "ascending" and kind == "choice":
        positions = np.flatnonzero(rng.random(n) < 0.5)
    elif holds == "ascending":
        positions = np.arange(n)
    elif holds == "pairs":
        positions = np.stack([np.arange(n), rng.integers(0, max(n // 8, 1), n)], axis=1)
    elif holds == "ordinals":
        positions = rng.integers(0, max(min(n, 1 << 10), 1), n)
    else:
        positions = rng.permutation(n)
    hint = holds if holds in ("ascending", "permutation", "pairs", "ordinals") else None
    times = []
    for _ in range(3):
        started = time.perf_counter()
        encoded = encode(positions, hint)
        times.append(time.perf_counter() - started)
    wider = 1.0
    if holds in ("permutation", "positions") and rows > n > 1:
        wider = np.ceil(np.log2(rows)) / np.ceil(np.log2(n))  # a position among more rows is longer
    return float(encoded.nbytes * wider / n), min(times) / n
