"""Which folds over rows can be made of folds of parts, and how each is called."""

from __future__ import annotations

from collections.abc import Mapping

from traceprop.ir.graph import Op, Value
from traceprop.ir.index_map import Full
from traceprop.ir.opset import contract, reduce, segment
from traceprop.ir.types import ArrayType

_PLAIN = {"axes", "keepdims", "dtype"}
_SPREAD = _PLAIN | {"ddof", "correction"}

REDUCTIONS: dict[str, tuple[str, set[str]]] = {
    **dict.fromkeys(("numpy.sum", "numpy.add.reduce"), ("sum", _PLAIN)),
    "numpy.nansum": ("nansum", _PLAIN),
    **dict.fromkeys(("numpy.prod", "numpy.multiply.reduce"), ("prod", _PLAIN)),
    "numpy.nanprod": ("nanprod", _PLAIN),
    "numpy.count_nonzero": ("count_nonzero", _PLAIN),
    **dict.fromkeys(("numpy.any", "numpy.logical_or.reduce"), ("any", _PLAIN)),
    **dict.fromkeys(("numpy.all", "numpy.logical_and.reduce"), ("all", _PLAIN)),
    **dict.fromkeys(("numpy.min", "numpy.amin", "numpy.minimum.reduce"), ("min", _PLAIN)),
    **dict.fromkeys(("numpy.max", "numpy.amax", "numpy.maximum.reduce"), ("max", _PLAIN)),
    "numpy.nanmin": ("nanmin", _PLAIN),
    "numpy.nanmax": ("nanmax", _PLAIN),
    "numpy.ptp": ("ptp", _PLAIN),
    "numpy.mean": ("mean", _PLAIN),
    "numpy.var": ("var", _SPREAD),
    "numpy.std": ("std", _SPREAD),
    "numpy.nanmean": ("nanmean", _PLAIN),
    "numpy.nanvar": ("nanvar", _SPREAD),
    "numpy.nanstd": ("nanstd", _SPREAD),
    "table.mean": ("nanmean", {"axes"}),
    "table.vocabulary": ("vocabulary", {"axes", "size"}),
    "table.terms": ("vocabulary", {"axes", "size"}),
}
"""For the payload of a reduction its form, and the attributes that the form knows."""

GROUPS = {
    f"table.group_{name}": f"group_{name}"
    for name in ("sum", "count", "len", "mean", "var", "std", "min", "max", "first", "last", "n_unique", "keys")
}

TIMES = ("date", "datetime", "days", "duration")
_ORDERED = ("min", "max")


def form_of(op: Op) -> str | None:
    """How parts are folded: the name of a form in `traceprop.runtime.partials.FORMS`; `None` for what needs all rows at once.

    Medians, quantiles and modes are exact of all rows only, so they are none of these.
    """
    if op.native is not None or not op.exact:
        return None
    if op.definition is contract:
        return "total"
    if op.definition is segment:
        return GROUPS.get(op.payload or "")
    if op.definition is not reduce or op.payload not in REDUCTIONS:
        return None
    form, attrs = REDUCTIONS[op.payload]
    operand = op.operands[0].type
    if not set(op.attrs) <= attrs or not isinstance(operand, ArrayType):
        return None
    if form == "vocabulary" or operand.dtype[0] in "fiubc" and operand.dtype not in TIMES:
        return form
    return form if form in _ORDERED and operand.dtype in TIMES else None


def sums_rows(op: Op, rows: Mapping[Value, int]) -> bool:
    """Whether the op folds the rows of all its operands that have some (`rows`: along which axis), and folds them together."""
    if op.definition is segment:
        return all(rows.get(operand) == 0 for operand in op.operands)
    if op.definition is not contract:
        return all(isinstance(read.axes[rows[read.operand]], Full) for read in op.reads if read.operand in rows)
    terms, result = op.attrs["spec"].split("->")
    folded = {
        term[rows[operand]] for term, operand in zip(terms.split(","), op.operands, strict=True) if operand in rows
    }
    if len(folded) != 1 or folded & set(result):
        return False
    letter = folded.pop()  # no other operand may have the letter: its rows would be all of them
    return all(
        letter not in term[: rows[operand]] + term[rows[operand] + 1 :] if operand in rows else letter not in term
        for term, operand in zip(terms.split(","), op.operands, strict=True)
    )
