"""What is known of one function: how it was traced, and where it falls short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OUTCOMES = ("exact", "inexact", "refused", "wrong")


@dataclass(frozen=True)
class Finding:
    """The worst outcome of a function's cases, why, and how many of its cases are exact."""

    outcome: str
    why: str
    exact: int
    cases: int
    parts: Mapping[str, str] = field(default_factory=dict)
    """What the function is made of, and why one is not exact, where that is counted besides."""

    def as_dict(self) -> dict[str, Any]:
        found = {"outcome": self.outcome, "why": self.why, "exact": self.exact, "cases": self.cases}
        return {**found, "parts": dict(self.parts)} if self.parts else found


def worst(verdicts: Iterable[tuple[str, str, str]], parts: Mapping[str, str] | None = None) -> Finding:
    """The finding of several (case, outcome, why)."""
    listed = list(verdicts)
    case, outcome, why = max(listed, key=lambda each: OUTCOMES.index(each[1]))
    exact = sum(each[1] == "exact" for each in listed)
    shown = f"{case}: {why}" if why and case and len(listed) > 1 else why
    return Finding(outcome, shown, exact, len(listed), parts or {})
