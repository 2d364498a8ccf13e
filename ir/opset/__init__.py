"""The structural ops, by family."""

from traceprop.ir.ops import OpDef
from traceprop.ir.opset.control import branch, call, loop, opaque, record
from traceprop.ir.opset.elementwise import constant, elementwise, iota
from traceprop.ir.opset.group import distinct, group, match, segment
from traceprop.ir.opset.join import join, pad
from traceprop.ir.opset.linalg import contract
from traceprop.ir.opset.random import random
from traceprop.ir.opset.reduce import reduce, scan
from traceprop.ir.opset.rows import concat, filter, gather, sort
from traceprop.ir.opset.shape import broadcast, reshape, slice, transpose

OPSET: dict[str, OpDef] = {
    op.name: op
    for op in (
        constant, iota, elementwise,
        broadcast, reshape, transpose, slice,
        gather, filter, concat, sort, distinct, join, pad, random,
        group, segment, match,
        reduce, scan, contract,
        loop, branch, call, opaque, record,
    )
}  # fmt: skip

__all__ = [
    "OPSET",
    "branch",
    "broadcast",
    "call",
    "concat",
    "constant",
    "contract",
    "distinct",
    "elementwise",
    "filter",
    "gather",
    "group",
    "iota",
    "join",
    "loop",
    "match",
    "opaque",
    "pad",
    "random",
    "record",
    "reduce",
    "reshape",
    "scan",
    "segment",
    "slice",
    "sort",
    "transpose",
]
