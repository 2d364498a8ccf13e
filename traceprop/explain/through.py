"""Arguments that attribution and unlearning share."""

from __future__ import annotations

from traceprop.errors import ModelError


def check_through(through: str | None) -> bool:
    """Tell whether the pipeline is to be followed. Raises ModelError for what is none of the three."""
    if through not in (None, "features", "pipeline"):
        raise ModelError(f"through is None, 'features' or 'pipeline', not {through!r}")
    return through == "pipeline"
