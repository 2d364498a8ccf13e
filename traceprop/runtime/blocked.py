"""A segment as the source of a function that goes over its rows block by block, in as many sweeps as its folds need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from traceprop.ir import Dim, Op, Value
from traceprop.ir.expr import Expr, product, symbols_of
from traceprop.ir.graph import payload_dtype
from traceprop.ir.opset import reduce
from traceprop.ir.types import numpy_dtype
from traceprop.passes.optimize.fuse import FOLDS, is_rowed
from traceprop.passes.optimize.sweeps import Plan, Sweep
from traceprop.runtime import blocks
from traceprop.runtime.chains import ByKernel, Recipe, is_chain

if TYPE_CHECKING:
    from traceprop.runtime.codegen import Writer

_IN_PLACE = frozenset(
    f"numpy.{name}"
    for name in "add subtract multiply divide true_divide square negative absolute maximum minimum sqrt".split()
)
"""What may write over an operand: each cell is read before it is written, by every one of NumPy's loops for these."""
_NARROW = 128
"""A row of fewer cells costs NumPy more to begin with than to compute: against a tiled operand a block is one long row."""


def sizes_of(plan: Plan) -> list[str]:
    """The size symbols that the code of a segment speaks of, in order."""
    return sorted({name for value in plan.body.values for dim in value.type.dims for name in symbols_of(dim)})


def write_blocked(plan: Plan, writer: Writer) -> None:
    """The lines of the function, whose parameters `writer` has names for."""
    _Segment(plan, writer).write()


@dataclass
class _Segment:
    plan: Plan
    writer: Writer
    names: dict[Value, str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = self.writer.names

    def write(self) -> None:
        plan = self.plan
        for level, sweep in enumerate(plan.sweeps):
            for op in plan.between[level]:
                self.writer.op(op)
            if sweep.ops or sweep.folds:
                self.sweep(level, sweep)
                done = [self.names[v] for v in self.done_with(level) if v not in plan.body.returns]
                if done:
                    self.writer.add("del " + ", ".join(done))
        self.writer.add(f"return {''.join(f'{self.names[value]}, ' for value in plan.body.returns)}")

    def finished(self, op: Op) -> None:
        """What is left to do to a fold of all rows."""
        total = self.names[op.result]
        if op.payload == "numpy.mean":
            self.writer.add(f"{total} = {self.runtime('averaged')}({total}, {self.plan.rows})", op)
        if op.attrs.get("keepdims"):
            self.writer.add(f"{total} = {total}[None]", op)

    def done_with(self, level: int) -> Iterator[Value]:
        """What was kept for later sweeps and is needed by none behind this one."""
        later = [
            op
            for k in range(level + 1, len(self.plan.sweeps))
            for op in (*self.plan.between[k], *self.plan.sweeps[k].ops)
        ]
        here = (*self.plan.between[level], *self.plan.sweeps[level].ops)
        for value in dict.fromkeys(v for sweep in self.plan.sweeps[: level + 1] for v in sweep.kept):
            if any(value in op.operands for op in here) and not any(value in op.operands for op in later):
                yield value

    def sweep(self, level: int, sweep: Sweep) -> None:
        writer, plan = self.writer, self.plan
        for value in sweep.kept:
            self.names[value] = writer.fresh(writer.letter)
            writer.add(f"{self.names[value]} = {self.empty((plan.rows, *value.type.dims[1:]), value)}", value.op)
        if is_chain(sweep, plan.rows):
            with writer.under(f"if not {self.chain(sweep)}:  # where NumPy has something to warn of", sweep.ops[-1]):
                self.in_blocks(level, sweep)
        elif not sweep.folds:
            self.in_blocks(level, sweep)
        else:
            loop = _Loop(self, sweep, self.rows_of_block(level, sweep))
            loop.write("0", str(plan.rows))
            for op in sweep.folds:
                self.names[op.result] = loop.totals[op]
                self.finished(op)

    def in_blocks(self, level: int, sweep: Sweep) -> None:
        """A sweep without folds, whose rows may go to two threads."""
        rows = self.rows_of_block(level, sweep)
        with self.writer.under(f"def sweep_{level}(first, last):"):
            _Loop(self, sweep, rows).write("first", "last")
        cells = product((self.plan.rows, _widest(sweep, self.plan.rows)))
        self.writer.add(f"{self.runtime('over_rows')}(sweep_{level}, {self.plan.rows}, {cells})")

    def rows_of_block(self, level: int, sweep: Sweep) -> str:
        """The name of how many rows a block of the sweep has."""
        self.writer.add(f"rows_{level} = {self.runtime('rows_of_block')}({_widest(sweep, self.plan.rows)})")
        return f"rows_{level}"

    def chain(self, sweep: Sweep) -> str:
        """The call of the kernel that computes a sweep of arithmetic."""
        buffers = {value: number for value, (number, _) in _Buffers(sweep).assigned(sweep.kept).items()}
        recipe, name = Recipe(sweep, self.plan.rows, buffers), self.writer.fresh("chain_")
        name = f"{name}_{len(self.writer.scope)}"
        self.writer.scope[name] = ByKernel(recipe.chain)
        given = (recipe.arrays, recipe.lines, recipe.numbers)
        groups = ("(" + "".join(f"{self.names[value]}, " for value in values) + ")" for values in given)
        return f"{name}({self.plan.rows}, {', '.join(groups)})"

    def empty(self, dims: Sequence[Dim | str], like: Value) -> str:
        self.writer.scope["numpy_empty"] = np.empty
        dtype = numpy_dtype(payload_dtype(like.type) or "f64").name
        return f"numpy_empty(({''.join(f'{dim}, ' for dim in dims)}), {dtype!r})"

    def runtime(self, name: str) -> str:
        self.writer.scope[name] = blocks.PAYLOADS[name]
        return name


def _widest(sweep: Sweep, rows: Dim) -> Dim:
    """The cells of a row of what a sweep computes or reads, where they are most."""
    rowed = [v for op in sweep.ops for v in (*op.operands, op.result) if is_rowed(v, rows)]
    return max(
        (product(v.type.dims[1:]) for v in rowed), key=lambda d: (isinstance(d, Expr), d if isinstance(d, int) else 0)
    )


class _Loop:
    """The loop over the blocks of one sweep."""

    def __init__(self, segment: _Segment, sweep: Sweep, rows: str) -> None:
        self.segment, self.sweep, self.rows = segment, sweep, rows
        self.writer = segment.writer
        self.names: dict[Value, str] = {}
        self.totals: dict[Op, str] = {}
        self.rooms: dict[Value, str] = {}
        self.tiles: dict[Value, str] = {}
        self.buffers = _Buffers(sweep)

    def write(self, first: str, last: str) -> None:
        writer, segment = self.writer, self.segment
        for op in self.sweep.folds:
            (value,) = op.operands
            if value not in self.rooms:
                self.rooms[value] = writer.fresh("room")
                dims = (f"{self.rows} + 1", *value.type.dims[1:])
                writer.add(f"{self.rooms[value]} = {segment.empty(dims, value)}")
            self.totals[op] = writer.fresh(writer.letter)
            writer.add(f"{self.totals[op]} = None")
        for value in dict.fromkeys(v for op in self.sweep.ops for v in op.operands if self._is_tiled(v, op)):
            self.tiles[value] = writer.fresh("u")
            writer.add(f"{self.tiles[value]} = {segment.runtime('tiled')}({segment.names[value]}, {self.rows})")
        taken = self.buffers.assigned([*self.sweep.kept, *self.rooms])
        names = {buffer: writer.fresh("t") for buffer in dict.fromkeys(taken.values())}
        for (_, value), name in names.items():
            writer.add(f"{name} = {segment.empty((self.rows, *value.type.dims[1:]), value)}")
        writer.add(f"for i, j in {segment.runtime('blocks')}({first}, {last}, {self.rows}):")
        writer.depth += 1
        views = {buffer: f"x{name[1:]}" for buffer, name in names.items()}
        for buffer, name in names.items():
            writer.add(f"{views[buffer]} = {name}[: j - i]")
        for value, room in self.rooms.items():
            self.names[value] = f"x_{room}"
            writer.add(f"x_{room} = {room}[1 : j - i + 1]")
        for op in self.sweep.ops:
            self.step(op, views.get(taken.get(op.result, (0, op.result))))
        for op in self.sweep.folds:
            name, total = self.rooms[op.operands[0]], self.totals[op]
            function = writer.function(f"numpy.{FOLDS[op.payload or '']}")
            writer.add(f"{total} = {segment.runtime('folded')}({function}, {name}, j - i, {total})", op)
        writer.depth -= 1

    def step(self, op: Op, view: str | None) -> None:
        """One op of a block: into a buffer, the room of a fold, or the rows of what is kept."""
        value, writer = op.result, self.writer
        operands = [self.name(operand, op) for operand in op.operands]
        kept = value in self.sweep.kept
        into = self.names.get(value) or (f"{self.segment.names[value]}[i:j]" if kept else view)
        if into is None:  # of a function that takes no out=
            into = self.names[value] = writer.fresh("x_")
            writer.add(f"{into} = {self.function(op)}({', '.join(operands)})", op)
            return
        self.names[value] = into
        if op.payload == "numpy.where":
            target = into if "[" in into else f"{into}[...]"
            writer.add(f"{target} = {self.function(op)}({', '.join(operands)})", op)
        elif op.definition is reduce:
            keep = ", keepdims=True" if op.attrs.get("keepdims") else ""
            text = f"{self.function(op)}({operands[0]}, axis={op.attrs['axes'][0]}{keep}, out={into})"
            if op.payload == "numpy.mean":
                text = f"{self.segment.runtime('averaged')}({text}, {op.operands[0].type.dims[-1]})"
            writer.add(text, op)
        else:
            writer.add(f"{self.function(op)}({', '.join(operands)}, out={into})", op)
        if kept and value in self.rooms:
            writer.add(f"{self.segment.names[value]}[i:j] = {into}", op)

    def function(self, op: Op) -> str:
        assert op.payload
        return self.writer.function(f"numpy.{FOLDS[op.payload]}.reduce" if op.definition is reduce else op.payload)

    def name(self, value: Value, op: Op) -> str:
        """A value as an operand of an op: what is at hand of its rows, or the whole of what has none."""
        if value in self.names:
            return self.names[value]
        if value in self.tiles and self._is_tiled(value, op):
            return f"{self.tiles[value]}[: j - i]"
        whole = self.segment.names[value]
        return f"{whole}[i:j]" if is_rowed(value, self.segment.plan.rows) else whole

    def _is_tiled(self, value: Value, op: Op) -> bool:
        """Whether a value is a row that an op meets each row of a narrow block with."""
        columns = op.result.type.dims[1:]
        narrow = product(columns)
        return value.type.dims == columns != () and isinstance(narrow, int) and 1 < narrow < _NARROW


Buffer = tuple[int, Value]


class _Buffers:
    """Which of a few buffers each value between two ops of a sweep goes to: one is free again behind its last use."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    def assigned(self, elsewhere: Sequence[Value]) -> Mapping[Value, Buffer]:
        """A buffer (its number, and a value of its type) per value that does not stand elsewhere."""
        last = {value: k for k, op in enumerate(self.sweep.ops) for value in op.operands}
        free: dict[tuple[str, tuple[Dim, ...]], list[Buffer]] = {}
        taken: dict[Value, Buffer] = {}
        for k, op in enumerate(self.sweep.ops):
            over = [taken[v] for v in dict.fromkeys(op.operands) if v in taken and last[v] == k]
            if op.payload in _IN_PLACE:
                self._release(over, free)
            if op.result not in elsewhere and op.payload != "numpy.where":
                known = free.setdefault(_kind(op.result), [])
                taken[op.result] = known.pop() if known else (len(set(taken.values())), op.result)
            if op.payload not in _IN_PLACE:
                self._release(over, free)
        return taken

    @staticmethod
    def _release(buffers: Sequence[Buffer], free: dict[tuple[str, tuple[Dim, ...]], list[Buffer]]) -> None:
        for buffer in buffers:
            free.setdefault(_kind(buffer[1]), []).append(buffer)


def _kind(value: Value) -> tuple[str, tuple[Dim, ...]]:
    return payload_dtype(value.type) or "", value.type.dims[1:]
