"""Every error that traceprop raises, each also a built-in kind, so that `except ValueError` works as it does elsewhere.

A message says what is wrong, where (file, line and column, or the user's source line) and what to do.
"""

from __future__ import annotations


class TracepropError(Exception):
    """The root of all errors raised on purpose."""


class SourceError(TracepropError, ValueError):
    """A file or an array that cannot be a source: ragged, empty, missing, not numeric where numbers are needed."""


class TraceError(TracepropError, TypeError):
    """Something in a traced function that has no meaning in a traced program; names the user's line and the way out."""


class IRError(TracepropError, ValueError):
    """A program that is not well formed."""


class TypeRuleError(IRError):
    """Operands whose types an op does not take."""


class DimMismatchError(TypeRuleError):
    """Two dims that an op needs equal and that the types don't show to be."""

    def __init__(self, message: str, left: object = None, right: object = None) -> None:
        super().__init__(message)
        self.left = left
        self.right = right


class VerifyError(IRError):
    """A program that breaks an invariant of the IR; `op` is the op that does, or `None`."""

    def __init__(self, message: str, op: object = None) -> None:
        super().__init__(message)
        self.op = op


class ParseError(IRError):
    """IR text that is not a program; names line and column."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class ExecutionError(TracepropError, RuntimeError):
    """An op failed while the program ran; names the op and the user's line."""


class OutOfMemoryError(ExecutionError, MemoryError):
    """An op asked for more memory than there is; names the op and the user's line. Nothing of the run is kept."""


class ForkError(ExecutionError):
    """A forked process needs a library whose threads stayed behind in its parent; names the way out."""


class ChangedSourceError(ExecutionError):
    """A source changed between the call and the run."""


class ChangedSourceWarning(UserWarning):
    """A file is no longer what it was when it was read: its rows have other lines now, or none."""


class LineageError(TracepropError, LookupError):
    """A lineage question that has no answer: an unknown source, rows out of range, a capture that was not recorded."""


class NotKeptError(LineageError):
    """A lineage question that needs positions which the run, by its granularity, did not keep; names it and the way out."""


class StoreError(TracepropError, RuntimeError):
    """A store that cannot do what is asked: no such run, a full disk, a lost connection, a file of something else."""


class CorruptError(StoreError, ValueError):
    """Stored bytes that are not what was written: truncated, changed, or none of ours."""


class NewerVersionError(StoreError):
    """Something that a newer traceprop wrote."""


class ModelError(TracepropError, ValueError):
    """A model, a loss or a fit that gradients cannot be taken of."""


class NothingToForgetError(TracepropError, ValueError):
    """A request to forget that names no training row."""


class RefusedError(TracepropError, RuntimeError):
    """A question put to a result whose verdict is `refused`."""


class MissingExtraError(TracepropError, ImportError):
    """An optional library is needed; names the extra that installs it."""


class ReportError(TracepropError, ValueError):
    """A report that cannot be written as asked: an unknown ending, a category that doesn't exist."""
