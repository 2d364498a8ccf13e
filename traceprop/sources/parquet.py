"""Parquet files as sources. Their rows have numbers and, with a key, names; they have no lines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from traceprop.errors import SourceError
from traceprop.ir.forks import check
from traceprop.sources.files import digest, read_bytes, stem
from traceprop.sources.frame import FrameSource
from traceprop.sources.watched import WatchedFile


class ParquetSource(FrameSource):
    """A Parquet file as a table, with the column types of the file."""

    def __init__(
        self,
        path: str | Path,
        source_id: str | None = None,
        key: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        check("polars", f"reading {path}")
        content = read_bytes(str(path), "Parquet")
        frame = _read(str(path), content, columns)
        super().__init__(frame, source_id if source_id is not None else stem(path), str(path), key)
        self._file = WatchedFile(str(path), digest(content))

    @property
    def content_hash(self) -> str:  # type: ignore[override]
        return self._file.content_hash

    def as_types(self, types: Mapping[str, Any]) -> None:
        """The columns in this order and these polars types. Raises `SourceError` that names a cell which does not survive it."""
        import polars as pl

        columns = []
        for name, dtype in types.items():
            before = self._frame.get_column(name)
            now = before.cast(dtype, strict=False)
            lost = ~now.cast(before.dtype, strict=False).eq_missing(before)
            if lost.any():
                row = int(lost.arg_max() or 0)
                raise SourceError(f"{self.path}, row {row}: column {name!r} holds {before[row]!r}, which is no {dtype}")
            columns.append(now)
        self._hold(pl.DataFrame(columns))

    def changed(self) -> str | None:
        return self._file.now().change


def _read(path: str, content: bytes, columns: Sequence[str] | None) -> Any:
    import polars as pl

    wanted = None if columns is None else list(columns)
    try:
        have = pl.read_parquet_schema(io.BytesIO(content))
        unknown = [name for name in wanted or () if name not in have]
        if unknown:
            raise SourceError(f"{path} has no column {unknown[0]!r}; its columns: {', '.join(have)}")
        return pl.read_parquet(io.BytesIO(content), columns=wanted)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    except pl.exceptions.PanicException as error:  # polars gives up on some files that are not whole
        raise SourceError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
