"""Arguments as a program takes them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import Dim, Type, symbol
from traceprop.ir.location import user_location
from traceprop.sources import ArraySource, FrameSource, Source
from traceprop.sources.array import FixedArraySource
from traceprop.sources.tensors import TensorSource
from traceprop.tracing.lazy import Lazy, with_dims
from traceprop.tracing.worlds import as_it_is, holds_arrays, key_kind, to_numpy, world_of_value

_SCALARS = (bool, int, float, complex, str, bytes, type(None))


def is_argument(value: Any) -> bool:
    """Whether a value is one argument, and not a structure of several: a list of numbers is one array."""
    return not isinstance(value, (tuple, list, dict)) or _is_matrix(value)


def _is_matrix(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    return isinstance(first, (int, float, np.number)) or _is_matrix(first)


def as_input(name: str, value: Any) -> Any:
    """A source (plain arrays and tables become one named `name`), a lazy value, or a scalar that is part of the trace."""
    if isinstance(value, Lazy):
        return value.source or value
    if isinstance(value, (Source, *_SCALARS)):
        return value
    if isinstance(value, (np.ndarray, list, np.generic)):
        return ArraySource(value, name, name)
    if hasattr(value, "__arrow_c_stream__") or type(value).__module__.split(".")[0] in ("polars", "pandas"):
        if getattr(value, "ndim", len(getattr(value, "shape", (0, 0)))) == 1:  # a column of a dataframe
            return ArraySource(value, name, name)
        return FrameSource(value, name)
    if not hasattr(value, "__array__"):
        if holds_arrays(value):
            raise TraceError(
                f"the argument {name!r} is a {type(value).__name__} with arrays in it, at "
                f"{user_location() or 'an unknown line'}: their lineage would be lost; pass tuples, lists or dicts of arrays"
            )
        return value
    source = array_of_world(value, name, name)
    source.generator = key_kind(value)
    return source


def array_of_world(value: Any, source_id: str | None, name: str = "array") -> ArraySource:
    """A source of an array of any library, which its programs are given as it is."""
    world = world_of_value(value)
    own = as_it_is(value) if world == "torch" or key_kind(value) is None else None
    if world == "torch" and own is not None and TensorSource.serves(own):
        return TensorSource(own, source_id)
    if world == "jax" and own is not None:
        return FixedArraySource(own, world, to_numpy, source_id, name)
    source = ArraySource(to_numpy(value), source_id, name)
    source.stands_for(own, world)
    return source


def type_of(given: Any, rows: Dim) -> Type:
    """The type of an input, with `rows` for its number of rows."""
    if isinstance(given, Source):
        return given.type(rows)
    dims = [d if size is None else size for size, d in zip(given.known_shape(), given.type.dims, strict=True)]
    return with_dims(given.type, [rows, *dims[1:]]) if dims else given.type


def rows_of(given: Any) -> int | None:
    """The number of rows of an input; `None` where only a run could tell."""
    return given.n_rows if isinstance(given, Source) else (*given.known_shape(), None)[0]


def source_id_of(given: Any) -> str | None:
    """The id of the source that an input is, if it is one."""
    return given.id if isinstance(given, Source) else given.source_id


def abstract(given: Any) -> Hashable:
    """What of an argument must be the same for a trace to be used again; its number of rows is looked at apart."""
    if isinstance(given, (Source, Lazy)):
        return (
            type_of(given, symbol("N")),
            rows_of(given) == 1,
            source_id_of(given),
            given.generator if isinstance(given, Source) else None,
        )
    try:
        hash(given)
    except TypeError:
        return id(given)
    return (type(given), repr(given) if isinstance(given, float) else given)
