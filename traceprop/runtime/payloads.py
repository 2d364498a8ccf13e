"""From a payload's name to the function that computes it; the tables here are all that a program can ever call."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError
from traceprop.runtime import table, table_cells, table_groups, table_rows, table_terms, weighted
from traceprop.runtime.reductions import reduction
from traceprop.tracing.numpy import PAYLOADS as NUMPY

_UFUNC = re.compile(r"numpy\.([a-z_0-9]+)(\.reduce|\.accumulate)?")


TABLES: dict[str, Callable[..., Any]] = {
    f"table.{name}": function
    for module in (table, table_cells, table_groups, table_rows, table_terms)
    for name, function in module.PAYLOADS.items()
} | {f"weighted.{name}": function for name, function in weighted.PAYLOADS.items()}


def astype(array: Any, dtype: Any) -> np.ndarray:
    """`numpy.astype` for what NumPy or the table engine holds."""
    cells = np.asarray(array)
    if np.dtype(dtype) != object or cells.dtype.kind in "OU":
        return cells.astype(dtype)
    return cells.astype(str)  # text of numbers, for a program knows no other objects


def resolve(payload: str) -> Callable[..., Any]:
    """The function behind a payload. Raises `ExecutionError` for a name that no front end gives."""
    if payload == "numpy.astype":
        return astype
    if payload in TABLES:
        return TABLES[payload]
    if payload.startswith("partial."):
        from traceprop.runtime.partials import PAYLOADS as PARTIALS  # which themselves run programs

        if payload.removeprefix("partial.") in PARTIALS:
            return PARTIALS[payload.removeprefix("partial.")]
    name = "sum" if payload == "numpy.add.reduce" else payload.removeprefix("numpy.")
    fast = reduction(name) if payload in NUMPY or name == "sum" else None
    if fast is not None:
        return fast
    if payload in NUMPY:
        return operator.attrgetter(payload.removeprefix("numpy."))(np)
    match = _UFUNC.fullmatch(payload)
    function = getattr(np, match[1], None) if match else None
    if match and isinstance(function, np.ufunc):
        return getattr(function, match[2][1:]) if match[2] else function
    raise ExecutionError(f"no library function is known by the name {payload!r}")
