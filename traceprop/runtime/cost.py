"""What lineage will cost a program, before it runs: bytes kept and time per row, by what each record is known to hold."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.ir import Op, Program, Value
from traceprop.ir.expr import Expr, evaluate
from traceprop.ir.location import Location
from traceprop.ir.opset import filter, gather, record
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
        """Seconds for each row of input, beside what the run takes anyway: composing, and encoding once somebody asks."""
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


def predicted(program: Program, granularity: str | None, rows: int, sizes: Mapping[str, int] | None = None) -> Cost:
    """Predict by what the records of a program, behind the passes, are known to hold.

    A filter is taken to keep seven rows of ten (right within a factor of two between a third and all), in no order that would
    shorten it, a join to find one match for each row, an
    order to be any: data with more of a pattern takes less. `sizes` says what size symbols stand for instead. Each kind is
    tried on this machine, once, on made-up positions.
    """
    known = _sizes(program, rows, sizes or {})
    found = [_record(op, rows, known) for op in program.ops if op.definition is record]
    return Cost(granularity, rows, tuple(one for one in found if one is not None))


def _sizes(program: Program, rows: int, given: Mapping[str, int]) -> dict[str, int]:
    """A number for every size symbol: given, of the input, or guessed from what comes before."""
    known = {str(dim): rows for param in program.params for dim in param.type.dims if isinstance(dim, Expr)}
    known.update(given)
    for op in program.ops:
        name = op.attrs.get("size")
        if isinstance(name, Expr) and str(name) not in known and op.operands and op.operands[0].rank:
            before = _number(op.operands[0].type.dims[0], known, rows)
            known[str(name)] = before * 7 // 10 if op.definition is filter else before
    return known


def _number(dim: Any, known: Mapping[str, int], otherwise: int) -> int:
    try:
        return int(evaluate(dim, known))
    except KeyError:
        return otherwise


def _record(op: Op, rows: int, known: Mapping[str, int]) -> RecordCost | None:
    (value,) = op.operands
    holds = str(op.attrs.get("holds", "positions"))
    if holds == "column" and column_of(value) is not None:
        return None  # a column of pairs that are kept themselves
    label = value.op.label if value.op is not None else "a parameter"
    first, *inner = value.type.dims or (1,)
    count = float(_number(first, known, rows))
    if holds != "pairs":
        count *= float(np.prod([dim for dim in inner if isinstance(dim, int)], initial=1.0))
    share = count / max(rows, 1)
    size, seconds = tried(holds, _kind(value), rows)
    chain = _chain(value)
    if holds == "ascending" and _kind(value) == "choice":
        # Tried with every other position taken: a bit for each row that could be, and time for each that is.
        made = chain[0].op
        among = _number(made.operands[0].type.dims[0], known, rows) if made is not None and made.operands else rows
        size, seconds = min(size * among / max(rows, 1), 8 * share), 2 * share * seconds
    else:
        size, seconds = share * size, share * seconds
    links = sum(_number(link.type.dims[0], known, rows) for link in chain[1:])
    if links:
        label, seconds = f"{len(chain)} composed", seconds + links / max(rows, 1) * composing()
    return RecordCost(label, op.location, holds, size, seconds)


def _chain(value: Value) -> list[Value]:
    """The positions that were composed for a record, first one first; the value alone where none were."""
    links: list[Value] = []
    while value.op is not None and value.op.definition is gather and value.rank == 1:
        links.append(value.op.operands[1])
        value = value.op.operands[0]
    return [value, *reversed(links)]


@functools.lru_cache(maxsize=1)
def composing() -> float:
    """Seconds per position to look one array of positions up in another: tried on made-up ones."""
    rng = np.random.default_rng(0)
    first, then = np.flatnonzero(rng.random(2 * SAMPLE) < 0.5), rng.permutation(SAMPLE // 2)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        first[then]
        times.append(time.perf_counter() - started)
    return min(times) / len(then)


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
