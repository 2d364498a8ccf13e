"""The typed IR: types, index maps, ops, programs, and their text."""

from traceprop.ir.dump import dump
from traceprop.ir.expr import Dim, Expr, symbol
from traceprop.ir.graph import Op, Param, Program, Value, ops_behind
from traceprop.ir.index_map import Bound, Full, Kind, Look, Read, Span
from traceprop.ir.location import Location
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import OPSET
from traceprop.ir.types import ArrayType, Field, TableType, Type

__all__ = [
    "OPSET",
    "ArrayType",
    "Bound",
    "Dim",
    "Expr",
    "Field",
    "Full",
    "Kind",
    "Location",
    "Look",
    "Op",
    "OpDef",
    "Param",
    "Program",
    "Read",
    "Span",
    "TableType",
    "Type",
    "Value",
    "dump",
    "ops_behind",
    "symbol",
]
