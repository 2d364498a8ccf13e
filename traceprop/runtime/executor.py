"""Runs programs on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from traceprop.ir import Program
from traceprop.ir.executor import Outcome
from traceprop.runtime.executable import Executable


class LocalExecutor:
    """Compiles a program once per set of options, keeps that with the program, and runs it."""

    takes_inputs = False

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def compile(self, program: Program, options: Mapping[str, Any]) -> Executable:
        """The executable for a program: recording or not, with these passes."""
        level = options.get("granularity")
        chosen = (level is not None, options.get("passes"), options.get("world", "numpy"), level or "op")
        with self._lock:
            known: dict[Any, Executable] = program.memo.setdefault("executables", {})
            if chosen not in known:
                known[chosen] = Executable(program, *chosen)
            return known[chosen]

    def run(self, program: Program, inputs: Sequence[Any], options: Mapping[str, Any]) -> Outcome:
        """Runs a program on one concrete input per parameter."""
        ready = program.memo.get("ready")
        if ready is None or ready[0] is not options:
            ready = program.memo["ready"] = (options, self.compile(program, options))
        return ready[1].run(inputs)  # type: ignore[no-any-return]


LOCAL = LocalExecutor()
