"""A source that is a type and nothing else: for looking at the program of a function without its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from traceprop.errors import LineageError, SourceError
from traceprop.ir import ArrayType, Dim, TableType, Type
from traceprop.sources.source import Source, check_id

if TYPE_CHECKING:
    import polars as pl


class DeclaredSource(Source):
    """Rows of a type, as many as it says; with a symbol (`f64[N, 4]`) their number is not known.

    Programs can be traced for it and printed. Asking for a value raises `SourceError`.
    """

    def __init__(self, type: Type, source_id: str) -> None:
        if not type.dims:
            raise SourceError(f"{source_id} is declared as {type}, which has no rows")
        if not all(isinstance(dim, int) for dim in type.dims[1:]):
            raise SourceError(f"{source_id} is declared as {type}: only the number of rows may be a symbol")
        self._type = type
        self.id = check_id(source_id)
        rows = type.dims[0]
        self.n_rows = rows if isinstance(rows, int) else None  # type: ignore[assignment]
        self.columns = tuple(field.name for field in type.fields) if isinstance(type, TableType) else None

    def type(self, rows: Dim) -> Type:
        if isinstance(self._type, TableType):
            return TableType(self._type.fields, rows)
        return ArrayType(self._type.dtype, (rows, *self._type.dims[1:]))

    def _no_data(self) -> NoReturn:
        raise SourceError(f"{self.id!r} is declared as {self._type} and holds no data; give a file or an array to run")

    def value(self) -> Any:
        self._no_data()

    @property
    def content_hash(self) -> str:
        return str(self._type)

    def check_unchanged(self) -> None:
        self._no_data()

    def frame(self) -> pl.DataFrame:
        raise LineageError(f"{self.id!r} is declared as {self._type} and holds no data")


def declared_type(text: str) -> Type:
    """The type that a text names: `f64[N, 4]`, `str[N]`, `table<age: i64, job: str?>[N]`.

    Raises `SourceError` for a text that is none, with what is wrong with it.
    """
    from traceprop.errors import ParseError
    from traceprop.ir import parse

    try:
        program = parse(f"func @declared(%x: {text}) -> {text} {{\n  return %x\n}}")
    except ParseError as error:
        raise SourceError(f"{text!r} is no type such as f64[N,4] or table<age: i64, job: str?>[N]: {error}") from None
    return program.params[0].type
