"""Which ops each ATen call is: one file per family, and `calls.values`, which looks a call up in their tables."""

from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.calls import values
from traceprop.tracing.aten.graph import Graph

__all__ = ["Aten", "Graph", "values"]
