"""Arrays that carry their verdict."""

from __future__ import annotations

from typing import Any

import numpy as np


class Scores(np.ndarray):
    """A float32 array with `.verdict` ("exact", "certified", "estimated", "refused") and `.why`, a sentence.

    Parts of it keep both; `np.asarray` gives the plain array.
    """

    verdict: str
    why: str

    @classmethod
    def of(cls, values: np.ndarray, verdict: str, why: str) -> Scores:
        """Attach a verdict; refused ones become NaN."""
        if verdict == "refused":
            values = np.full_like(values, np.nan)
        scores = values.view(cls)
        scores.verdict, scores.why = verdict, why
        return scores

    def __array_finalize__(self, parent: Any) -> None:
        self.verdict = getattr(parent, "verdict", "estimated")
        self.why = getattr(parent, "why", "computed from scores")

    def __reduce__(self) -> Any:
        """Travel as a plain array: a verdict without its model says nothing."""
        return np.asarray(self).__reduce__()
