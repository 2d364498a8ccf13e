"""A saved run as a view: the header is read at once, everything else when a question needs it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from traceprop.errors import CorruptError, LineageError, ParseError, TracepropError
from traceprop.ir import Param, Program, Value
from traceprop.ir.expr import evaluate
from traceprop.ir.location import user_location, warn_at
from traceprop.lineage import View
from traceprop.lineage.chain import shape_of
from traceprop.passes.encodings import AbstractPositions
from traceprop.passes.optimize.asked import asked
from traceprop.runtime.executor import LOCAL
from traceprop.sources import Source
from traceprop.stores.blobs import Blob, opened
from traceprop.stores.header import read_header
from traceprop.stores.run import Run
from traceprop.stores.sources import PARTS, StoredSource
from traceprop.stores.stored import StoredCall, StoredCaptures, StoredResults
from traceprop.tracing.array import LazyArray  # with Table: the classes that lazy values have
from traceprop.tracing.lazy import Lazy, parameter_name
from traceprop.tracing.table import Table

_CLASSES = (LazyArray, Table)
_PARSED = 64
Fetch = Callable[[str], bytes | None]


class StoredView(View):
    """The lineage of a saved run: every question of `tp.provenance`, asked without its data files and its process.

    `run` is what the store lists of it. Of several results saved together, `view["name"]` or `view[0]` is the one alone.
    """

    def __init__(self, run: Run, shelf: Shelf) -> None:
        self.run = run
        self._shelf = shelf

    @functools.cached_property
    def _values(self) -> list[Lazy]:  # type: ignore[override]
        return self._shelf.values()

    def __getitem__(self, key: str | int) -> View:
        """The view of one of several results: by its key in a dict, by its number in a list."""
        keys = self._shelf.keys
        if isinstance(key, str):
            if keys is None or key not in keys:
                there = f"it has {', '.join(map(repr, keys))}" if keys else "its results have numbers, not names"
                raise LineageError(f"the run {self.run.name!r} has no result {key!r}: {there}")
            key = keys.index(key)
        if not -len(self._values) <= key < len(self._values):
            raise LineageError(
                f"the run {self.run.name!r} has {len(self._values)} results, and none has the number {key}"
            )
        return View([self._values[key]])

    def __repr__(self) -> str:
        return f"<lineage of {_named(self.run)}>"


def unpacked(run: Run, header: bytes, fetch: Fetch, place: str) -> StoredView:
    """The view of a saved run; `fetch` brings a blob by its digest. Warns where its program cannot be run again."""
    shelf = Shelf(read_header(header, f"the header of {_named(run)} in {place}"), fetch, _named(run), place)
    for name in shelf.nameless():
        warn_at(
            user_location(),
            f"{_named(run)} was computed with {name}, a function without a name to find it again by: its lineage is here, but "
            "the program cannot be run again from its text",
        )
    return StoredView(run, shelf)


def _named(run: Run) -> str:
    name = run.name if len(run.name) <= 100 else f"{run.name[:100]}…"
    return f"the run {name!r} ({run.id})"


class Shelf:
    """What stands behind a header: every program, call and source is made once, every blob read when it is needed."""

    def __init__(self, header: Mapping[str, Any], fetch: Fetch, run: str, place: str) -> None:
        self.header = header
        self.keys: list[str] | None = header.get("keys")
        self._fetch = fetch
        self._run = run
        self._place = place
        self._programs: dict[int, Program] = {}
        self._sources: dict[int, Source] = {}
        self._calls: list[StoredCall] = []
        self._lazies: dict[tuple[Any, ...], Lazy] = {}

    def nameless(self) -> list[str]:
        """The functions that the programs name and that have no name."""
        return [name for program in self.header.get("programs", ()) for name in program.get("nameless", ())]

    def values(self) -> list[Lazy]:
        """The saved values."""
        return self._sound(lambda: [self._value(reference) for reference in self.header["values"]])

    def problems(self, seen: set[str]) -> Iterator[str]:
        """What is wrong with what the header refers to, every blob read and every program parsed; blobs in `seen` are known."""
        sound = True
        for number, (digest, kind, _) in enumerate(self.header["blobs"]):
            if digest not in seen:
                try:
                    opened(kind, digest, self._fetch(digest), f"{self._what(number)} of {self._run} in {self._place}")
                except TracepropError as error:
                    sound = False
                    yield str(error)
                else:
                    seen.add(digest)
        if sound:
            try:
                self._sound(self._make_everything)
            except TracepropError as error:
                yield str(error)

    def _make_everything(self) -> None:
        for k in range(len(self.header["sources"])):
            self._source(k).type(0)
        for k in range(len(self.header["calls"])):
            self._call(k)
        for reference in self.header["values"]:
            self._value(reference)

    def _what(self, number: int) -> str:
        """What a blob is, in words."""
        for program in self.header["programs"]:
            if program["text"] == number:
                return "the text of a program"
            if number in program["constants"].values():
                return "an array that a program holds"
        for call in self.header["calls"]:
            for n, held in call["captures"].items():
                if held == number:
                    try:
                        program = self._program(call["program"])
                        return _captured(program, program.values[int(n.split(".")[-1])])
                    except TracepropError:  # its text is damaged too
                        return f"the captured positions of value {n} of a program"
        for source in self.header["sources"]:
            for part in PARTS:
                if source.get(part) == number:
                    return _part_of(part, source["id"])
        return "bytes"

    def _sound(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, TracepropError):
                raise
            raise CorruptError(f"the header of {self._run} in {self._place} makes no sense: {error!r}") from error

    # -- values -------------------------------------------------------------------------------------------------------

    def _value(self, reference: Mapping[str, int]) -> Lazy:
        place = tuple(sorted(reference.items()))
        if place not in self._lazies:
            self._lazies[place] = self._lazy(reference)
        return self._lazies[place]

    def _lazy(self, reference: Mapping[str, int]) -> Lazy:
        if "source" in reference:
            source = self._source(reference["source"])
            param = Param(parameter_name(source.id), source.type(source.n_rows), source.id)
            return Lazy.of(param, inputs={param: source}, executor=LOCAL)  # type: ignore[no-any-return]
        call = self._call(reference["call"])
        return Lazy.of(call.program.values[reference["value"]], call=call)  # type: ignore[no-any-return]

    def _source(self, k: int) -> Source:
        if k not in self._sources:
            entry = self.header["sources"][k]

            def saved(part: str) -> Blob:
                return self._blob(entry[part])

            def load(part: str) -> Any:
                return self._open(saved(part), _part_of(part, entry["id"]))

            def lineage() -> View:
                return self._sound(lambda: View([self._value(entry["lineage"])]))

            self._sources[k] = StoredSource(entry, load, saved, lineage, self._run)
        return self._sources[k]

    # -- calls --------------------------------------------------------------------------------------------------------

    def _call(self, k: int) -> StoredCall:
        """A call; those before it are made first, one after another, since a chain of them can be long."""
        while len(self._calls) <= k:
            self._calls.append(self._made(self.header["calls"][len(self._calls)]))
        return self._calls[k]

    def _made(self, entry: Mapping[str, Any]) -> StoredCall:
        program = self._program(entry["program"])
        values = program.values
        inputs = [
            self._source(reference["source"]) if "source" in reference else self._value(reference)
            for reference in entry["inputs"]
        ]
        self._check_sizes(program, inputs, entry["sizes"])
        composed = {chain: value for value, chain in asked(program, entry["options"].get("granularity")).chains.items()}
        saved = {}
        for name, number in entry["captures"].items():
            chain = tuple(values[int(n)] for n in name.split("."))
            saved[chain[0] if len(chain) == 1 else composed[chain]] = self._blob(number)
        captures = StoredCaptures(saved, functools.partial(self._positions, program, entry["sizes"]))
        results = StoredResults(len(program.returns), self._run)
        return StoredCall(program, inputs, entry["options"], entry["sizes"], captures, results)

    def _check_sizes(self, program: Program, inputs: Sequence[Any], sizes: Mapping[str, int]) -> None:
        """Raises `CorruptError` where sizes are not those of the inputs."""
        for param, given in zip(program.params, inputs, strict=True):
            shape = shape_of(given) if isinstance(given, Source) else given.concrete_shape()
            if shape != _concrete(param, sizes):
                raise CorruptError(f"{self._run} in {self._place} is of inputs of other sizes than it says")

    def _positions(self, program: Program, sizes: Mapping[str, int], blob: Blob, value: Value) -> AbstractPositions:
        what = _captured(program, value)
        found = self._open(blob, what)
        if not isinstance(found, AbstractPositions) or found.shape != _concrete(value, sizes):
            raise CorruptError(f"{what} of {self._run} in {self._place} are of another value")
        return found

    # -- programs and blobs -------------------------------------------------------------------------------------------

    def _program(self, k: int) -> Program:
        if k not in self._programs:
            entry = self.header["programs"][k]
            constants = {digest: self._blob(number) for digest, number in entry["constants"].items()}
            found = self._parsed(self._blob(entry["text"]), constants, entry["paths"])
            if any(found is other for other in self._programs.values()):
                found = replace(found, memo={})  # two of one text are two: answers in positions keep them apart
            self._programs[k] = found
        return self._programs[k]

    def _parsed(self, text: Blob, constants: Mapping[str, Blob], paths: Mapping[str, str]) -> Program:
        key = (text.digest, tuple(sorted(paths.items())))
        found = _recently_parsed.get(key)
        if found is None:
            from traceprop.ir import parse

            source = self._open(text, "the text of a program")
            arrays = {
                digest: np.asarray(self._open(blob, f"the constant {digest}")) for digest, blob in constants.items()
            }
            try:
                found = parse(source, arrays)
            except ParseError as error:
                raise CorruptError(f"a program of {self._run} in {self._place} is not read back: {error}") from error
            _find_paths(found, paths)
            _recently_parsed.put(key, found)
        return found

    def _blob(self, number: int) -> Blob:
        digest, kind, size = self.header["blobs"][number]

        def fetch() -> bytes:
            content = self._fetch(digest)
            if content is None:
                raise CorruptError(f"bytes of {self._run} in {self._place} are missing (blob {digest})")
            return content

        return Blob(kind, size, fetch, digest)

    def _open(self, blob: Blob, what: str) -> Any:
        return opened(blob.kind, blob.digest, self._fetch(blob.digest), f"{what} of {self._run} in {self._place}")


class _Recent:
    """The programs that were parsed last, by their text: many runs of one program are opened one after another."""

    def __init__(self) -> None:
        self._programs: dict[Any, Program] = {}

    def get(self, key: Any) -> Program | None:
        return self._programs.get(key)

    def put(self, key: Any, program: Program) -> None:
        if len(self._programs) >= _PARSED:
            self._programs.pop(next(iter(self._programs)), None)
        self._programs[key] = program


_recently_parsed = _Recent()


def _find_paths(program: Program, paths: Mapping[str, str]) -> None:
    """Gives locations the paths at which their files were found, which the text does not have."""
    for op in program.ops:
        if op.location is not None and op.location.file in paths:
            op.location = replace(op.location, path=paths[op.location.file])


def _concrete(value: Value, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(int(evaluate(dim, sizes)) for dim in value.type.dims)


def _captured(program: Program, value: Value) -> str:
    op = value.op
    number = program.values.index(value) if value in program.values else "of others"
    of = f"value {number}" if op is None else f"{op.label} at {op.location or 'an unknown line'}"
    return f"the captured positions of {of} in {program.name!r}"


def _part_of(part: str, source_id: str) -> str:
    names = {"lines": "the line numbers", "keys": "the keys"}
    return f"{names[part]} of the source {source_id!r}"
