"""Who uses a value."""

from __future__ import annotations

from collections import Counter

from traceprop.ir.graph import Program, Value


def use_counts(program: Program) -> Counter[Value]:
    """How many ops take each value, records among them, and one more for each time that it is returned."""
    counts: Counter[Value] = Counter(program.returns)
    for op in program.ops:
        counts.update(dict.fromkeys(op.operands, 1))
    return counts
