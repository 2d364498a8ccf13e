"""Arguments that attribution and unlearning share."""

from __future__ import annotations

from traceprop.errors import ModelError


def check_through(through: str | None) -> None:
    """Raise ModelError unless features are to be held fixed, which is what None means in this version."""
    if through == "pipeline":
        raise ModelError(
            "through='pipeline' is not in this version: a removed row's effect on means, encodings and other fitted "
            "statistics, and so on all other rows' features, is not followed; through='features' holds them fixed"
        )
    if through not in (None, "features"):
        raise ModelError(f"through is None, 'features' or 'pipeline', not {through!r}")
