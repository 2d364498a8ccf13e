"""Which source rows each training sample is made of: the one place where training meets lineage."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from traceprop.errors import LineageError
from traceprop.tracing.lazy import is_lazy
from traceprop.training.data import plain_array


@dataclass(frozen=True, eq=False)
class Owners:
    """The source rows behind `n` training samples.

    Attributes
    ----------
    pairs
        Per source id, (samples, rows): int64 arrays of one length, sorted by sample, then row. A sample may have
        several rows of one source, and rows of several sources.
    view
        The lineage of the features, a `traceprop.lineage.View`; None for gradients logged without data.
    label_view
        The lineage of the targets, where they are lazy.
    """

    n: int
    pairs: dict[str, tuple[np.ndarray, np.ndarray]]
    view: Any = None
    label_view: Any = None

    @property
    def source_ids(self) -> list[str]:
        """The sources in order of first use."""
        return list(self.pairs)

    def source(self, source_id: str) -> Any:
        """Give the source called `source_id`; LineageError where it is unknown or there is no lineage."""
        self.check_source(source_id)
        for view in (self.view, self.label_view):
            if view is not None and source_id in view.sources():
                return view.source(source_id)
        raise LineageError(f"nothing but row numbers is known of {source_id!r}: its gradients were logged by hand")

    def check_source(self, source_id: str) -> None:
        """Raise LineageError, with the known ids and the nearest, for an unknown source."""
        if source_id in self.pairs:
            return
        near = difflib.get_close_matches(str(source_id), self.source_ids, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise LineageError(f"no source called {source_id!r} among {', '.join(map(repr, self.source_ids))}{hint}")

    def samples_of(self, source_id: str, rows: np.ndarray) -> np.ndarray:
        """Give the training samples made of those source rows: sorted int64, each once."""
        self.check_source(source_id)
        samples, owners = self.pairs[source_id]
        return np.unique(samples[np.isin(owners, rows)])

    def rows_in(self, source_id: str) -> int:
        """The number of rows of a source. Raises LineageError for an unknown one."""
        self.check_source(source_id)
        if self.view is None:
            return int(self.pairs[source_id][1].max(initial=-1)) + 1
        return int(self.source(source_id).n_rows)

    def summed(self, source_id: str, values: np.ndarray) -> np.ndarray:
        """From samples (k, n) to the rows of a source, (k, rows): each has the sum of the samples that are made of it."""
        samples, rows = self.pairs[source_id]
        shape = (self.rows_in(source_id), self.n)
        made = scipy.sparse.csr_array((np.ones(len(rows)), (rows, samples)), shape)
        return np.ascontiguousarray((made @ values.T).T, dtype=values.dtype)

    def of_rows(self, source_id: str) -> Owners:
        """Owners whose samples are the rows of a source, each its own."""
        every = np.arange(self.rows_in(source_id), dtype=np.int64)
        return Owners(len(every), {source_id: (every, every)}, self.view, self.label_view)

    def rows_of(self, sample: int) -> list[tuple[str, int]]:
        """Give the (source id, row) pairs behind one sample."""
        found = []
        for source_id, (samples, rows) in self.pairs.items():
            low, high = np.searchsorted(samples, [sample, sample + 1])
            found += [(source_id, int(row)) for row in rows[low:high]]
        return found


def row_owners(X: Any, y: Any, n: int, source_id: str | None) -> Owners:
    """Ask the lineage of the training data who owns each of its `n` rows.

    Lazy values bring their sources. A plain array is a source of its own, called `source_id` or "X_train", whose rows
    are the samples. Where the targets are lazy and the rows behind them are others than the features', both count.
    """
    from traceprop.api import from_numpy
    from traceprop.lineage import provenance

    view = provenance(X if is_lazy(X) else from_numpy(plain_array(X, "X_train"), source_id=source_id or "X_train"))
    return owners_of(view, provenance(y) if is_lazy(y) else None, n)


def owners_of(view: Any, label_view: Any, n: int) -> Owners:
    """Own `n` samples by the lineage of their features and, where the targets are lazy, of those."""
    pairs = _every_source(view)
    if label_view is not None:
        for name, (samples, rows) in _every_source(label_view).items():
            pairs[name] = _merged(pairs.get(name), samples, rows)
    return Owners(n, pairs, view, label_view)


def plain_owners(n: int, source_id: str | None) -> Owners:
    """Make each of `n` samples the row of the same number of a source of which nothing else is known."""
    every = np.arange(n, dtype=np.int64)
    return Owners(n, {source_id or "X_train": (every, every)})


def _every_source(view: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Give the row pairs of all sources behind a value, those of which no row is left included."""
    none = np.empty(0, dtype=np.int64)
    return dict.fromkeys(view.sources(), (none, none)) | view.row_pairs()


def _merged(
    known: tuple[np.ndarray, np.ndarray] | None, samples: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if known is None:
        return samples, rows
    if np.array_equal(known[0], samples) and np.array_equal(known[1], rows):
        return known
    both = np.unique(np.stack([np.concatenate([known[0], samples]), np.concatenate([known[1], rows])], axis=1), axis=0)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])
