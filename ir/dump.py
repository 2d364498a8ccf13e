"""A program as text: one op a line, its index map behind it. `parse` reads the text back to an equal program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from traceprop.ir.expr import Expr
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.index_map import AXIS_NAMES, AxisRead, Kind, Look, Read
from traceprop.ir.location import Location

Names = Mapping[Value, str]


def dump(program: Program, maps: bool = True, locations: bool = True) -> str:
    """The text of a program. Without `maps` and `locations` it is what golden tests of passes compare."""
    names = value_names(program)
    params = ", ".join(_param_text(param) for param in program.params)
    types = [str(value.type) for value in program.returns]
    result = types[0] if len(types) == 1 else f"({', '.join(types)})"
    left = [_op_text(op, names, locations) for op in program.ops]
    right = [_maps_text(op, names) if maps else "" for op in program.ops]
    width = min(max((len(text) for text, lineage in zip(left, right, strict=True) if lineage), default=0), 100)
    lines = [f"  {text:<{width}}  # {m}" if m else f"  {text}" for text, m in zip(left, right, strict=True)]
    returned = ", ".join(names[value] for value in program.returns)
    return "\n".join([f"func @{program.name}({params}) -> {result} {{", *lines, f"  return {returned}".rstrip(), "}"])


def value_names(program: Program) -> dict[Value, str]:
    """`%name` for parameters, `%0`, `%1`, … for results, in the order in which they are defined."""
    names: dict[Value, str] = {param: f"%{param.name}" for param in program.params}
    number = 0
    for op in program.ops:
        if not op.definition.effect:
            names[op.result] = f"%{number}"
            number += 1
    return names


def _param_text(param: Param) -> str:
    origin = f" from {quote(param.source)}" if param.source is not None else ""
    return f"%{param.name}: {param.type}{origin}{' fitted' if param.fitted else ''}"


def _op_text(op: Op, names: Names, locations: bool) -> str:
    attrs = dict(op.attrs)
    payload = op.payload
    if isinstance(attrs.get("value"), np.ndarray):
        payload = constant_digest(attrs.pop("value"))
    text = "" if op.definition.effect else f"{names[op.result]}: {op.result.type} = "
    text += op.definition.name + (f"[{payload}]" if payload else "")
    text += f"({', '.join(names[value] for value in op.operands)})" if op.operands else ""
    if attrs:
        text += " {" + ", ".join(f"{key}={attr_text(value)}" for key, value in attrs.items()) + "}"
    if locations and op.location:
        text += f" {_location_text(op.location)}"
    return text


def _location_text(location: Location) -> str:
    function = f" in {quote(location.function)}" if location.function else ""
    return f"loc({quote(location.file)}:{location.line}{function})"


def quote(text: str) -> str:
    """A string literal of the IR: JSON's."""
    return json.dumps(text)


def constant_digest(value: np.ndarray) -> str:
    """The name of an array in a program's side table: a hash of its dtype, shape and content."""
    content = repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
    head = f"{value.dtype.str}{value.shape}".encode()
    return f"sha256:{hashlib.sha256(head + content).hexdigest()[:16]}"


def attr_text(value: Any) -> str:
    """An attribute value: a number, string, bool, `None`, expression over sizes, or a tuple of them."""
    match value:
        case bool() | None | int() | Expr():
            return str(value)
        case float():
            return repr(value)
        case complex():
            return f"complex({value.real!r}, {value.imag!r})"
        case str():
            return quote(value)
        case tuple() | list():
            inner = ", ".join(map(attr_text, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise TypeError(f"{type(value).__name__} cannot be an attribute of an op")


def _maps_text(op: Op, names: Names) -> str:
    if op.definition.effect or not op.operands:
        return ""
    pieces: dict[tuple[object, ...], list[Read]] = {}
    for read in op.reads:
        pieces.setdefault(read.where, []).append(read)
    return " | ".join(_piece_text(op, reads, names) for reads in pieces.values())


def _piece_text(op: Op, reads: list[Read], names: Names) -> str:
    bounds = {bound.axis: str(bound) for bound in reads[0].where}
    head = ", ".join(bounds.get(k, AXIS_NAMES[k]) for k in range(op.result.rank))
    return f"({head}) <- {', '.join(_read_text(read, names) for read in reads)}"


def _read_text(read: Read, names: Names) -> str:
    kind = "" if read.kind is Kind.DATA else f"{read.kind.value} "
    return f"{kind}{names[read.operand]}[{', '.join(_axis_text(place, names) for place in read.axes)}]"


def _axis_text(place: AxisRead, names: Names) -> str:
    if isinstance(place, Look):
        return f"{names[place.index]}[{', '.join(map(str, place.at))}]"
    return str(place)
