"""Where the time of a run goes: its generated code with a clock behind every line, and the lines' ops and places."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traceprop.errors import ExecutionError
from traceprop.ir import Op
from traceprop.ir.location import Location
from traceprop.ir.opset import call as call_op
from traceprop.ir.opset import record
from traceprop.runtime.captures import Captures
from traceprop.runtime.profile_page import page
from traceprop.runtime.worlds import settled

REPEATS = 3
_ASSIGNED = re.compile(r"\s*([A-Za-z_]\w*(?:, \w+)*,?) = ")


@dataclass(frozen=True)
class ProfileRow:
    """One line of the generated code: what it computes, for which line of the user's, and what that took.

    `seconds`: the median of several runs. `bytes`: of the result. `captured`: what is kept of it for lineage, encoded.
    `ops`: how many ops the line stands for; more than one where they run together as a segment.
    """

    op: str
    location: Location | None
    code: str
    seconds: float
    bytes: int
    captured: int
    ops: int = 1

    @property
    def where(self) -> str:
        """`file.py:line` of the user's code."""
        return str(self.location) if self.location is not None else ""


@dataclass(frozen=True)
class Profile:
    """What `f.profile(*args)` found. Prints as a table; `rows` for programs, in the order in which they ran.

    `seconds`: of a run without the clock. `profiled_seconds`: of one with it, so that their difference is what the clock
    costs, and, where XLA compiles the whole program, what running it op by op does.
    """

    name: str
    rows: tuple[ProfileRow, ...]
    seconds: float
    profiled_seconds: float
    granularity: str | None = field(default=None)

    @property
    def captured(self) -> int:
        """Bytes kept for lineage, encoded."""
        return sum(row.captured for row in self.rows)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page: the program's lines as a picture, as wide as they take long, above a table. It needs no network."""
        Path(path).write_bytes(page(self).encode("utf-8", "xmlcharrefreplace"))

    def __str__(self) -> str:
        whole = sum(row.seconds for row in self.rows) or 1.0
        cells = [
            (
                row.where,
                row.op + (f" ({row.ops} ops)" if row.ops > 1 else ""),
                _time(row.seconds),
                f"{row.seconds / whole:.0%}",
                size_text(row.bytes),
                size_text(row.captured) if row.captured else "",
            )
            for row in self.rows
        ]
        head = ("line", "op", "time", "share", "result", "captured")
        widths = [max(len(row[k]) for row in (head, *cells)) for k in range(len(head))]
        lines = [self._summary(), ""]
        for row in (head, *cells):
            padded = [
                cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)

    def _summary(self) -> str:
        level = f"granularity {self.granularity}" if self.granularity else "tracking off"
        return (
            f"{self.name}: {_time(self.seconds)} a run ({_time(self.profiled_seconds)} with a clock behind each line), "
            f"{size_text(self.captured)} captured, {level}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def profile(executable: Any, inputs: Callable[[], Sequence[tuple[str, Any]]], granularity: str | None) -> Profile:
    """Run an executable a few times with a clock behind every line of its code.

    `inputs` gives name and value of each parameter, and is timed too.
    """
    started = time.perf_counter()
    given = inputs()
    reading = time.perf_counter() - started
    values = [value for _, value in given]
    whole = []
    for _ in range(REPEATS + 1):  # the first imports and compiles
        started = time.perf_counter()
        settled(executable.run(values).results)
        whole.append(time.perf_counter() - started)
    clock = _Clock(executable)
    runs = [clock.run(values) for _ in range(REPEATS + 1)][1:]
    captured = clock.captured(values)
    names = ", ".join(name for name, _ in given)
    rows = [ProfileRow("read", None, names, reading, sum(_nbytes(value) for value in values), 0)] if given else []
    for place, line in enumerate(clock.lines):
        op = executable.op_of_line[line]
        rows.append(
            ProfileRow(
                _label(op, clock.together(op)),
                op.location,
                clock.source[line - 1].strip(),
                statistics.median(times[place] for times, _ in runs),
                runs[-1][1][place],
                captured.get(op.operands[0], 0) if op.definition is record else 0,
                clock.together(op),
            )
        )
    kept = tuple(row for row in rows if row.seconds or row.bytes or row.captured)
    return Profile(
        executable.traced.name,
        kept,
        statistics.median(whole[1:]),
        statistics.median(sum(times) for times, _ in runs),
        granularity,
    )


class _Clock:
    """The code of an executable with a mark behind each line of its function that an op stands in."""

    def __init__(self, executable: Any) -> None:
        self.source = executable.code.splitlines()
        self.lines: list[int] = []
        self._executable = executable
        marked = self._marked(executable.op_of_line)
        self._times: list[float] = []
        self._sizes: list[int] = []
        self._last = 0.0
        scope = {**executable.scope, "_mark": self._mark, "__name__": "traceprop.generated"}
        exec(compile(marked, f"<traceprop profile of {executable.traced.name}>", "exec"), scope)  # our own text
        self._function = executable.line_by_line(scope[marked.split("(", 1)[0].removeprefix("def ")])

    def _marked(self, op_of_line: dict[int, Op]) -> str:
        out: list[str] = []
        inner: int | None = None
        ended = False
        for number, line in enumerate(self.source, 1):
            out.append(line)
            indent = len(line) - len(line.lstrip())
            ended = ended or (number > 1 and bool(line.strip()) and indent == 0)
            if inner is not None and line.strip() and indent <= inner:
                inner = None
            if line.lstrip().startswith("def ") and number > 1 and not ended and inner is None:
                inner = indent
            if ended or inner is not None or number not in op_of_line:
                continue
            assigned = _ASSIGNED.match(line)
            result = f"({assigned.group(1)})" if assigned else "None"
            out.append(f"{' ' * indent}_mark({len(self.lines)}, {result})")
            self.lines.append(number)
        return "\n".join(out) + "\n"

    def _mark(self, place: int, value: Any) -> None:
        settled(value)
        now = time.perf_counter()
        self._times[place] += now - self._last
        self._sizes[place] = _nbytes(value)
        self._last = time.perf_counter()

    def run(self, values: Sequence[Any]) -> tuple[list[float], list[int]]:
        """Seconds and bytes of each line, in one run."""
        self._times, self._sizes = [0.0] * len(self.lines), [0] * len(self.lines)
        captures: list[Any] = [None] * len(self._executable.kept)
        self._last = time.perf_counter()
        try:
            self._function(captures, *values)
        except Exception as error:
            raise ExecutionError(f"{self._executable.traced.name} failed while it was profiled: {error}") from error
        return self._times, self._sizes

    def captured(self, values: Sequence[Any]) -> dict[Any, int]:
        """Bytes kept of each recorded value, encoded, by the value that the program records."""
        found = self._executable.run(values).captures
        slots = {op.attrs["slot"]: op.operands[0] for op in self._executable.program.ops if op.definition is record}
        if not isinstance(found, Captures):
            return {}
        return {
            slots[slot]: int(found.positions(value).nbytes)
            for slot, value in enumerate(self._executable.kept)
            if value in found and slot in slots
        }

    def together(self, op: Op) -> int:
        """How many ops a line stands for."""
        return len(op.regions[0].ops) if op.definition is call_op and op.regions else 1


def _label(op: Op, count: int) -> str:
    if op.definition is call_op and op.regions:
        names = dict.fromkeys(
            (inner.payload or inner.definition.name).rsplit(".", 1)[-1] for inner in op.regions[0].ops
        )
        return "segment of " + ", ".join(names)
    return op.label


def _nbytes(value: Any) -> int:
    if isinstance(value, tuple | list):
        return sum(map(_nbytes, value))
    estimated = getattr(value, "estimated_size", None)
    return int(estimated()) if callable(estimated) else int(getattr(value, "nbytes", 0))


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def size_text(count: int) -> str:
    """Bytes in a unit that fits."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"
