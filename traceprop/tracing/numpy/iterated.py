"""NumPy functions that iterate over their argument before they ask whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from traceprop.errors import TraceError
from traceprop.ir.location import raised_at


@contextmanager
def iteration_refused() -> Iterator[None]:
    """The refusal to iterate, in words of ours: `np.poly` and `np.roots` put a `TypeError` of NumPy's own in its place."""
    try:
        yield
    except TypeError as error:
        if isinstance(error, TraceError) or not str(error).startswith("dispatcher for __array_function__"):
            raise
        raise TraceError(
            f"NumPy iterates over a traced value at {raised_at(error) or 'an unknown line'}, whose length is not known while "
            "the function is traced (np.poly, np.roots); call it outside the traced function, on x.compute() (lineage ends there)"
        ) from error
