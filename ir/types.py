"""The types of values: arrays and tables, with dims that are sizes or expressions over symbols."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from traceprop.ir.expr import Dim
from traceprop.ir.words import word

# The IR's name of a dtype, and NumPy's.
DTYPES: dict[str, str] = {
    "bool": "bool", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
    "f16": "float16", "f32": "float32", "f64": "float64", "c64": "complex64", "c128": "complex128",
    "str": "object", "date": "datetime64[D]", "datetime": "datetime64[us]",
    "days": "timedelta64[D]", "duration": "timedelta64[us]", "object": "object",
}  # fmt: skip
_NAMES = {np.dtype(numpy): name for name, numpy in reversed(DTYPES.items()) if name not in ("str", "object")}


def dtype_name(dtype: object) -> str:
    """The IR's name of a NumPy dtype: `float64` is `f64`. Raises `TypeError` for dtypes that the IR doesn't have."""
    known = _NAMES.get(dtype) if isinstance(dtype, np.dtype) else None
    if known is not None:
        return known
    resolved = np.dtype(dtype)  # type: ignore[call-overload]
    if resolved.kind in "UT":
        return "str"
    if resolved.kind == "O":
        return "object"
    try:
        return _NAMES[resolved.newbyteorder("=")]
    except KeyError:
        instead = f"use one of {', '.join(DTYPES)}"
        if resolved.kind in "mM":
            instead = f"bring it to {'datetime64' if resolved.kind == 'M' else 'timedelta64'}[us] or [D]"
        raise TypeError(f"arrays of dtype {resolved} cannot be traced; {instead}") from None


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of an IR dtype name."""
    return np.dtype(DTYPES[name])


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An array of `dtype`; each dim is a size, or an expression over symbols that stands for one."""

    dtype: str
    dims: tuple[Dim, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TypeError(f"there is no dtype {self.dtype!r}; use one of {', '.join(DTYPES)}")
        for dim in self.dims:
            if isinstance(dim, int) and dim < 0:
                raise TypeError(f"{self} has a dim below zero")

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.dims))}]"


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a table, or (with a `width`) a family of columns that one-hot coding makes of one.

    `nullable`: the column may hold nulls; it prints as `i64?`.
    """

    name: str
    dtype: str
    nullable: bool = False
    width: Dim | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TypeError(f"column {self.name!r} has the unknown dtype {self.dtype!r}")

    @property
    def columns(self) -> Dim:
        """How many columns of the table the field takes."""
        return 1 if self.width is None else self.width

    def __str__(self) -> str:
        family = "" if self.width is None else f"[{self.width}]"
        return f"{word(self.name)}: {self.dtype}{'?' if self.nullable else ''}{family}"


@dataclass(frozen=True, slots=True)
class TableType:
    """A table: named columns over the same rows. In index maps its columns count as its second axis."""

    fields: tuple[Field, ...]
    rows: Dim
    dims: tuple[Dim, ...] = dataclasses.field(init=False, repr=False, compare=False)
    places: dict[str, tuple[Field, Dim]] = dataclasses.field(init=False, repr=False, compare=False)
    """Each field by its name, with its first position among the columns."""

    def __post_init__(self) -> None:
        places: dict[str, tuple[Field, Dim]] = {}
        position: Dim = 0
        for field in self.fields:
            if field.name in places:
                raise TypeError(f"a table cannot have two columns named {field.name!r}")
            places[field.name] = (field, position)
            position = position + (1 if field.width is None else field.width)
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "dims", (self.rows, position))

    def field(self, name: str) -> Field:
        """The field of that name; `KeyError` if there is none."""
        return self.places[name][0]

    def __str__(self) -> str:
        return f"table<{', '.join(map(str, self.fields))}>[{self.rows}]"


Type = ArrayType | TableType
