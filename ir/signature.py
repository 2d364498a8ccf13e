"""What an op's types and index map follow from: ops that share it are checked, and their maps are written out, once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from traceprop.ir.graph import Op


def signature(op: Op) -> Hashable | None:
    """A key that two ops share only if they differ in nothing but names, payload, line and values of the same types.

    `None` for an op with bodies, for a constant (whose content is its type) and for attributes that have no key.
    """
    if op.regions or not op.operands:
        return None
    operands = op.operands
    same = None if len(set(operands)) == len(operands) else tuple(map(operands.index, operands))
    own_rule = None if op.definition.lineage is not None or op.rule is None else id(op.rule)  # alive with its op
    key = (op.definition, own_rule, same, op.result.type, *[value.type for value in operands], *_attrs(op.attrs))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _attrs(attrs: dict[str, Any]) -> list[tuple[str, type, Any]]:
    return [(name, type(value), value) for name, value in attrs.items()]
