"""What an op is: a name, and one small rule per meaning.

Typing and lineage are rules of the structural op; the library function that computes it (`numpy.mean`) is its payload
and has no rules of its own. A new interpreter of programs is one new table of rules, keyed by these definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from traceprop.ir.graph import Op, Program
    from traceprop.ir.index_map import Read
    from traceprop.ir.types import Type

Payload = Literal["needed", "optional", "never"]
TypeRule = Callable[["Signature"], "Type"]
LineageRule = Callable[["Op"], "Sequence[Read]"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a type rule sees: operand types, attributes, the dtype that the payload gives (`None`: the operand's), bodies."""

    operands: tuple[Type, ...]
    attrs: dict[str, Any]
    dtype: str | None
    regions: tuple[Program, ...] = ()


@dataclass(eq=False, slots=True)
class OpDef:
    """A structural op. `payload` says whether it names a library function; `effect`, that it has no result to use;
    `bodies`, that it has regions, whose maps then say (`exactness`) whether its own names no more than what is read.
    """

    name: str
    doc: str
    payload: Payload = "optional"
    effect: bool = False
    bodies: bool = False
    type_rule: TypeRule | None = field(default=None, repr=False)
    lineage: LineageRule | None = field(default=None, repr=False)
    exactness: Callable[[Op], bool] | None = field(default=None, repr=False)

    def types(self, rule: TypeRule) -> TypeRule:
        """Decorator: the rule that gives the result's type; it raises `TypeRuleError` for operands that don't fit."""
        self.type_rule = rule
        return rule

    def reads(self, rule: LineageRule) -> LineageRule:
        """Decorator: the rule that gives the index map."""
        self.lineage = rule
        return rule

    def __str__(self) -> str:
        return self.name
