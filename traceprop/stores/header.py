"""What a header must look like, looked at once: behind this, numbers refer to what there is, and nothing goes in a circle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from traceprop.errors import CorruptError, NewerVersionError
from traceprop.ir.types import DTYPES

FORMAT = 2
"""What this version reads up to. Runs that keep no composed positions are written as format 1."""
_PARTS = ("lines", "keys")


def read_header(content: bytes, what: str) -> dict[str, Any]:
    """The header as it was packed. Raises `CorruptError`, or `NewerVersionError` for one that a newer version wrote."""
    try:
        header = json.loads(content)
        version = header["format"]
        if not _count(version):
            raise ValueError(f"its format is {version!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"{what} cannot be read: {error}") from None
    if version > FORMAT:
        raise NewerVersionError(
            f"{what} has the format {version}, and this version reads up to {FORMAT}; upgrade traceprop to ask it"
        )
    try:
        wrong = _wrong(header)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        wrong = repr(error)
    if wrong:
        raise CorruptError(f"{what} makes no sense: {wrong}")
    return header  # type: ignore[no-any-return]


def _wrong(header: Mapping[str, Any]) -> str | None:
    """What is wrong; `None` where nothing is."""
    blobs, programs, calls, sources = (list(header[name]) for name in ("blobs", "programs", "calls", "sources"))

    def blob(number: Any) -> bool:
        return _count(number) and number < len(blobs)

    def reference(found: Any) -> bool:
        if set(found) == {"source"}:
            return _count(found["source"]) and found["source"] < len(sources)
        return set(found) == {"call", "value"} and all(map(_count, found.values())) and found["call"] < len(calls)

    keys = header["keys"]
    checks = {
        "blobs": (_text(digest) and _text(kind) and _count(size) for digest, kind, size in blobs),
        "programs": (
            blob(entry["text"])
            and all(_text(name) and blob(number) for name, number in entry["constants"].items())
            and all(map(_text, [*entry["paths"], *entry["paths"].values(), *entry["nameless"]]))
            for entry in programs
        ),
        "sources": (_source(entry) and all(blob(entry[part]) for part in _PARTS if part in entry) for entry in sources),
        "chains": (reference(entry["lineage"]) for entry in sources if "lineage" in entry),
        "calls": (
            _count(entry["program"])
            and entry["program"] < len(programs)
            and all(map(reference, entry["inputs"]))
            and all(given.get("call", -1) < k for given in entry["inputs"])
            and all(_text(name) and _count(size) for name, size in entry["sizes"].items())
            and all(value is None or _text(value) for value in entry["options"].values())
            and entry["options"].get("granularity") in (None, "op", "batch", "epoch")
            and all(_chain(name) and blob(number) for name, number in entry["captures"].items())
            for k, entry in enumerate(calls)
        ),
        "values": [bool(header["values"]), *map(reference, header["values"])],
        "keys": [keys is None or (len(keys) == len(header["values"]) and all(map(_text, keys)))],
    }
    wrong = next((name for name, sound in checks.items() if not all(sound)), None)
    return wrong or (None if _ends(calls, sources) else "a source that is made of itself")


def _source(entry: Mapping[str, Any]) -> bool:
    kept, how = entry["type"], entry.get("read")
    dtypes = [field[1] for field in kept["fields"]] if "fields" in kept else [kept["dtype"]]
    return (
        all(map(_text, [entry["id"], entry["hash"], entry["world"], *(entry["columns"] or ())]))
        and bool(entry["id"])
        and _count(entry["rows"])
        and isinstance(entry["placeholder"], bool)
        and (entry["key"] is None or (_text(entry["key"]) and "keys" in entry))
        and ("path" not in entry or (_text(entry["path"]) and _text(entry["absolute"])))
        and (how is None or ("path" in entry and _reading(how)))
        and all(dtype in DTYPES for dtype in dtypes)
        and ("fields" in kept or (all(map(_count, kept["across"])) and isinstance(kept["single"], bool)))
        and all(_text(name) and isinstance(nullable, bool) for name, _, nullable, _ in kept.get("fields", ()))
        and all(width is None or _count(width) for *_, width in kept.get("fields", ()))
    )


def _reading(how: Mapping[str, Any]) -> bool:
    types = how.get("types", {})
    return (
        how["as"] in ("csv", "csv numbers", "parquet")
        and (how["as"] == "csv numbers" or "types" in how)
        and all(_text(name) and dtype in DTYPES for name, dtype in types.items())
        and (how["as"] != "csv" or all(map(_text, how["na_values"])))
    )


def _ends(calls: list[Any], sources: list[Any]) -> bool:
    """Whether going back comes to an end: every source's chain leads to calls and sources that do not need it."""
    state: dict[tuple[str, int], bool] = {}
    stack: list[tuple[tuple[str, int], bool]] = [(("source", k), False) for k in range(len(sources))]
    while stack:
        node, through = stack.pop()
        if through:
            state[node] = True
        elif state.get(node) is None:
            state[node] = False
            stack.append((node, True))
            kind, k = node
            behind = (
                calls[k]["inputs"] if kind == "call" else [sources[k]["lineage"]] if "lineage" in sources[k] else []
            )
            for found in behind:
                other = ("source", found["source"]) if "source" in found else ("call", found["call"])
                if state.get(other) is False:
                    return False
                stack.append((other, False))
    return True


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _chain(name: str) -> bool:
    """Whether a name is the number of a value, or the numbers of several that were composed: 3.7.12"""
    return all(part.isdecimal() for part in name.split("."))


def _text(value: Any) -> bool:
    return isinstance(value, str)
