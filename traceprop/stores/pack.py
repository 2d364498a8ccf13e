"""A value's lineage as a header and blobs: what a saved run is.

The header is JSON: programs, calls, sources and values refer to one another by number, and to blobs by number too. All that
is large (texts of programs, arrays that they hold, captured positions) is a blob under the hash of its content, so that runs
which share it share its bytes, and each is read alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from traceprop.errors import ParseError, StoreError
from traceprop.ir import Expr, Param, Program, Value, constants_of
from traceprop.ir.expr import symbols_of
from traceprop.lineage import View, provenance
from traceprop.lineage.walk import asked_of
from traceprop.passes.encodings import AbstractPositions
from traceprop.passes.optimize.compress import column_of
from traceprop.passes.optimize.derived import derivation, derives
from traceprop.passes.optimize.instrument import captured_values
from traceprop.runtime.captures import Captures
from traceprop.sources import Source
from traceprop.stores.blobs import TEXT, Blob, array_blob, digest_of, text_blob
from traceprop.stores.header import FORMAT
from traceprop.stores.sources import described
from traceprop.stores.stored import StoredCaptures
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy

_REMEMBERED = 10_000
_read_back: set[str] = set()
"""Digests of texts that were read back in this process: programs of one text are equal."""


class Packed(NamedTuple):
    """A run as it is written: `header` (JSON, UTF-8), and the blobs that it refers to, each once."""

    header: bytes
    blobs: tuple[Blob, ...]

    @property
    def size(self) -> int:
        return len(self.header) + sum(blob.size for blob in self.blobs)


def packed(x: Any) -> Packed:
    """The lineage of a lazy value, a list or a dict of them, or a view. Runs what has not run and is needed for questions."""
    keys = list(x) if isinstance(x, Mapping) else None
    if keys is not None and not all(isinstance(key, str) for key in keys):
        raise StoreError("a dict of results is saved under texts as keys")
    values = (x if isinstance(x, View) else provenance(x)).values
    packer = _Packer()
    for value in values:
        packer.add_behind(value)
    header = {
        "format": FORMAT if any("." in name for call in packer.calls for name in call["captures"]) else 1,
        "values": [packer.reference(value) for value in values],
        "keys": keys,
        "calls": packer.calls,
        "programs": packer.programs,
        "sources": packer.sources,
        "blobs": [[blob.digest, blob.kind, blob.size] for blob in packer.blobs],
    }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    return Packed(text.encode(), tuple(packer.blobs))


class _Packer:
    """Numbers everything behind some values, inputs before what is made of them."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.programs: list[dict[str, Any]] = []
        self.sources: list[dict[str, Any]] = []
        self.blobs: list[Blob] = []
        self._blob_numbers: dict[str, int] = {}
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []  # what is numbered stays alive, or its id could be another's

    def reference(self, given: Source | Lazy) -> dict[str, int]:
        """Where a value is found again."""
        source = given if isinstance(given, Source) else given.source
        if source is not None:
            return {"source": self._numbers[id(source)]}
        call = given.call()
        return {"call": self._numbers[id(call)], "value": call.program.values.index(given.value)}

    def add_behind(self, value: Source | Lazy) -> None:
        """Adds everything that a value goes back to; without recursion, since chains can be long."""
        stack: list[tuple[Source | Call, bool]] = [(_origin(value), False)]
        while stack:
            item, ready = stack.pop()
            if id(item) in self._numbers:
                continue
            if ready:
                self._add(item)
            else:
                stack.append((item, True))
                stack.extend((origin, False) for origin in reversed(list(_behind(item))))

    def _add(self, item: Source | Call) -> None:
        entries, entry = (
            (self.sources, self._source(item)) if isinstance(item, Source) else (self.calls, self._call(item))
        )
        self._numbers[id(item)] = len(entries)
        self._held.append(item)
        entries.append(entry)

    def _source(self, source: Source) -> dict[str, Any]:
        entry = described(source, self.blob)
        if source.lineage is not None:
            entry["lineage"] = self.reference(source.lineage.value)
        return entry

    def _call(self, call: Call) -> dict[str, Any]:
        _settle(call)
        names = {value: str(n) for n, value in enumerate(call.program.values)}
        chains = asked_of(call).chains
        return {
            "program": self._program(call.program),
            "inputs": [self.reference(given) for given in call.inputs],
            "sizes": {name: int(size) for name, size in call.sizes().items()},
            "options": {key: call.options.get(key) for key in ("granularity", "world") if key in call.options},
            "captures": {
                ".".join(names[part] for part in chains.get(value, (value,))): self.blob(blob)
                for value, blob in _captures(call)
            },
        }

    def _program(self, program: Program) -> int:
        if id(program) not in self._numbers:
            constants = constants_of(program)
            text = _text_that_reads_back(program, constants)
            self._numbers[id(program)] = len(self.programs)
            self._held.append(program)
            self.programs.append(
                {
                    "text": self.blob(text_blob(text)),
                    "constants": {digest: self.blob(array_blob(array)) for digest, array in constants.items()},
                    "paths": _paths(program),
                    "nameless": _nameless(program),
                }
            )
        return self._numbers[id(program)]

    def blob(self, blob: Blob) -> int:
        """The number of a blob, which is added if it is new."""
        if blob.digest not in self._blob_numbers:
            self._blob_numbers[blob.digest] = len(self.blobs)
            self.blobs.append(blob)
        return self._blob_numbers[blob.digest]


def _origin(given: Source | Lazy) -> Source | Call:
    source = given if isinstance(given, Source) else given.source
    return given.call() if source is None else source  # type: ignore[union-attr]


def _behind(item: Source | Call) -> Iterator[Source | Call]:
    if isinstance(item, Source):
        if item.lineage is not None:
            yield _origin(item.lineage.value)
    else:
        yield from map(_origin, item.inputs)


def _settle(call: Call) -> None:
    """Runs a call whose lineage hangs on what the data decides: positions, or sizes."""
    values: Sequence[Value] = call.program.values
    symbols = {name for value in values for dim in value.type.dims if isinstance(dim, Expr) for name in symbols_of(dim)}
    if captured_values(call.program) or not symbols <= call.sizes().keys():
        call.outcome()


def _captures(call: Call) -> Iterator[tuple[Value, Blob]]:
    """The positions that questions about a call need: those that it kept, and inputs that positions are looked up in."""
    kept = call.outcome().captures if call.done else {}
    for value in kept:
        column = column_of(value)
        if column is None or column[0] not in kept:  # a column of kept pairs is found in them
            yield value, _capture(kept, value)
    for param in _looked_up_params(call, set(kept)):
        given = call.inputs[call.program.params.index(param)]
        yield param, array_blob(np.asarray(given.value() if isinstance(given, Source) else given.concrete()))


def _capture(kept: Mapping[Value, Any], value: Value) -> Blob:
    if isinstance(kept, StoredCaptures):
        return kept.saved(value)
    found = kept.positions(value) if isinstance(kept, Captures) else kept[value]
    return array_blob(found if isinstance(found, AbstractPositions) else np.asarray(found))


def _looked_up_params(call: Call, kept: set[Value]) -> list[Param]:
    """The parameters that were not kept and that index maps look positions up in, themselves or moved."""
    found: dict[Param, None] = {}
    for value in (*captured_values(call.program), *asked_of(call).chains):
        leaves = [value] if isinstance(value, Param) else []
        if not leaves and value not in kept and derives(value, kept):
            leaves = list(derivation(value, kept)[0])
        found.update((leaf, None) for leaf in leaves if isinstance(leaf, Param) and leaf not in kept)
    return list(found)


def _text_that_reads_back(program: Program, constants: Mapping[str, np.ndarray]) -> str:
    """The text of a program. Raises `StoreError` where it is not read back to an equal one: a saved run can be asked."""
    text = str(program)
    known = digest_of(TEXT, text.encode())
    if known not in _read_back:
        from traceprop.ir import parse

        try:
            same = parse(text, constants) == program
        except ParseError as error:
            raise StoreError(
                f"the program of {program.name!r} cannot be saved, its text is not read back: {error}"
            ) from error
        if not same:
            raise StoreError(
                f"the program of {program.name!r} cannot be saved, its text is read back as another program"
            )
        if len(_read_back) >= _REMEMBERED:
            _read_back.clear()
        _read_back.add(known)
    return text


def _paths(program: Program) -> dict[str, str]:
    """Where the files of the program's locations were found; the text has their names alone."""
    found: dict[str, set[str]] = {}
    for op in program.ops:
        if op.location is not None and op.location.path:
            found.setdefault(op.location.file, set()).add(op.location.path)
    return {file: paths.pop() for file, paths in found.items() if len(paths) == 1}


def _nameless(program: Program) -> list[str]:
    """The functions in a program that have no name to find them again by: lambdas, and functions inside functions."""
    named = (f"{op.payload} at {op.location or 'an unknown line'}" for op in program.ops if "<" in (op.payload or ""))
    return list(dict.fromkeys(named))
