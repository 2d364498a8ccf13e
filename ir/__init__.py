"""The typed IR: types, index maps, ops, programs, and their text."""

from typing import TYPE_CHECKING, Any

from traceprop.ir.dump import constants_of, dump
from traceprop.ir.expr import Dim, Expr, symbol
from traceprop.ir.given_map import GivenLook, GivenMap, GivenMembers, GivenRead
from traceprop.ir.graph import Op, Param, Program, Value, ops_behind
from traceprop.ir.index_map import Bound, Full, Kind, Look, Members, Read, Span
from traceprop.ir.location import Location
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import OPSET
from traceprop.ir.types import ArrayType, Field, TableType, Type
from traceprop.ir.verify import verify

if TYPE_CHECKING:
    from traceprop.ir.parser import parse

__all__ = [
    "OPSET",
    "ArrayType",
    "Bound",
    "Dim",
    "Expr",
    "Field",
    "Full",
    "GivenLook",
    "GivenMap",
    "GivenMembers",
    "GivenRead",
    "Kind",
    "Location",
    "Look",
    "Members",
    "Op",
    "OpDef",
    "Param",
    "Program",
    "Read",
    "Span",
    "TableType",
    "Type",
    "Value",
    "constants_of",
    "dump",
    "ops_behind",
    "parse",
    "symbol",
    "verify",
]


def __getattr__(name: str) -> Any:
    """`parse` comes with lark, which only those who parse should load."""
    if name == "parse":
        from traceprop.ir.parser import parse

        return parse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
