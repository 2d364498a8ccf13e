"""What is said when an op fails while a program runs."""

from __future__ import annotations

from traceprop.errors import ExecutionError, OutOfMemoryError
from traceprop.ir import Op

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "RESOURCE_EXHAUSTED", "Out of memory")
"""How PyTorch's and XLA's errors begin to say it; they are `RuntimeError`s."""


def failure(error: Exception, op: Op | None, program: str) -> ExecutionError:
    """The error that names the op and the user's line. `OutOfMemoryError` where memory is what was missing."""
    where = f"{op.label} at {op.location or 'an unknown line'}" if op is not None else program
    text = str(error)
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return OutOfMemoryError(f"{where} ran out of memory: {text or 'no more could be allocated'}")
    return ExecutionError(f"{where} failed: {text}")
