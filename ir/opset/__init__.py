"""The structural ops, by family."""

from traceprop.ir.ops import OpDef
from traceprop.ir.opset.control import branch, loop, opaque, record
from traceprop.ir.opset.elementwise import constant, elementwise, iota
from traceprop.ir.opset.linalg import contract
from traceprop.ir.opset.reduce import reduce, scan
from traceprop.ir.opset.rows import concat, filter, gather, sort
from traceprop.ir.opset.shape import broadcast, reshape, slice, transpose

OPSET: dict[str, OpDef] = {
    op.name: op
    for op in (
        constant, iota, elementwise,
        broadcast, reshape, transpose, slice,
        gather, filter, concat, sort,
        reduce, scan, contract,
        loop, branch, opaque, record,
    )
}  # fmt: skip

__all__ = [
    "OPSET",
    "branch",
    "broadcast",
    "concat",
    "constant",
    "contract",
    "elementwise",
    "filter",
    "gather",
    "iota",
    "loop",
    "opaque",
    "record",
    "reduce",
    "reshape",
    "scan",
    "slice",
    "sort",
    "transpose",
]
