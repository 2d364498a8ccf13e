"""Results that are on a cluster as Dask's own collections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from traceprop.errors import ExecutionError, MissingExtraError
from traceprop.ir import ArrayType, TableType, Type
from traceprop.ir.types import numpy_dtype
from traceprop.runtime.dask.gathered import OnCluster
from traceprop.runtime.dask.tasks import no_rows


def as_collection(held: OnCluster, type: Type, shape: Sequence[int]) -> Any:
    """A `dask.array.Array`, or for a table a `dask.dataframe.DataFrame`, of a result's partitions, which stay where they are.

    Raises `ExecutionError` for text columns and tables that are in no partitions, `MissingExtraError` without Dask's
    library for the kind.
    """
    from dask import delayed

    parts = [delayed(future) for future in held.futures()]
    if isinstance(type, TableType):
        try:
            import dask.dataframe as dd
        except ImportError as error:
            raise MissingExtraError(
                f"a table on Dask is a dask.dataframe: pip install 'dask[dataframe]' ({error})"
            ) from None
        meta = held.run.client.submit(_meta, held.futures()[0], pure=False).result()
        return dd.from_delayed([delayed(_frame)(part) for part in parts], meta=meta)
    assert isinstance(type, ArrayType)
    if type.dtype == "str":
        raise ExecutionError("text is no array of one dtype on Dask; ask for the table that it is a column of")
    try:
        import dask.array as da
    except ImportError as error:
        raise MissingExtraError(f"an array on Dask is a dask.array: pip install 'dask[array]' ({error})") from None
    dtype = numpy_dtype(type.dtype)
    if held.axis is None:
        return da.from_delayed(parts[0], tuple(shape), dtype)
    shapes = [(*shape[: held.axis], hi - lo, *shape[held.axis + 1 :]) for lo, hi in itertools.pairwise(held.edges)]
    arrays = [da.from_delayed(part, each, dtype) for part, each in zip(parts, shapes, strict=True)]
    return da.concatenate(arrays, axis=held.axis)


def _frame(table: Any) -> Any:
    return table.to_pandas()


def _meta(table: Any) -> Any:
    return no_rows(table).to_pandas()
