"""What a store tells about what it holds."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from traceprop.errors import StoreError

_LONGEST_NAME = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """A saved run, as listings show it.

    `id` tells it from others of the same name; `saved` is in UTC; `location` is `file.py:line` of the user's code that saved
    it; `metadata` is the user's; `bytes` are those of its lineage, shared ones counted in every run that uses them.
    """

    id: str
    name: str
    saved: datetime
    location: str
    metadata: Mapping[str, Any] = field(hash=False)
    bytes: int

    @classmethod
    def new(cls, name: Any, location: str, metadata: Any, bytes: int) -> Run:
        """A run that is saved now. Raises `StoreError` for a name that is no text, or metadata that JSON cannot hold."""
        saved = datetime.now(UTC)
        check_name(name)
        metadata_text(metadata)
        return cls(
            f"{saved:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}", name, saved, location, dict(metadata or {}), bytes
        )


class Size(int):
    """How many bytes a store takes, by what they are for: `by_kind` (lineage only), `runs` (how many there are)."""

    by_kind: dict[str, int]
    runs: int

    def __new__(cls, total: int, by_kind: Mapping[str, int], runs: int) -> Size:
        size = super().__new__(cls, total)
        size.by_kind = dict(by_kind)
        size.runs = runs
        return size

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {shown(count)}" for kind, count in sorted(self.by_kind.items()))
        return (
            f"{shown(int(self))} for {self.runs} runs ({parts})"
            if parts
            else f"{shown(int(self))} for {self.runs} runs"
        )

    def __repr__(self) -> str:
        return f"<{self}>"


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check()` has read and found whole."""

    runs: int
    blobs: int

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"{self.runs} runs and {self.blobs} blobs are whole"


def check_name(name: Any) -> None:
    """A name is text of one to 2**20 characters, and any text that UTF-8 has, but for the null character."""
    if not isinstance(name, str) or not name:
        raise StoreError(f"a run is saved under a name, a text that is not empty; not {name!r}")
    if "\0" in name or len(name) > _LONGEST_NAME:
        raise StoreError("a name has no null characters, and no more than a million others")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise StoreError(f"the name {name!a} holds half a character (a lone surrogate), which UTF-8 has not") from None


def metadata_text(metadata: Any) -> str:
    """Metadata as JSON. Raises `StoreError` for what JSON does not hold."""
    if metadata is not None and not isinstance(metadata, Mapping):
        raise StoreError(f"metadata= is a dict such as {{'model': 'v3'}}, not {type(metadata).__name__}")
    try:
        text = json.dumps(dict(metadata or {}))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"metadata= holds what JSON cannot: {error}") from None
    if json.loads(text) != dict(metadata or {}):
        raise StoreError("metadata= would not come back as it is: in JSON keys are texts, and sequences are lists")
    return text


def cutoff(older_than: Any) -> datetime:
    """The moment before which runs are older: from a `timedelta`, a number of days, or a moment with or without time zone."""
    if isinstance(older_than, datetime):
        return older_than.astimezone(UTC)
    if isinstance(older_than, (int, float)) and not isinstance(older_than, bool):
        older_than = timedelta(days=older_than)
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        raise StoreError(f"older_than= is a timedelta, a number of days or a datetime, not {older_than!r}")
    return datetime.now(UTC) - older_than


def shown(count: float) -> str:
    """Bytes for readers: `2.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
