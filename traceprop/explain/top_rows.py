"""The strongest training rows of many test rows, found without the matrix of all scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from traceprop.errors import ModelError, RefusedError
from traceprop.explain.estimators import Found
from traceprop.explain.result import entries
from traceprop.explain.scores import Scores
from traceprop.passes.kernels.dispatch import topk
from traceprop.runtime.progress import progress
from traceprop.training.owners import Owners

SCORES = 1 << 24
"""Scores that are there at a time: 64 MiB."""

_TRUST = ("exact", "certified", "estimated", "refused")


class TopRows:
    """What `engine.top_k` gives: of each test row the k training rows that raise its outcome most, or lower it most.

    Attributes
    ----------
    scores
        float32 (t, k), the strongest first; NaN where the verdict is "refused".
    samples
        int64 (t, k): positions of the training rows.
    verdict, why
        The least certain of all test rows, and why.
    """

    def __init__(self, scores: np.ndarray, samples: np.ndarray, verdict: str, why: str, owners: Owners) -> None:
        self.scores = Scores.of(scores, verdict, why)
        self.samples = samples
        self._owners = owners

    @property
    def verdict(self) -> str:
        """One of "exact", "estimated" and "refused"."""
        return self.scores.verdict

    @property
    def why(self) -> str:
        """The reason for the verdict, in a sentence."""
        return self.scores.why

    def __len__(self) -> int:
        """Give the number of test rows."""
        return len(self.scores)

    def __repr__(self) -> str:
        return f"TopRows({self.scores.shape[1]} rows for each of {len(self)} test rows, {self.verdict}: {self.why})"

    def __getitem__(self, test_row: int) -> list[dict[str, Any]]:
        """Give the rows of one test row as `AttributionResult.top` does: with source_id, row, file, line and text."""
        if self.verdict == "refused":
            raise RefusedError(f"there are no scores: {self.why}")
        return entries(self._owners, self.samples[test_row], np.asarray(self.scores[test_row]))

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return (self[test_row] for test_row in range(len(self)))


def checked_count(k: Any, n: int) -> int:
    """How many rows there are to find: at most all of them."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ModelError(f"k is how many training rows to find, at least 1, not {k!r}")
    return min(int(k), n)


def in_parts(
    score: Callable[[slice], Found], tests: int, n: int, k: int, sign: int
) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Score a few test rows at a time, and keep the k largest of `sign` times the scores of each.

    Gives scores and samples (t, k), with the least certain verdict and its reason.
    """
    step = max(1, SCORES // max(n, 1))
    scores, samples = np.empty((tests, k), dtype=np.float32), np.empty((tests, k), dtype=np.int64)
    verdict, why = "exact", "there are no test rows"
    with progress("top rows", tests) as advance:
        for start in range(0, tests, step):
            part = slice(start, min(start + step, tests))
            found, how, reason = score(part)
            if start == 0 or _TRUST.index(how) > _TRUST.index(verdict):
                verdict, why = how, reason
            if how == "refused":
                scores[:], samples[:] = np.nan, -1
                break
            found = np.asarray(found)
            samples[part] = topk(found if sign > 0 else -found, k)
            scores[part] = np.take_along_axis(found, samples[part], axis=1)
            advance(part.stop - part.start)
    return scores, samples, verdict, why
