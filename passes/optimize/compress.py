"""What is known of recorded positions before the run, so that it need not be searched for behind it."""

from __future__ import annotations

from typing import Any, ClassVar

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.opset import distinct, filter, gather, group, iota, join, match, random, record, slice, sort
from traceprop.passes.rewrite import AbstractPass


class Compress(AbstractPass):
    """record(%index) {slot=0}  =>  record(%index) {slot=0, holds="ascending"}

    Says of each recorded value what its op makes sure of, and so in which encodings it can be small
    (`passes/encodings`): positions that a filter leaves ascend, those of a sort are a permutation, a join gives pairs whose
    left side ascends, groups are ordinals, and a column of recorded pairs is held with them. Values and index maps stay; an
    encoding that needs more than is said here looks at the numbers.
    """

    name: ClassVar[str] = "compress"

    def __call__(self, program: Program) -> Program:
        return program.with_ops(_told(op) if op.definition is record else op for op in program.ops)


def _told(op: Op) -> Op:
    (value,) = op.operands
    said = holds(value)
    if said is None:
        return op
    return Op(record, [value], {"slot": op.attrs["slot"], "holds": said}, location=op.location)


def holds(value: Value) -> str | None:
    """What the op behind a value makes sure of: one of `encodings.HINTS`, or `"column"`, of recorded pairs."""
    op = value.op
    if op is None:
        return None
    if column_of(value) is not None:
        return "column"
    if op.definition is gather:  # composed positions: some of those that ascend, in their order
        return "ascending" if {holds(v) for v in op.operands} == {"ascending"} else None
    return _pairs(op) if op.definition is join else _HOLDS.get(op.definition)


def _pairs(op: Op) -> str:
    return "pairs" if op.result.rank == 2 else "ascending"


def column_of(value: Value) -> tuple[Value, int] | None:
    """The pairs of a join, and which of their columns a value is; `None` for what is no such column."""
    op = value.op
    if op is None or op.definition is not slice or op.operands[0].op is None:
        return None
    index: Any = op.attrs.get("index")
    pairs = op.operands[0]
    if pairs.op is None or pairs.op.definition is not join or pairs.rank != 2:
        return None
    if not isinstance(index, tuple) or len(index) != 2 or index[0] != (None, None, None) or index[1] not in (0, 1):
        return None
    return pairs, index[1]


_HOLDS = {
    filter: "ascending",
    distinct: "ascending",
    iota: "ascending",
    sort: "permutation",
    group: "ordinals",
    match: "ordinals",
    random: "positions",
}
