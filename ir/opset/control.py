"""What the other families cannot say: calls without a rule, and what a run keeps."""

from __future__ import annotations

from traceprop.errors import TypeRuleError
from traceprop.ir.graph import Op
from traceprop.ir.index_map import Read
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, Type

opaque = OpDef(
    "opaque", "A library function without a known rule: every result cell may read every operand cell.", "needed"
)
record = OpDef("record", "Keeps a value of this run for lineage questions: `{slot=0}`.", "never", effect=True)


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
