"""Loops and branches: both branches and a choice, turns of a loop written out, or a coarse map."""

from __future__ import annotations

from traceprop.tracing.jaxpr.graph import Handler

HANDLERS: dict[str, Handler] = {}
