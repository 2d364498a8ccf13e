"""What the other families cannot say: loops, branches, calls without a rule, and what a run keeps."""

from __future__ import annotations

from traceprop.errors import TypeRuleError
from traceprop.ir.graph import Op
from traceprop.ir.index_map import Read
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, Type

opaque = OpDef(
    "opaque", "A library function without a known rule: every result cell may read every operand cell.", "needed"
)
loop = OpDef(
    "loop",
    "A body that runs again and again, too often to write out: its map holds every cell that the body, fed by its own results,"
    " can pass on.",
    "needed",
)
branch = OpDef(
    "branch", "One of several bodies, as the first operand decides; its map holds the cells of all of them.", "needed"
)
record = OpDef("record", "Keeps a value of this run for lineage questions: `{slot=0}`.", "never", effect=True)


@loop.types
@branch.types
@opaque.types
def _opaque_type(sig: Signature) -> Type:
    if sig.dtype is None:
        raise TypeRuleError("the result's dtype must be given")
    return ArrayType(sig.dtype, tuple(sig.attrs["shape"]))


@record.types
def _record_type(sig: Signature) -> Type:
    return sig.operands[0]


@record.reads
def _record_reads(op: Op) -> tuple[Read, ...]:
    return ()
