"""Runs programs on this machine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from traceprop.ir import Program
from traceprop.ir.executor import Outcome
from traceprop.ir.forks import lost, renewed_in_child
from traceprop.runtime.backends import choice, jax_is_there
from traceprop.runtime.executable import Executable


class WritesFiles:
    """What executors have in common: results go to files batch by batch."""

    def write_npy(self, path: Any, batches: Iterable[Any]) -> None:
        """Batches of an array as one `.npy` file."""
        from traceprop.runtime.streamed_results import write_npy

        write_npy(path, batches)

    def write_parquet(self, path: Any, batches: Iterable[Any]) -> None:
        """Batches of a table or an array as one Parquet file."""
        from traceprop.runtime.streamed_results import write_parquet

        write_parquet(path, batches)


class LocalExecutor(WritesFiles):
    """Compiles a program once per set of options, and once more where the user has imported JAX since; and runs it."""

    takes_inputs = False

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def compile(self, program: Program, options: Mapping[str, Any]) -> Executable:
        """The executable for a program: recording or not, with these passes."""
        level = options.get("granularity")
        backend = options.get("backend", "auto")
        chosen = (level is not None, options.get("passes"), options.get("world", "numpy"), level or "op")
        key = (*chosen, backend, jax_is_there())
        with self._lock:
            known: dict[Any, Executable] = program.memo.setdefault("executables", {})
            if key not in known:
                known[key] = Executable(program, *chosen, choice(backend))
            return known[key]

    def unlock(self) -> None:
        """A lock of its own, in a process that was forked while another thread held this one."""
        self._lock = threading.Lock()

    def run(self, program: Program, inputs: Sequence[Any], options: Mapping[str, Any]) -> Outcome:
        """Runs a program on one concrete input per parameter."""
        ready, there = program.memo.get("ready"), "jax" in sys.modules and not lost("jax")
        if ready is None or ready[0] is not options or ready[1] is not there:
            ready = program.memo["ready"] = (options, there, self.compile(program, options))
        return ready[2].run(inputs)  # type: ignore[no-any-return]


LOCAL = LocalExecutor()
renewed_in_child(LOCAL.unlock)
