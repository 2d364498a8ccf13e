"""What the other families cannot say: loops, branches, bodies run as one, calls without a rule, and what a run keeps."""

from __future__ import annotations

from itertools import chain

from traceprop.errors import TypeRuleError
from traceprop.ir.bodies import Turns, number_of_bodies, what_bodies_give, what_bodies_take
from traceprop.ir.body_maps import branch_map, call_map, loop_map
from traceprop.ir.graph import Op
from traceprop.ir.index_map import Read
from traceprop.ir.ops import OpDef, Signature
from traceprop.ir.types import ArrayType, Type

opaque = OpDef(
    "opaque", "A library function without a known rule: every result cell may read every operand cell.", "needed"
)
loop = OpDef(
    "loop",
    "A body that runs again and again: `{length=60}` times, or while its first body, the condition, gives true. Operands are "
    "`{constants=1}`, then `{carries=1}` that each turn hands to the next, then series, of which every turn takes one position "
    "(the last one first with `reverse=True`). Results are the carries and series of what the turns give; the op is "
    "`{result=0}` of them. Its map follows from the body's, turn after turn.",
    "needed",
    bodies=True,
)
branch = OpDef(
    "branch",
    "The body with the number that the first operand holds (the first for one below it, the last for one above; a boolean is 0 "
    "or 1), of the other operands. Where the bodies give several values the op is `{result=0}` of them. Its map holds those of "
    "all bodies.",
    "needed",
    bodies=True,
)
call = OpDef(
    "call",
    "A body that runs as one: what is between its ops need never be whole in memory. Its parameters are the operands; where it "
    "gives several values the op is `{result=0}` of them. Its map is the body's.",
    "never",
    bodies=True,
)
record = OpDef("record", "Keeps a value of this run for lineage questions: `{slot=0}`.", "never", effect=True)


@opaque.types
def _opaque_type(sig: Signature) -> Type:
    if sig.dtype is None:
        raise TypeRuleError("the result's dtype must be given")
    return ArrayType(sig.dtype, tuple(sig.attrs["shape"]))


@loop.types
def _loop_type(sig: Signature) -> Type:
    given, turns = _given("loop", sig), Turns.of(sig.attrs)
    if sig.attrs.get("result", 0) < turns.carries or turns.length is None:
        return given
    if not isinstance(given, ArrayType):
        raise TypeRuleError(f"a turn gives {given}, and a series is an array")
    return ArrayType(given.dtype, (turns.length, *given.dims))


@branch.types
def _branch_type(sig: Signature) -> Type:
    return _given("branch", sig)


@call.types
def _call_type(sig: Signature) -> Type:
    return _given("call", sig)


def _given(name: str, sig: Signature) -> Type:
    """What the body gives that the op is a result of, once everything fits."""
    for problem in chain(
        number_of_bodies(name, sig.attrs, sig.regions),
        what_bodies_take(name, sig.attrs, sig.operands, sig.regions),
        what_bodies_give(name, sig.attrs, sig.operands, sig.regions),
    ):
        raise TypeRuleError(problem)
    number: int = sig.attrs.get("result", 0)
    return sig.regions[-1].returns[number].type


@loop.reads
def _loop_reads(op: Op) -> tuple[Read, ...]:
    return tuple(loop_map(op)(op))


@branch.reads
def _branch_reads(op: Op) -> tuple[Read, ...]:
    return tuple(branch_map(op)(op))


@call.reads
def _call_reads(op: Op) -> tuple[Read, ...]:
    return tuple(call_map(op)(op))


call.exactness = lambda op: call_map(op).exact
loop.exactness = lambda op: loop_map(op).exact
branch.exactness = lambda op: branch_map(op).exact


@record.types
def _record_type(sig: Signature) -> Type:
    return sig.operands[0]


@record.reads
def _record_reads(op: Op) -> tuple[Read, ...]:
    return ()
