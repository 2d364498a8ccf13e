"""Scores of one outcome, told as rows of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import LineageError, MissingExtraError, RefusedError
from traceprop.explain.scores import Scores
from traceprop.passes.kernels.dispatch import topk
from traceprop.training.owners import Owners

if TYPE_CHECKING:
    import pandas


class AttributionResult:
    """How much each training row raises one outcome: what `engine.explain` and `engine.attribute` give.

    Attributes
    ----------
    scores
        float32 (n,) with `.verdict` and `.why`: positive where the training row raises the outcome.
    verdict, why
        Of the scores. Where the verdict is "refused", every question below raises RefusedError with the reason.
    """

    def __init__(self, scores: Scores, owners: Owners, top_k: int) -> None:
        if top_k < 0:
            raise ValueError(f"top_k must not be negative, not {top_k}")
        self.scores = scores
        self.top_k = top_k
        self._owners = owners

    @property
    def verdict(self) -> str:
        """One of "exact", "estimated" and "refused"."""
        return self.scores.verdict

    @property
    def why(self) -> str:
        """The reason for the verdict, in a sentence."""
        return self.scores.why

    def __repr__(self) -> str:
        return f"AttributionResult({len(self.scores)} training rows, {self.verdict}: {self.why})"

    def top(self, k: int | None = None) -> list[dict[str, Any]]:
        """Give the `k` rows that raise the outcome most, the strongest first; by default `top_k` of them.

        Each is a dict: rank (from 0), influence_score, source_id, row (of the source, from 0), file, line (of the file,
        from 1) and its text, sample_index (the training row), and owners: all (source_id, row) behind that training
        row, of which source_id and row are the first. Where a source is no file, file, line and text are None.
        """
        return self._entries(topk(self._answered(), self._count(k)))

    def most_harmful(self, k: int | None = None) -> list[dict[str, Any]]:
        """Give the `k` rows that lower the outcome most, as `top` does; their scores are negative."""
        return self._entries(topk(-self._answered(), self._count(k)))

    def by_source(self) -> dict[str, float]:
        """Sum the scores of the training rows of each source; a row of several sources counts for each of them."""
        scores = self._answered().astype(np.float64)
        return {
            source_id: float(scores[np.unique(samples)].sum()) for source_id, (samples, _) in self._owners.pairs.items()
        }

    def by_op(self) -> dict[str, float]:
        """Sum the scores of the training rows that went through each step: `{"name at file.py:line": sum}`, in order.

        Features are held fixed, so this tells whose rows a step handled, and not what the step itself changed.
        """
        scores = self._answered().astype(np.float64)
        through: dict[str, np.ndarray] = {}
        for source_id, (samples, _) in self._owners.pairs.items():
            for step in self._steps(source_id):
                name = f"{step.name} at {step.location}" if step.location else step.name
                through.setdefault(name, np.zeros(len(scores), dtype=np.bool_))[samples] = True
        order = [f"{step.name} at {step.location}" if step.location else step.name for step in self._steps(None)]
        return {name: float(scores[through[name]].sum()) for name in dict.fromkeys(order) if name in through}

    def trace_to_file(self, rank: int = 0, harmful: bool = False) -> dict[str, Any]:
        """Follow one entry of `top`, or of `most_harmful`, down to its file and up to the model.

        A dict: rank, influence_score, source_id, row, path, line and text (None where the source is no file),
        sample_index, and ops: the steps from that source to the training data, in order, as dicts of name, location
        (`file.py:line` of the user's code) and inputs.

        Raises
        ------
        LineageError
            There is no entry of that rank.
        """
        scores = self._answered()
        if not 0 <= rank < len(scores):
            raise LineageError(f"rank {rank} is out of range: there are {len(scores)} training rows, ranked from 0")
        entry = (self.most_harmful if harmful else self.top)(rank + 1)[rank]
        steps = self._steps(entry["source_id"])
        return {
            "rank": rank,
            "influence_score": entry["influence_score"],
            "source_id": entry["source_id"],
            "row": entry["row"],
            "path": entry["file"],
            "line": entry["line"],
            "text": entry["text"],
            "sample_index": entry["sample_index"],
            "ops": [{"name": step.name, "location": step.location, "inputs": list(step.inputs)} for step in steps],
        }

    def to_pandas(self, k: int | None = None) -> pandas.DataFrame:
        """Give `top(k)` as a data frame; `k=len(result.scores)` ranks every training row.

        Raises
        ------
        MissingExtraError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("to_pandas needs pandas: pip install 'traceprop[pandas]'") from None
        return pd.DataFrame(self.top(k), columns=list(_FIELDS))

    def _answered(self) -> np.ndarray:
        if self.verdict == "refused":
            raise RefusedError(f"there are no scores: {self.why}")
        return np.asarray(self.scores)

    def _count(self, k: int | None) -> int:
        return self.top_k if k is None else k

    def _entries(self, samples: np.ndarray) -> list[dict[str, Any]]:
        return entries(self._owners, samples, np.asarray(self.scores)[samples])

    def _steps(self, source_id: str | None) -> list[Any]:
        """List the steps to the training data that use a source, directly or through others; all of them for None."""
        if self._owners.view is None:
            return []
        steps = self._owners.view.ops()
        if source_id is None:
            return steps
        # What no step gives and no source is comes from an earlier program: it may well hold the source's rows.
        made = {step.output for step in steps} | set(self._owners.view.sources())
        reached = {source_id} | {name for step in steps for name in step.inputs if name not in made}
        kept = []
        for step in steps:
            if reached.intersection(step.inputs):
                reached.add(step.output)
                kept.append(step)
        return kept


_FIELDS = ("rank", "influence_score", "source_id", "row", "file", "line", "text", "sample_index", "owners")


def entries(owners: Owners, samples: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Tell of ranked samples and their scores as `AttributionResult.top` does."""
    behind_each = [owners.rows_of(int(sample)) for sample in samples]
    places = _places(owners, [behind[0] for behind in behind_each if behind])
    found = []
    for rank, (sample, score, behind) in enumerate(zip(samples, scores, behind_each, strict=True)):
        source_id, row = behind[0] if behind else (None, None)
        path, line, text = places.get((source_id, row), (None, None, None))
        values = (rank, float(score), source_id, row, path, line, text, int(sample), behind)
        found.append(dict(zip(_FIELDS, values, strict=True)))
    return found


def _places(owners: Owners, rows: list[tuple[str, int]]) -> dict[Any, tuple[Any, Any, Any]]:
    """Read path, line and text of source rows, each file once."""
    found: dict[Any, tuple[Any, Any, Any]] = {}
    if owners.view is None:
        return found
    for source_id in dict.fromkeys(source_id for source_id, _ in rows):
        wanted = sorted({row for name, row in rows if name == source_id})
        for place in owners.source(source_id).describe_rows(np.array(wanted, dtype=np.int64)):
            found[source_id, place.row] = (place.path, place.line, place.text)
    return found
