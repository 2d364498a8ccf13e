"""What rows and sources are worth, told as rows of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import LineageError, MissingExtraError
from traceprop.explain.result import AttributionResult
from traceprop.explain.scores import Scores
from traceprop.training.owners import Owners

if TYPE_CHECKING:
    import pandas

_FIELDS = ("rank", "value", "source_id", "row", "file", "line", "text", "sample_index", "owners")


class ValuationResult:
    """What `tp.data_valuation` gives.

    Attributes
    ----------
    values
        float64 with `.verdict` and `.why`: (n,), one per training row, in order; or, of "source-shapley", one per
        source, in the order of `sources`. Larger is better; below 0, the game is better without.
    method
        The method that gave them.
    sources
        Source ids, in order of first use.
    """

    def __init__(
        self,
        values: np.ndarray,
        verdict: str,
        why: str,
        owners: Owners,
        method: str,
        parameters: dict[str, Any],
        of_sources: bool = False,
    ) -> None:
        self.values = Scores.of(values, verdict, why)
        self.method = method
        self.parameters = parameters
        self._owners = owners
        self._of_sources = of_sources
        self._ranked = AttributionResult(self.values, owners, top_k=10)

    @property
    def verdict(self) -> str:
        """One of "exact" and "estimated"."""
        return self.values.verdict

    @property
    def why(self) -> str:
        """The reason for the verdict, in a sentence."""
        return self.values.why

    @property
    def sources(self) -> list[str]:
        """Source ids, in order of first use."""
        return self._owners.source_ids

    def __repr__(self) -> str:
        what = "sources" if self._of_sources else "training rows"
        return f"ValuationResult({self.method}, {len(self.values)} {what}, {self.verdict}: {self.why})"

    def top(self, k: int = 10) -> list[dict[str, Any]]:
        """Give the `k` most valuable training rows (or sources), the best first.

        Each is a dict: rank (from 0), value, source_id, row (of the source, from 0), file, line (of the file, from 1)
        and its text, sample_index (the training row), and owners: all (source_id, row) behind that training row. Where
        a source is no file, file, line and text are None; for sources, row and sample_index too.
        """
        return self._entries(self._ranked.top(k))

    def lowest(self, k: int = 10) -> list[dict[str, Any]]:
        """Give the `k` least valuable, the worst first, as `top` does: where to look for wrong labels."""
        return self._entries(self._ranked.most_harmful(k))

    def by_source(self) -> dict[str, float]:
        """Sum the values of the training rows of each source; a row of several sources counts for each of them."""
        return self._ranked.by_source()

    def by_row(self) -> dict[str, np.ndarray]:
        """Give the value of each row of each source: float64 (rows of the source,), 0 where none was trained on.

        A source row that several training rows are made of has the sum of theirs.

        Raises
        ------
        LineageError
            The values are those of whole sources.
        """
        if self._of_sources:
            raise LineageError("method='source-shapley' values whole sources: ask by_source()")
        found = {}
        for source_id, (samples, rows) in self._owners.pairs.items():
            n = self._owners.n if self._owners.view is None else int(self._owners.source(source_id).n_rows)
            found[source_id] = np.bincount(rows, weights=np.asarray(self.values)[samples], minlength=n)
        return found

    def by_op(self) -> dict[str, float]:
        """Sum the values of what went through each step: `{"name at file.py:line": sum}`, in order."""
        return self._ranked.by_op()

    def to_pandas(self, k: int | None = None) -> pandas.DataFrame:
        """Give `top(k)` as a data frame; by default of all training rows (or sources).

        Raises
        ------
        MissingExtraError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("to_pandas needs pandas: pip install 'traceprop[pandas]'") from None
        return pd.DataFrame(self.top(len(self.values) if k is None else k), columns=list(_FIELDS))

    def _entries(self, ranked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        entries = []
        for found in ranked:
            entry = dict(zip(_FIELDS, found.values(), strict=True))
            if self._of_sources:
                entry.update(row=None, line=None, text=None, sample_index=None, owners=[(entry["source_id"], None)])
            entries.append(entry)
        return entries
