"""The payloads `table.…` of tf-idf: the words of a text column, their counts per row, and the columns that they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.runtime.table import _polars, _series

if TYPE_CHECKING:
    import polars as pl

_WORD = r"\b\w\w+\b"  # two letters or more, as scikit-learn's vectorisers cut text


def _words(texts: Any) -> pl.DataFrame:
    """A row per word of a row: `row`, `word`."""
    pl = _polars()
    cut = _series(texts).str.to_lowercase().str.extract_all(_WORD)
    listed = pl.DataFrame({"row": np.arange(len(cut)), "word": cut}, schema_overrides={"word": pl.List(pl.String)})
    return listed.explode("word").drop_nulls("word")


def terms(texts: Any) -> pl.Series:
    """The distinct words of all rows, sorted."""
    return _words(texts).get_column("word").unique().sort()


def term_counts(texts: Any, vocabulary: Any) -> np.ndarray:
    """float64 (rows, words): how often each word of the vocabulary stands in a row."""
    pl = _polars()
    known = pl.DataFrame({"word": _series(vocabulary).cast(pl.String)}).with_row_index("place")
    found = _words(texts).join(known, on="word").group_by("row", "place").len()
    counts = np.zeros((len(texts), known.height))
    counts[found.get_column("row").to_numpy(), found.get_column("place").to_numpy()] = found.get_column(
        "len"
    ).to_numpy()
    return counts


def ones(values: Any) -> np.ndarray:
    """1.0 for every row, whatever it holds."""
    return np.ones(len(values))


def term_columns(weights: np.ndarray, vocabulary: Any, family: str) -> pl.DataFrame:
    """A matrix as columns called `family_word`."""
    pl = _polars()
    names = [f"{family}_{word}" for word in _series(vocabulary).to_list()]
    return pl.DataFrame({name: weights[:, k] for k, name in enumerate(names)})


PAYLOADS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (terms, term_counts, ones, term_columns)}
