"""Where values came from, and what came of source rows."""

from traceprop.lineage.view import Step, View, provenance
from traceprop.sources import Location

__all__ = ["Location", "Step", "View", "provenance"]
