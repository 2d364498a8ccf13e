"""The type of a column of texts, found a stretch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_TRUTHS = ("true", "false")


class Column:
    """The narrowest of int64, float64 and bool that holds every cell so far; else text. (Of whole columns: `csv._typed`.)"""

    def __init__(self) -> None:
        self._open = ["i64", "f64", "bool"]
        self._seen = False
        self.nullable = False

    def look(self, cells: pl.Series) -> None:
        """Some more cells, as text."""
        import polars as pl

        present = cells.drop_nulls()
        self.nullable |= len(present) < len(cells)
        if not len(present):
            return
        self._seen = True
        single = present.head(1)  # what does not hold the first cell does not hold them all, and most columns are text
        for name in list(self._open):
            if name == "bool":
                held = (
                    single.str.to_lowercase().is_in(_TRUTHS).all() and present.str.to_lowercase().is_in(_TRUTHS).all()
                )
            else:
                dtype = pl.Int64 if name == "i64" else pl.Float64
                held = (
                    not single.cast(dtype, strict=False).null_count()
                    and not present.cast(dtype, strict=False).null_count()
                )
            if held:
                if name != "bool" and "bool" in self._open:  # a number is no truth value
                    self._open.remove("bool")
                return
            self._open.remove(name)

    @property
    def name(self) -> str:
        """The IR's name of the type."""
        return self._open[0] if self._seen and self._open else "str"

    @property
    def dtype(self) -> Any:
        """The type as polars has it."""
        import polars as pl

        return {"i64": pl.Int64(), "f64": pl.Float64(), "bool": pl.Boolean(), "str": pl.String()}[self.name]

    def cast(self, cells: pl.Series) -> pl.Series:
        """Texts of the column in its type."""
        if self.name == "str":
            return cells
        if self.name == "bool":
            return (cells.str.to_lowercase() == "true").alias(cells.name)
        return cells.cast(self.dtype)
