"""The one protocol between the values that a user holds and whatever runs their program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from traceprop.ir.graph import Program, Value


@dataclass(slots=True)
class Outcome:
    """What one run of a program left behind.

    `results`: the returned values, in order. `captures`: traced values that the run kept for lineage questions, as arrays or
    encoded. `sizes`: what each size symbol stood for. `executed`: how many ops ran.
    """

    results: tuple[Any, ...]
    captures: dict[Value, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    executed: int = 0


class AbstractExecutor(Protocol):
    """Runs programs on concrete inputs, or (`takes_inputs`) on the sources and lazy values of calls as they are."""

    takes_inputs: bool

    def compile(self, program: Program, options: Mapping[str, Any]) -> Any:
        """The program made ready to run; callable on one plain value per parameter."""
        ...

    def run(self, program: Program, inputs: Sequence[Any], options: Mapping[str, Any]) -> Outcome:
        """Runs `program` on one concrete input per parameter and returns what it left behind."""
        ...

    def write_npy(self, path: Any, batches: Iterable[Any]) -> None:
        """Writes batches of an array as one `.npy` file, there whole or not at all."""
        ...

    def write_parquet(self, path: Any, batches: Iterable[Any]) -> None:
        """Writes batches of a table or an array as one Parquet file, there whole or not at all."""
        ...
