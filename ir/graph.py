"""Programs: values in SSA form, the ops that define them, and the function around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from typing import Any

from traceprop.errors import DimMismatchError, TypeRuleError
from traceprop.ir.index_map import Full, Read
from traceprop.ir.location import Location
from traceprop.ir.ops import LineageRule, OpDef, Signature
from traceprop.ir.types import ArrayType, Type


class Value:
    """What an op or the caller defines, once. It stores no number: values are numbered where they are printed."""

    __slots__ = ("__weakref__", "op", "type")

    def __init__(self, type: Type, op: Op | None = None) -> None:
        self.type = type
        self.op = op

    @property
    def rank(self) -> int:
        return len(self.type.dims)

    def __repr__(self) -> str:
        return f"<{self.type}{f' = {self.op.label}' if self.op else ''}>"


class Param(Value):
    """A value that the caller gives: a source, or (`fitted`) a statistic that an earlier run of the program found."""

    __slots__ = ("fitted", "name", "source")

    def __init__(self, name: str, type: Type, source: str | None = None, fitted: bool = False) -> None:
        super().__init__(type)
        self.name = name
        self.source = source
        self.fitted = fitted

    def __repr__(self) -> str:
        return f"<%{self.name}: {self.type}>"


class Op:
    """One step: a structural op, the library function that computes it, its operands and attributes, and its result.

    `rule` is the index map of this op alone, for structural ops that have none (`opaque`). `native` is the framework's own
    call, operands in, result out, for payloads whose arguments have no text; a program read from text has none.
    `regions` are the bodies of a `loop` or `branch`: programs of their own, which see nothing but their parameters.
    """

    def __init__(
        self,
        definition: OpDef,
        operands: Sequence[Value],
        attrs: Mapping[str, Any] | None = None,
        payload: str | None = None,
        dtype: str | None = None,
        location: Location | None = None,
        rule: LineageRule | None = None,
        native: Callable[..., Any] | None = None,
        regions: Sequence[Program] = (),
    ) -> None:
        self.native = native
        self.definition = definition
        self.regions = tuple(regions)
        self.operands = tuple(operands)
        self.attrs = dict(attrs or {})
        self.payload = payload
        self.location = location
        self.rule = definition.lineage or rule
        if definition.type_rule is None:
            raise TypeRuleError(f"{definition} has no type rule")
        try:
            types = tuple(value.type for value in self.operands)
            type = definition.type_rule(Signature(types, self.attrs, dtype, self.regions))
        except TypeRuleError as error:
            where = f" at {location}" if location else ""
            message = f"{self.label}({', '.join(map(str, types))}){where}: {error}"
            if isinstance(error, DimMismatchError):
                raise DimMismatchError(message, error.left, error.right) from None
            raise TypeRuleError(message) from None
        self.result = Value(type, self)

    @property
    def label(self) -> str:
        """The op as it prints: `reduce[numpy.mean]`."""
        return f"{self.definition}[{self.payload}]" if self.payload else self.definition.name

    @property
    def exact(self) -> bool:
        """Whether the op's index map names no more than what is read: it has a rule, and not one that says otherwise."""
        if self.definition.exactness is not None:
            return self.definition.exactness(self)
        return self.rule is not None and getattr(self.rule, "exact", True)

    def with_operands(self, operands: Sequence[Value]) -> Op:
        """The same op over other operands of fitting types."""
        return self._again(operands, self.regions)

    def with_regions(self, regions: Sequence[Program]) -> Op:
        """The same op around other bodies, of the same types and values."""
        return self._again(self.operands, regions)

    def _again(self, operands: Sequence[Value], regions: Sequence[Program]) -> Op:
        dtype = payload_dtype(self.result.type)
        return Op(
            self.definition, operands, self.attrs, self.payload, dtype, self.location, self.rule, self.native, regions
        )

    @cached_property
    def reads(self) -> tuple[Read, ...]:
        """The op's index map; without a rule, every result cell may read every operand cell."""
        return tuple(self.rule(self)) if self.rule else full_map(self)

    def __repr__(self) -> str:
        return f"<{self.label} -> {self.result.type}>"


def full_map(op: Op) -> tuple[Read, ...]:
    """Every result cell may read every operand cell: what is said of an op that nothing is known about."""
    return tuple(Read(value, (Full(),) * value.rank) for value in op.operands)


def payload_dtype(result: Type) -> str | None:
    """The dtype that a result's type gives away: an array's, or that of a table which is one family of columns."""
    if isinstance(result, ArrayType):
        return result.dtype
    return result.fields[0].dtype if len(result.fields) == 1 else None


@dataclass(frozen=True, eq=False)
class Program:
    """A traced function: parameters (sources first), ops in an order that runs, and the values it returns.

    `memo` holds what was derived from the program (its text, its compiled form) and goes with it.
    """

    name: str
    params: tuple[Param, ...]
    ops: tuple[Op, ...]
    returns: tuple[Value, ...]
    memo: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of_values(cls, name: str, params: Iterable[Param], returns: Iterable[Value]) -> Program:
        """The program that computes some values of a graph: everything they need, operands first."""
        returns = tuple(returns)
        return cls(name, tuple(params), tuple(ops_behind(returns)), returns)

    @property
    def values(self) -> tuple[Value, ...]:
        """All values, in the order in which they are printed: parameters first."""
        return (*self.params, *(op.result for op in self.ops))

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def walk(self) -> Iterator[Op]:
        """All ops, each before those of its bodies."""
        for op in self.ops:
            yield op
            for region in op.regions:
                yield from region.walk()

    def __str__(self) -> str:
        if "text" not in self.memo:
            from traceprop.ir.dump import dump

            self.memo["text"] = dump(self)
        return str(self.memo["text"])

    def to_mermaid(self) -> str:
        """The program as a Mermaid flowchart."""
        from traceprop.ir.pictures import to_mermaid

        return to_mermaid(self)

    def to_dot(self) -> str:
        """The program as a Graphviz digraph."""
        from traceprop.ir.pictures import to_dot

        return to_dot(self)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Writes a self-contained page on which clicking an op shows its type, index map and source line."""
        from traceprop.ir.page import to_html

        to_html(self, path)

    def _repr_html_(self) -> str:
        """In a notebook: the text, in colours."""
        from traceprop.ir.page import notebook_html

        return notebook_html(self)

    def __rich__(self) -> Any:
        """In a terminal, printed by rich: the text, in colours."""
        from traceprop.ir.page import rich_text

        return rich_text(str(self))

    def __eq__(self, other: object) -> bool:
        """Equal as texts: same names, types, ops, attributes, maps and locations. Constants compare by content."""
        return isinstance(other, Program) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def with_ops(self, ops: Iterable[Op], returns: Iterable[Value] | None = None) -> Program:
        """The same function around other ops."""
        return replace(self, ops=tuple(ops), returns=self.returns if returns is None else tuple(returns), memo={})


def ops_behind(values: Iterable[Value]) -> list[Op]:
    """Every op that some values need, operands before users, in a stable order; without recursion."""
    done: set[Op] = set()
    order: list[Op] = []
    stack = [(value.op, False) for value in reversed(list(values)) if value.op is not None]
    while stack:
        op, ready = stack.pop()
        if ready:
            order.append(op)
        elif op not in done:
            done.add(op)
            stack.append((op, True))
            stack.extend((v.op, False) for v in reversed(op.operands) if v.op is not None and v.op not in done)
    return order
