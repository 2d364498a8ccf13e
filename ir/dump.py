"""A program as text: one op a line, its index map behind it. `parse` reads the text back to an equal program."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from traceprop.ir.expr import Expr
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.index_map import AXIS_NAMES, AxisRead, Bound, Kind, Look, Members, Read
from traceprop.ir.location import Location
from traceprop.ir.signature import signature
from traceprop.ir.types import Type
from traceprop.ir.words import quote, word

Names = Mapping[Value, str]
_PLAIN_PAYLOAD = re.compile(r"[\w.:+-]+", re.ASCII)


def dump(program: Program, maps: bool = True, locations: bool = True) -> str:
    """The text of a program. Without `maps` and `locations` it is what golden tests of passes compare."""
    names = value_names(program)
    params = ", ".join(_param_text(param) for param in program.params)
    types = [str(value.type) for value in program.returns]
    result = types[0] if len(types) == 1 else f"({', '.join(types)})"
    alike = bodies_alike(program)
    left = [op_text(op, names, locations, alike.get(op)) for op in program.ops]
    written = MapTexts()
    right = [written(op, names) if maps else "" for op in program.ops]
    width = min(max((len(text) for text, lineage in zip(left, right, strict=True) if lineage), default=0), 100)
    lines = []
    for op, text, lineage in zip(program.ops, left, right, strict=True):
        lines.append(f"  {text:<{width}}  # {lineage}" if lineage else f"  {text}")
        for region in op.regions if op not in alike else ():
            text = str(region) if maps and locations else dump(region, maps, locations)
            lines += [f"    {line}" for line in text.split("\n")]
    returned = ", ".join(names[value] for value in program.returns)
    return "\n".join(
        [f"func @{word(program.name)}({params}) -> {result} {{", *lines, f"  return {returned}".rstrip(), "}"]
    )


def value_names(program: Program) -> dict[Value, str]:
    """`%name` for parameters, `%0`, `%1`, … for results, in the order in which they are defined."""
    names: dict[Value, str] = {param: f"%{word(param.name)}" for param in program.params}
    number = 0
    for op in program.ops:
        if not op.definition.effect:
            names[op.result] = f"%{number}"
            number += 1
    return names


def bodies_alike(program: Program) -> dict[Op, Value]:
    """For every op whose bodies are those of an earlier one, that one's result: they print once."""
    first: dict[tuple[Program, ...], Value] = {}
    return {
        op: value
        for op in program.ops
        if op.regions and (value := first.setdefault(op.regions, op.result)) is not op.result
    }


def _param_text(param: Param) -> str:
    origin = f" from {quote(param.source)}" if param.source is not None else ""
    return f"%{word(param.name)}: {param.type}{origin}{' fitted' if param.fitted else ''}"


def op_text(op: Op, names: Names, locations: bool, alike: Value | None = None) -> str:
    """An op's line without its map; `alike`: the value whose op has the same bodies, printed there."""
    attrs = dict(op.attrs)
    payload = op.payload
    if op.definition.name == "constant" and isinstance(attrs.get("value"), np.ndarray):
        payload = constant_digest(attrs.pop("value"))
    text = "" if op.definition.effect else f"{names[op.result]}: {type_text(op.result.type)} = "
    text += op.definition.name
    if payload:
        text += f"[{_payload_text(payload)}]"
    text += f"({', '.join(names[value] for value in op.operands)})" if op.operands else ""
    if attrs:
        text += " {" + ", ".join(f"{key}={attr_text(value)}" for key, value in attrs.items()) + "}"
    if alike is not None:
        text += f" as {names[alike]}"
    if locations and op.location:
        text += f" {_location_text(op.location)}"
    return text


@lru_cache(maxsize=4096)
def type_text(type: Type) -> str:
    return str(type)


@lru_cache(maxsize=4096)
def _payload_text(payload: str) -> str:
    return payload if _PLAIN_PAYLOAD.fullmatch(payload) else quote(payload)


@lru_cache(maxsize=4096)
def _location_text(location: Location) -> str:
    function = f" in {quote(location.function)}" if location.function else ""
    return f"loc({quote(location.file)}:{location.line}{function})"


def constant_digest(value: np.ndarray) -> str:
    """The name of an array in a program's side table: a hash of its dtype, shape and content."""
    content = repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
    head = f"{value.dtype.str}{value.shape}".encode()
    return f"sha256:{hashlib.sha256(head + content).hexdigest()[:16]}"


def constants_of(program: Program) -> dict[str, np.ndarray]:
    """The arrays that a program holds, by the names under which its text mentions them: what `parse` needs beside it."""
    values = (op.attrs.get("value") for op in program.walk() if op.definition.name == "constant")
    return {constant_digest(value): value for value in values if isinstance(value, np.ndarray)}


def attr_text(value: Any) -> str:
    """An attribute value: a number, string, bool, `None`, expression over sizes, or a tuple of them."""
    match value:
        case bool() | None | int() | Expr():
            return str(value)
        case float():
            return float.__repr__(value)  # a NumPy float64 is a float that prints otherwise
        case complex():
            return f"complex({float(value.real)!r}, {float(value.imag)!r})"
        case str():
            return quote(value)
        case tuple() | list():
            inner = ", ".join(map(attr_text, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise TypeError(f"{type(value).__name__} cannot be an attribute of an op")


def map_text(op: Op, names: Names) -> str:
    """The op's index map, a piece for every part of the result; `inexact` where no rule stands behind it."""
    if op.definition.effect or not op.operands:
        return ""
    text = reads_text(op.reads, op.result.rank, names)
    return text if op.exact else f"inexact {text}"


class MapTexts:
    """Index maps as texts: ops of one signature have one text, but for the names in it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, str] = {}

    def __call__(self, op: Op, names: Names) -> str:
        """What `map_text` gives."""
        key = signature(op)
        if key is None:
            return map_text(op, names)
        text = self._known.get(key)
        if text is None:
            gaps = {value: f"{{{k}}}" for k, value in reversed(list(enumerate((*op.operands, op.result))))}
            text = self._known[key] = map_text(op, gaps)
        return text.format(*[names[value] for value in op.operands], names.get(op.result))


def reads_text(reads: Sequence[Read], rank: int, names: Names) -> str:
    """An index map of a result with `rank` axes: `(i<N, j) <- %a[i, j] | (i>=N, j) <- %b[i-N, j]`."""
    pieces: dict[tuple[Bound, ...], list[Read]] = {} if reads else {(): []}
    for read in reads:
        pieces.setdefault(read.where, []).append(read)
    return " | ".join(_piece_text(where, piece, rank, names) for where, piece in pieces.items())


def _piece_text(where: tuple[Bound, ...], reads: list[Read], rank: int, names: Names) -> str:
    bounds = {bound.axis: str(bound) for bound in where}
    head = ", ".join(bounds.get(k, AXIS_NAMES[k]) for k in range(rank))
    return f"({head}) <- {', '.join(_read_text(read, names) for read in reads) or 'nothing'}"


def _read_text(read: Read, names: Names) -> str:
    kind = "" if read.kind is Kind.DATA else f"{read.kind.value} "
    return f"{kind}{names[read.operand]}[{', '.join(_axis_text(place, names) for place in read.axes)}]"


def _axis_text(place: AxisRead, names: Names) -> str:
    if isinstance(place, Look):
        return f"{names[place.index]}[{', '.join(map(str, place.at))}]"
    if isinstance(place, Members):
        return f"{names[place.index]}=={place.at}"
    return str(place)
