"""Encoded positions as bytes, and back."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.errors import CorruptError, NewerVersionError
from traceprop.passes.encodings.bitmap import Bitmap
from traceprop.passes.encodings.blocks import Blocks, Repeated
from traceprop.passes.encodings.chained import Chained
from traceprop.passes.encodings.columns import Columns
from traceprop.passes.encodings.complement import Complement
from traceprop.passes.encodings.dictionary import Dictionary
from traceprop.passes.encodings.digits import Digits
from traceprop.passes.encodings.elias_fano import EliasFano
from traceprop.passes.encodings.frames import Frames
from traceprop.passes.encodings.keyed import Quotients, Remainders
from traceprop.passes.encodings.packed import Packed
from traceprop.passes.encodings.plain import Plain
from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.encodings.rice import Rice
from traceprop.passes.encodings.strided import Strided

VERSION = 1
_MAGIC = b"TPos"
_FRAME = struct.Struct(
    "<4sHHQII"
)  # magic, version, reserved, bytes of the body, checksums of the body and of this head
_CODES: dict[int, type[AbstractPositions]] = {
    1: Plain,
    2: Strided,
    3: Bitmap,
    4: EliasFano,
    5: Rice,
    6: Complement,
    7: Packed,
    8: Columns,
    9: Frames,
    10: Dictionary,
    11: Digits,
    12: Blocks,
    13: Repeated,
    14: Quotients,
    15: Remainders,
    16: Chained,
}
_DTYPES = dict(enumerate("u1 u2 u4 u8 i1 i2 i4 i8".split()))
_NESTED = 255
_DEEP = 6


def to_bytes(positions: AbstractPositions) -> bytes:
    """The positions as bytes: magic, version, length, checksum (CRC-32), then the encoding with its arrays at multiples of 8."""
    body = _body(positions)
    head = _FRAME.pack(_MAGIC, VERSION, 0, len(body), zlib.crc32(body), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head)) + body


def from_bytes(blob: bytes | bytearray | memoryview) -> AbstractPositions:
    """The positions behind `to_bytes`; their arrays are views of `blob`, not copies.

    Raises
    ------
    CorruptError
        The blob is truncated, was changed, or is none of ours.
    NewerVersionError
        A newer traceprop wrote it.
    """
    view = memoryview(blob).cast("B")
    if len(view) < _FRAME.size or bytes(view[:4]) != _MAGIC:
        raise CorruptError(f"not a blob of positions: {len(view)} bytes that do not begin with {_MAGIC!r}")
    _, version, _, length, checksum, own = _FRAME.unpack_from(view)
    if zlib.crc32(view[: _FRAME.size - 4]) != own:
        raise CorruptError("a blob of positions was changed: the checksum of its head does not fit")
    if version > VERSION:
        raise NewerVersionError(
            f"a blob of positions has version {version}; this traceprop reads up to {VERSION}: upgrade it to open the blob"
        )
    body = view[_FRAME.size :]
    if len(body) != length:
        raise CorruptError(f"a blob of positions is truncated: {len(body)} bytes of {length}")
    if zlib.crc32(body) != checksum:
        raise CorruptError("a blob of positions was changed: its checksum does not fit")
    try:
        positions, end = _restored(body, 0, _DEEP)
    except (ValueError, struct.error, KeyError, OverflowError, TypeError) as error:
        raise CorruptError(f"a blob of positions makes no sense: {error}") from error
    if end != length:
        raise CorruptError(f"a blob of positions has {length - end} bytes too many")
    return positions


_CODE_OF = {kind: code for code, kind in _CODES.items()}
_DTYPE_OF = {np.dtype(name): code for code, name in _DTYPES.items()}
_HEAD = struct.Struct("<BBBBIqq")  # encoding, dtype, axes, parts, whole numbers, smallest and largest number
_PART = struct.Struct("<B7xQ")  # dtype of an array, or that it is positions; its bytes


def _body(positions: AbstractPositions) -> bytes:
    numbers, parts = positions.state()
    facts = positions.facts
    dtype = _DTYPE_OF[np.dtype(facts.dtype).newbyteorder("=")]
    code = _CODE_OF[type(positions)]
    pieces = [
        _HEAD.pack(code, dtype, len(facts.shape), len(parts), len(numbers), facts.low, facts.high),
        struct.pack(f"<{len(facts.shape) + len(numbers)}q", *facts.shape, *numbers),
    ]
    for part in parts:
        if isinstance(part, AbstractPositions):
            inner = _body(part)
            pieces += [_PART.pack(_NESTED, len(inner)), inner]
        else:
            raw = np.ascontiguousarray(part).astype(part.dtype.newbyteorder("<"), copy=False).tobytes()
            pieces += [_PART.pack(_DTYPE_OF[part.dtype.newbyteorder("=")], len(raw)), raw, bytes(-len(raw) % 8)]
    return b"".join(pieces)


def _restored(body: memoryview, at: int, deep: int) -> tuple[AbstractPositions, int]:
    if not deep:
        raise ValueError("positions within positions within positions")
    code, dtype, axes, count, whole, low, high = _HEAD.unpack_from(body, at)
    at += _HEAD.size
    if low > high or whole > 16:
        raise ValueError("the head of an encoding is none")
    sizes = struct.unpack_from(f"<{axes + whole}q", body, at)
    at += 8 * (axes + whole)
    shape, numbers = sizes[:axes], sizes[axes:]
    if any(size < 0 for size in shape):
        raise ValueError(f"{shape} is no shape")
    facts = Facts(tuple(shape), np.dtype(_DTYPES[dtype]), low, high)
    if facts.length >= 1 << 62:
        raise ValueError(f"{shape} is too large")
    parts: list[Any] = []
    for _ in range(count):
        kind, size = _PART.unpack_from(body, at)
        at += _PART.size
        if size > len(body) - at:
            raise ValueError("a part is longer than the blob")
        if kind == _NESTED:
            inner, end = _restored(body[: at + size], at, deep - 1)
            if end != at + size:
                raise ValueError("a part is longer than what it holds")
            parts.append(inner)
            at = end
        else:
            parts.append(_array(body[at : at + size], kind))
            at += size + -size % 8
    return _CODES[code].restored(facts, numbers, parts), at


def _array(raw: memoryview, kind: int) -> NDArray[Any]:
    dtype = np.dtype(_DTYPES[kind])
    array = np.frombuffer(raw, dtype=dtype.newbyteorder("<"))
    return array.astype(dtype, copy=False)
