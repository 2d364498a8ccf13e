"""A program as the source of one plain Python function over NumPy and the table engine."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError
from traceprop.ir import ArrayType, Dim, Expr, Op, Program, TableType, Value
from traceprop.ir.expr import symbol
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import (
    branch,
    broadcast,
    call,
    concat,
    constant,
    contract,
    distinct,
    elementwise,
    filter,
    gather,
    group,
    iota,
    join,
    match,
    opaque,
    pad,
    random,
    record,
    reduce,
    reshape,
    scan,
    segment,
    slice,
    sort,
    transpose,
)
from traceprop.ir.opset.shape import column_ranges
from traceprop.ir.types import numpy_dtype
from traceprop.runtime import blocks
from traceprop.runtime.backends import Choice, choice
from traceprop.runtime.payloads import resolve
from traceprop.runtime.segments import Note, write_call
from traceprop.runtime.taken import only_taken


@dataclass
class Code:
    """Generated source and what it needs: the functions and arrays that it names, and each line's op; `notes` on its segments."""

    source: str
    scope: dict[str, Any]
    op_of_line: dict[int, Op]
    notes: list[Note] = field(default_factory=list)


@dataclass
class Writer:
    """Writes ops as lines of Python: `names` of values, `sizes` by symbol, and what the lines call in `scope`."""

    names: dict[Value, str] = field(default_factory=dict)
    scope: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    op_of_line: dict[int, Op] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)
    depth: int = 0
    letter: str = "v"
    numbers: Counter[str] = field(default_factory=Counter)
    choices: dict[tuple[Any, ...], str] = field(default_factory=dict)
    taken: set[Value] = field(default_factory=set)
    functions: list[Writer] = field(default_factory=list)
    choice: Choice = field(default_factory=lambda: choice("numpy"))
    notes: list[Note] = field(default_factory=list)

    def add(self, text: str, op: Op | None = None) -> None:
        """One line, and the op that it computes."""
        self.lines.append("    " * self.depth + text)
        if op is not None:
            self.op_of_line[len(self.lines)] = op

    def ops(self, program: Program, lasting: Container[Value] = (), named: Mapping[Value, str] | None = None) -> None:
        """Every op is one line, behind the functions of its bodies; a value is dropped on the line behind its last use.

        `lasting`: parameters that somebody needs behind these ops; `named`: what is to have which name.
        """
        last = _last_uses(program)
        self.taken |= only_taken(program)
        calls: dict[tuple[Any, ...], list[Op]] = {}
        for op in program.ops:
            if op.definition is call:
                calls.setdefault((op.regions, op.operands), []).append(op)
        for op in program.ops:
            if op.definition is call:
                together = calls.pop((op.regions, op.operands), [])
                if together:
                    write_call(self, together, [v for each in together for v in last.get(each, ())])
                continue
            if op.definition is record:
                self.add(f"captures[{op.attrs['slot']}] = {self.names[op.operands[0]]}", op)
            else:
                self.op(op, (named or {}).get(op.result))
            self.drop(value for value in last.get(op, ()) if value not in lasting)

    def drop(self, values: Iterable[Value]) -> None:
        """Lets go of values; numbers in the text have no name to let go of."""
        names = [self.names[v] for v in values if v.op is None or v.op.definition is not constant]
        if names:
            self.add("del " + ", ".join(names))

    @contextmanager
    def under(self, head: str, op: Op | None = None) -> Iterator[None]:
        """A line, and what stands indented under it."""
        self.add(head, op)
        self.depth += 1
        yield
        self.depth -= 1

    def beside(self, kind: str) -> tuple[str, Writer]:
        """A function beside the one at hand: its name, and what writes it."""
        inside = Writer(scope=self.scope, letter="w")
        self.functions.append(inside)
        return f"{kind}_{len(self.functions) - 1}", inside

    def parameters(self, wanted: Sequence[str], params: Sequence[Value], taken: Sequence[str] = ()) -> list[str]:
        """Names for parameters: the wanted ones, where the code has no use of its own for them."""
        names: list[str] = []
        for k, (name, param) in enumerate(zip(wanted, params, strict=True)):
            names.append(name if _is_free(name, (*names, *taken)) else f"p{k}")
            self.names[param] = names[-1]
        return names

    def op(self, op: Op, name: str | None = None) -> None:
        """One op as one line, under a name that is given or a fresh one."""
        emit = _EMIT[op.definition] if op.native is None else _native
        name = name or self.fresh(self.letter)
        text = emit(op, [self.names[value] for value in op.operands], self)
        if op.definition is constant and not isinstance(op.attrs["value"], np.ndarray):
            self.names[op.result] = text
            return
        self.names[op.result] = name
        self.add(f"{name} = {text}", op)
        if op.definition is opaque:
            self.bind_sizes(op.result, name)
        if isinstance(op.attrs.get("size"), Expr) and op.definition is not iota:
            self.sizes[str(op.attrs["size"])] = name
            self.add(f"{op.attrs['size']} = len({name})")
        if op.definition is group:
            self.sizes[str(op.attrs["groups"])] = name
            self.add(f"{op.attrs['groups']} = {self.function('table.count_groups')}({name})")

    def fresh(self, letter: str) -> str:
        """A name that nothing else has: v0 for %0, v1, …"""
        self.numbers[letter] += 1
        return f"{letter}{self.numbers[letter] - 1}"

    def body(self, program: Program) -> str:
        """A function of its own around a body's ops, inside the one at hand, whose sizes it sees; its name."""
        name, outer, sizes = self.fresh("body"), self.letter, dict(self.sizes)
        for k, param in enumerate(program.params):
            self.names[param] = f"{name}_p{k}"
        self.add(f"def {name}({', '.join(self.names[param] for param in program.params)}):  # {program.name}")
        self.depth, self.letter = self.depth + 1, f"{name}_v"
        self.ops(program)
        self.add(f"return ({''.join(f'{self.names[value]}, ' for value in program.returns)})")
        self.depth, self.letter, self.sizes = self.depth - 1, outer, sizes
        return name

    def bind_sizes(self, value: Value, rows: str) -> None:
        """Names every size symbol that this value is the first to show."""
        for k, dim in enumerate(value.type.dims):
            if isinstance(dim, Expr) and dim == symbol(str(dim)) and str(dim) not in self.sizes:
                self.sizes[str(dim)] = str(dim)
                self.add(f"{dim} = {rows}.shape[{k}]")

    def function(self, payload: str) -> str:
        """The name by which the code calls a payload: the payload itself, dots and all underlined."""
        function = resolve(payload)
        name = payload.replace(".", "_")
        self.scope[name] = function
        return name


def generate(program: Program, chosen: Choice | None = None) -> Code:
    """The code of a program: its function, and behind it those of its segments. Every op is one line."""
    writer = Writer(choice=chosen or choice("numpy"))
    parameters = writer.parameters([param.name for param in program.params], program.params)
    own = program.name if program.name.isidentifier() and not keyword.iskeyword(program.name) else "program"
    writer.add(f"def {own}(captures, {', '.join(parameters)}):")
    writer.depth = 1
    for param in program.params:
        if param.rank:
            writer.bind_sizes(param, writer.names[param])
    writer.ops(program)
    sizes = ", ".join(f"{name!r}: {name}" for name in writer.sizes)
    returned = "".join(f"{writer.names[value]}, " for value in program.returns)
    writer.add(f"return ({returned}), {{{sizes}}}")
    code = Code("\n".join([*writer.lines, ""]), writer.scope, writer.op_of_line, writer.notes)
    for beside in writer.functions:
        above = code.source.count("\n") + 1
        code.source += "\n".join(["", *beside.lines, ""])
        code.op_of_line |= {above + line: op for line, op in beside.op_of_line.items()}
    return code


_OURS = re.compile(
    r"captures|rows|[ij]|first|last|[vwtxu]\d+|p\d+.*|body\d+.*|chosen\d+|(x_|room|rows_|sweep_|segment_|xla_|jax_|counted_|chain_|numpy_|table_).*"
)


def _is_free(name: str, taken: Container[str]) -> bool:
    """Whether the code can give a parameter this name: it is one to Python, and the code has no use of its own for it."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_") or name in taken:
        return False
    return _OURS.fullmatch(name) is None and name not in blocks.PAYLOADS


def _last_uses(program: Program) -> dict[Op, list[Value]]:
    """For each op, the values that nothing behind it needs."""
    kept = set(program.returns)
    seen: set[Value] = set()
    last: dict[Op, list[Value]] = {}
    for op in reversed(program.ops):
        here = [value for value in dict.fromkeys(op.operands) if value not in seen and value not in kept]
        seen.update(here)
        if here:
            last[op] = here
    return last


# -- one rule per structural op -----------------------------------------------------------------------------------------

Emit = Callable[[Op, list[str], Writer], str]


def _options(op: Op, *structural: str) -> str:
    """The attributes that go to the library function as keywords."""
    parts = []
    for name, value in op.attrs.items():
        if name not in structural:
            text = numpy_dtype(value).name if name == "dtype" else value
            parts.append(f"{name}={text}" if isinstance(text, Expr) else f"{name}={text!r}")
    return "".join(f", {part}" for part in parts)


def _constant(op: Op, operands: list[str], writer: Writer) -> str:
    value = op.attrs["value"]
    if (
        isinstance(value, np.ndarray)
        or isinstance(value, float)
        and not np.isfinite(value)
        or isinstance(value, complex)
    ):
        name = f"c{len(writer.scope)}"
        writer.scope[name] = value
        return name
    return f"({value!r})" if not isinstance(value, str) and value is not None and value < 0 else repr(value)


def _elementwise(op: Op, operands: list[str], writer: Writer) -> str:
    assert op.payload
    family = f", {op.attrs['family']!r}" if "family" in op.attrs else ""
    return f"{writer.function(op.payload)}({', '.join(operands)}{family}{_options(op, 'control', 'spread', 'family')})"


def _axis(axes: tuple[int, ...], rank: int) -> str:
    if len(axes) == rank and rank != 1:
        return "None"
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def _reduce(op: Op, operands: list[str], writer: Writer) -> str:
    assert op.payload
    name = writer.function(op.payload)
    if op.payload.startswith("table."):
        return f"{name}({operands[0]})"
    axis = _axis(op.attrs["axes"], op.operands[0].rank)
    return f"{name}({operands[0]}, axis={axis}{_options(op, 'axes', 'size')})"


def _scan(op: Op, operands: list[str], writer: Writer) -> str:
    assert op.payload
    return f"{writer.function(op.payload)}({operands[0]}, axis={op.attrs['axis']}{_options(op, 'axis')})"


def _shape(dims: tuple[Dim, ...]) -> str:
    return "(" + "".join(f"{dim}, " for dim in dims) + ")"


def _slice(op: Op, operands: list[str], writer: Writer) -> str:
    operand = op.operands[0].type
    if isinstance(operand, TableType):
        if "column" in op.attrs:
            ((start, width),) = column_ranges(operand, [op.attrs["column"]])
            family = operand.field(op.attrs["column"]).width is not None
            wide = width if family else None
            return f"{writer.function('table.column')}({operands[0]}, {start}, {wide}, {_dtype(op.result)!r})"
        ranges = ", ".join(f"({start}, {width})" for start, width in column_ranges(operand, op.attrs["columns"]))
        return f"{writer.function('table.select')}({operands[0]}, [{ranges}])"
    return f"{operands[0]}[{', '.join(map(_item, op.attrs['index'])) or '...'}]"


def _dtype(value: Value) -> str:
    return value.type.dtype if isinstance(value.type, ArrayType) else ""


def _item(item: Any) -> str:
    if not isinstance(item, tuple):
        return str(item)
    start, stop, step = ("" if bound is None else str(bound) for bound in item)
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _gather(op: Op, operands: list[str], writer: Writer) -> str:
    if isinstance(op.operands[0].type, TableType):
        return f"{writer.function('table.take')}({operands[0]}, {operands[1]})"
    if op.attrs.get("along"):
        writer.scope["numpy_take_along_axis"] = np.take_along_axis
        return f"numpy_take_along_axis({operands[0]}, {operands[1]}, {op.attrs['axis']})"
    return f"{operands[0]}[{':, ' * op.attrs['axis']}{operands[1]}]"


def _concat(op: Op, operands: list[str], writer: Writer) -> str:
    parts = f"({', '.join(operands)},)"
    if isinstance(op.result.type, TableType):
        if op.attrs["axis"] == 0:
            return f"{writer.function('table.concat')}({parts})"
        return f"{writer.function('table.with_columns')}({parts}, {tuple(op.attrs.get('names', ()))!r})"
    writer.scope["numpy_concatenate"] = np.concatenate
    return f"numpy_concatenate({parts}, axis={op.attrs['axis']})"


def _sort(op: Op, operands: list[str], writer: Writer) -> str:
    if op.payload == "table.argsort":
        name = "table.taken_argsort" if op.result in writer.taken else op.payload
        return f"{writer.function(name)}(({', '.join(operands)},){_options(op, 'axis')})"
    writer.scope["numpy_argsort"] = np.argsort
    return f"numpy_argsort({operands[0]}, axis={op.attrs['axis']}, kind={op.attrs.get('kind', 'stable')!r})"


def _filter(op: Op, operands: list[str], writer: Writer) -> str:
    if op.result in writer.taken:
        return f"{writer.function('table.taken_filter')}({operands[0]})"
    writer.scope["numpy_flatnonzero"] = np.flatnonzero
    return f"numpy_flatnonzero({operands[0]})"


def _contract(op: Op, operands: list[str], writer: Writer) -> str:
    assert op.payload
    spec = f"{op.attrs['spec']!r}, " if op.payload == "numpy.einsum" else ""
    return f"{writer.function(op.payload)}({spec}{', '.join(operands)})"


def _broadcast(op: Op, operands: list[str], writer: Writer) -> str:
    writer.scope["numpy_broadcast_to"] = np.broadcast_to
    return f"numpy_broadcast_to({operands[0]}, {_shape(op.attrs['shape'])})"


def _iota(op: Op, operands: list[str], writer: Writer) -> str:
    writer.scope["numpy_arange"] = np.arange
    return f"numpy_arange({op.attrs['size']})"


def _segment(op: Op, operands: list[str], writer: Writer) -> str:
    assert op.payload
    return f"{writer.function(op.payload)}({', '.join(operands)}, {op.attrs['groups']})"


def _of_table(name: str) -> Emit:
    """The table engine's function of that name, with the attributes that are no size of the result."""

    def emit(op: Op, operands: list[str], writer: Writer) -> str:
        how = f"taken_{name}" if op.result in writer.taken else name
        return f"{writer.function(f'table.{how}')}({', '.join(operands)}{_options(op, 'size', 'groups')})"

    return emit


def _native(op: Op, operands: list[str], writer: Writer) -> str:
    """The framework's own call, under the payload's name and a number of its own."""
    name = f"{re.sub(r'[^a-z0-9]+', '_', (op.payload or op.definition.name).lower())}_{len(writer.scope)}"
    writer.scope[name] = op.native
    return f"{name}({', '.join([*operands, *getattr(op.native, 'sizes', ())])})"


def _branch(op: Op, operands: list[str], writer: Writer) -> str:
    """The body that is chosen, called; the results of one branch share the call."""
    key = (op.regions, *operands)
    if key not in writer.choices:
        bodies = ", ".join(writer.body(region) for region in op.regions)
        which, *given = operands
        call = f"({bodies})[min(max(int({which}), 0), {len(op.regions) - 1})]({', '.join(given)})"
        if "result" not in op.attrs:
            return f"{call}[0]"
        writer.choices[key] = writer.fresh("chosen")
        writer.add(f"{writer.choices[key]} = {call}", op)
    return f"{writer.choices[key]}[{op.attrs['result']}]"


def _opaque(op: Op, operands: list[str], writer: Writer) -> str:
    """One of our own functions over parts of the rows; of what else is opaque, only the library's own call is known."""
    if not (op.payload or "").startswith("partial."):
        return _no_rule(op, operands, writer)
    return f"{writer.function(op.payload or '')}({', '.join(operands)})"


def _no_rule(op: Op, operands: list[str], writer: Writer) -> str:
    raise ExecutionError(f"{op.label} at {op.location or 'an unknown line'} has no way to run")


class _Table(dict[OpDef, Emit]):
    def __missing__(self, definition: OpDef) -> Emit:
        return _no_rule


_EMIT: dict[OpDef, Emit] = _Table(
    {
        constant: _constant,
        iota: _iota,
        elementwise: _elementwise,
        reduce: _reduce,
        scan: _scan,
        broadcast: _broadcast,
        reshape: lambda op, operands, writer: f"{operands[0]}.reshape({_shape(op.attrs['shape'])})",
        transpose: lambda op, operands, writer: f"{operands[0]}.transpose({op.attrs['axes']})",
        slice: _slice,
        gather: _gather,
        filter: _filter,
        sort: _sort,
        concat: _concat,
        contract: _contract,
        group: _of_table("group"),
        segment: _segment,
        distinct: _of_table("distinct"),
        match: _of_table("match"),
        join: _of_table("join"),
        pad: _of_table("pad"),
        random: _of_table("sample"),
        branch: _branch,
        opaque: _opaque,
    }
)
