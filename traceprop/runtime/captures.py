"""What a run keeps for lineage questions: the engine's own arrays at first, and encoded from the first question on."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from traceprop.ir import Value
from traceprop.ir.forks import renewed_in_child
from traceprop.passes.encodings import AbstractPositions, Columns, encode
from traceprop.passes.optimize.compress import column_of

AT_LARGE = 1 << 28
"""Bytes of arrays, of all runs together, that may wait for a question; beyond, those of the oldest runs are encoded."""


class Captures(dict[Value, Any]):
    """The traced values that a run kept, by value: arrays as the engine made them, or `AbstractPositions`.

    The run itself pays for nothing: it hands over arrays that it had anyway. `positions` encodes one when it is first
    asked for (about 2 ms per million), `encode_all` the rest when the run is saved or its bytes are counted. Arrays that
    nobody asks about are encoded once more than `AT_LARGE` bytes of them have come together.
    """

    def __init__(self, found: Mapping[Value, Any], hints: Mapping[Value, str] | None = None) -> None:
        super().__init__(found)
        self._hints = dict(hints or {})

    def positions(self, value: Value) -> AbstractPositions:
        """The encoded positions of a kept value. Raises `KeyError` for one that was not kept."""
        held = self[value]
        if isinstance(held, AbstractPositions):
            return held
        column = column_of(value)
        if column is not None and column[0] in self:
            pairs = self.positions(column[0])
            if isinstance(pairs, Columns):
                self[value] = pairs.column(column[1])
                return pairs.column(column[1])
        hint = self._hints.get(value)
        encoded = encode(np.asarray(held), None if hint == "column" else hint)
        if isinstance(held := self[value], AbstractPositions):  # another thread was faster
            return held
        self[value] = encoded
        return encoded

    def encode_all(self) -> None:
        """Encodes what still is an array."""
        for value in list(self):
            self.positions(value)

    @property
    def waiting(self) -> int:
        """Bytes of arrays that are not encoded yet. (Columns of one array of pairs count once.)"""
        arrays = {id(_owner(held)): held for held in self.values() if not isinstance(held, AbstractPositions)}
        return sum(int(getattr(held, "nbytes", 0)) for held in arrays.values())


NOTHING = Captures({})
"""Of runs that keep nothing, which are most."""


def _owner(array: Any) -> Any:
    base = getattr(array, "base", None)
    return array if base is None else base


class _Waiting:
    """The runs whose arrays wait, oldest first; looked through only once they may be too many, so that a run pays little."""

    def __init__(self) -> None:
        self._runs: deque[weakref.ref[Captures]] = deque()
        self._bytes = 0
        self._room = 1024
        self._lock = threading.Lock()

    def add(self, captures: Captures) -> None:
        if not captures:
            return
        with self._lock:
            self._runs.append(weakref.ref(captures))
            self._bytes += captures.waiting
            late = self._late() if self._bytes > AT_LARGE or len(self._runs) > self._room else []
        for run in late:
            run.encode_all()

    def unlock(self) -> None:
        """A lock of its own, in a process that was forked while another thread held this one."""
        self._lock = threading.Lock()

    def _late(self) -> list[Captures]:
        """The oldest runs, as many as must be encoded; those that are gone are forgotten."""
        known = [(run, run.waiting) for ref in self._runs if (run := ref()) is not None]
        known = [(run, size) for run, size in known if size]
        self._bytes = sum(size for _, size in known)
        late = []
        while known and self._bytes > AT_LARGE:
            run, size = known.pop(0)
            late.append(run)
            self._bytes -= size
        self._runs = deque(weakref.ref(run) for run, _ in known)
        self._room = 2 * len(known) + 1024
        return late


WAITING = _Waiting()
renewed_in_child(WAITING.unlock)
