"""What must hold of every program, one function per invariant. Passes take verified programs and give verified ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NoReturn

import numpy as np

from traceprop.errors import IRError, VerifyError
from traceprop.ir.bodies import number_of_bodies, what_bodies_give, what_bodies_take
from traceprop.ir.dump import attr_text, op_text
from traceprop.ir.expr import Dim, Expr, symbol, symbols_of
from traceprop.ir.graph import Op, Param, Program, Value, payload_dtype
from traceprop.ir.index_map import AXIS_NAMES, Bound, Full, Look, Members, Read, Span
from traceprop.ir.ops import Signature
from traceprop.ir.opset import group, iota, opaque
from traceprop.ir.signature import signature
from traceprop.ir.types import ArrayType, TableType, Type

_AXES = {name: position for position, name in enumerate(AXIS_NAMES)}
# What a rule may trip over when operands or attributes are not what it expects.
_RULE_FAILURES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, StopIteration)


def verify(program: Program, bodies: bool = True) -> None:
    """Checks every invariant. Raises `VerifyError` that names the op, its operand types and the user's line, with nearby IR.

    Without `bodies` those of ops, which are programs themselves, are taken to have been verified.
    """
    checked = _Checked(program)
    for invariant in INVARIANTS:
        if bodies or invariant is not bodies_are_programs:
            invariant(checked)


@dataclass
class _Checked:
    """A program with what several invariants look up."""

    program: Program

    @cached_property
    def names(self) -> _Names:
        return _Names(self.program)

    @cached_property
    def kinds(self) -> list[Op]:
        """The first op of each signature, for what follows from it."""
        first: dict[Hashable, Op] = {}
        return [op for op in self.program.ops if (key := signature(op)) is None or first.setdefault(key, op) is op]

    def fail(self, message: str, op: Op | None = None) -> NoReturn:
        """Raises a `VerifyError` about an op, or about the program's head."""
        subject = f"func @{self.program.name}"
        if op is not None:
            types = ", ".join(str(value.type) for value in op.operands)
            where = f" at {op.location}" if op.location else ""
            subject = f"{op.label}({types}){where}"
        raise VerifyError(f"{subject}: {message}\n{self._nearby(op)}".rstrip(), op)

    def _nearby(self, op: Op | None) -> str:
        ops = self.program.ops
        at = next((k for k, other in enumerate(ops) if other is op), None)
        if at is None:
            return ""
        first = max(0, at - 2)
        return "\n".join(
            f"{'>' if k == at else ' '} {_shown(other, self.names)}"
            for k, other in enumerate(ops[first : at + 3], first)
        )


class _Names(dict[Value, str]):
    """Names for printing broken programs: a value that is defined nowhere prints as `%?`."""

    def __init__(self, program: Program) -> None:
        super().__init__({param: f"%{param.name}" for param in program.params})
        results = (op.result for op in program.ops if not op.definition.effect)
        for number, value in enumerate(results):
            self.setdefault(value, f"%{number}")

    def __missing__(self, value: Value) -> str:
        return "%?"


def _shown(op: Op, names: _Names) -> str:
    try:
        return op_text(op, names, locations=True)
    except TypeError:
        return f"{names[op.result]}: {op.result.type} = {op.label}(…)"


# -- names and order --------------------------------------------------------------------------------------------------


def parameters_have_names_of_their_own(checked: _Checked) -> None:
    seen: set[str] = set()
    for param in checked.program.params:
        if not isinstance(param, Param):
            checked.fail("a parameter is no Param")
        if not param.name or param.name.isdecimal():
            checked.fail(f"a parameter cannot be called {param.name!r}")
        if param.name in seen:
            checked.fail(f"two parameters are called %{param.name}")
        seen.add(param.name)


def operands_are_defined_before_use(checked: _Checked) -> None:
    defined: set[Value] = set(checked.program.params)
    for op in checked.program.ops:
        for position, operand in enumerate(op.operands):
            if operand not in defined:
                known = operand in checked.names
                where = f"{checked.names[operand]} is used before it is defined" if known else "is not of this program"
                checked.fail(f"operand {position} {where}" if not known else where, op)
        if op.result in defined:
            checked.fail("the op stands in the program twice", op)
        if op.result.op is not op:
            checked.fail("its result says that another op defines it", op)
        defined.add(op.result)


def returned_values_are_defined(checked: _Checked) -> None:
    defined: set[Value] = {*checked.program.params, *(op.result for op in checked.program.ops)}
    for position, value in enumerate(checked.program.returns):
        if value not in defined:
            checked.fail(f"returned value {position} ({value.type}) is not of this program")


def effects_give_nothing(checked: _Checked) -> None:
    effects = {op.result for op in checked.program.ops if op.definition.effect}
    for op in checked.program.ops:
        if not effects.isdisjoint(op.operands):
            checked.fail("an operand is the result of an op that has none", op)
    if not effects.isdisjoint(checked.program.returns):
        checked.fail("a returned value is the result of an op that has none")


# -- ops --------------------------------------------------------------------------------------------------------------


def payloads_are_where_ops_need_them(checked: _Checked) -> None:
    for op in checked.program.ops:
        if op.definition.payload == "needed" and not op.payload:
            checked.fail("needs the function that computes it in brackets", op)
        if op.definition.payload == "never" and op.payload:
            checked.fail("takes no function in brackets", op)


def attributes_can_be_printed(checked: _Checked) -> None:
    for op in checked.kinds:
        for name, value in op.attrs.items():
            if not name.isidentifier():
                checked.fail(f"{name!r} is no name for an attribute", op)
            if name == "value" and op.definition.name == "constant" and isinstance(value, np.ndarray):
                continue
            try:
                attr_text(value)
            except TypeError as error:
                checked.fail(f"attribute {name}: {error}", op)


def types_follow_rules(checked: _Checked) -> None:
    for op in checked.kinds:
        rule = op.definition.type_rule
        if rule is None:
            checked.fail("has no type rule", op)
        types = tuple(value.type for value in op.operands)
        try:
            expected = rule(Signature(types, op.attrs, payload_dtype(op.result.type), op.regions))
        except IRError as error:
            checked.fail(str(error), op)
        except _RULE_FAILURES as error:
            checked.fail(f"the operands or attributes do not fit ({type(error).__name__}: {error})", op)
        if expected != op.result.type:
            checked.fail(f"the result is {op.result.type}, but the type rule gives {expected}", op)


# -- bodies -----------------------------------------------------------------------------------------------------------


def bodies_are_where_ops_need_them(checked: _Checked) -> None:
    for op in checked.program.ops:
        if op.regions and not op.definition.bodies:
            checked.fail("takes no bodies", op)
        for problem in number_of_bodies(str(op.definition), op.attrs, op.regions) if op.definition.bodies else ():
            checked.fail(problem, op)


def bodies_see_only_their_parameters(checked: _Checked) -> None:
    """What a body needs comes in as an operand, from the sources too; what it computes goes out as a result alone."""
    for op in checked.program.ops:
        for region in op.regions:
            seen = set(region.values)
            for inner in region.ops:
                if not seen.issuperset(inner.operands):
                    checked.fail(
                        f"{inner.label} in @{region.name} reads a value from outside, which is no parameter", op
                    )
                if inner.definition.effect:
                    checked.fail(f"{inner.label} in @{region.name} has an effect, and a body has none", op)
            if not seen.issuperset(region.returns):
                checked.fail(f"@{region.name} gives a value from outside, which is no parameter", op)
            for param in region.params:
                if param.source is not None or param.fitted:
                    checked.fail(f"%{param.name} of @{region.name} is a source, which enters as an operand", op)


def bodies_take_the_operands(checked: _Checked) -> None:
    for op in checked.program.ops:
        types = [value.type for value in op.operands]
        for problem in _problems(checked, op, what_bodies_take, types):
            checked.fail(problem, op)


def bodies_give_what_goes_on(checked: _Checked) -> None:
    for op in checked.program.ops:
        types = [value.type for value in op.operands]
        for problem in _problems(checked, op, what_bodies_give, types):
            checked.fail(problem, op)


def _problems(checked: _Checked, op: Op, rule: Callable[..., Iterator[str]], types: list[Type]) -> list[str]:
    try:
        return list(rule(str(op.definition), op.attrs, types, op.regions)) if op.regions else []
    except IRError as error:
        checked.fail(str(error), op)


def bodies_are_programs(checked: _Checked) -> None:
    for op in checked.program.ops:
        for region in op.regions:
            verify(region)


# -- sizes ------------------------------------------------------------------------------------------------------------


def sizes_are_known(checked: _Checked) -> None:
    """A symbol in a type comes from a parameter's type, from the `size` that the data gives an op, or from
    the result of an `opaque` op, at or before it."""
    known: set[str] = set()
    for param in checked.program.params:
        known |= _symbols(param.type)
    for name in sorted(known & _AXES.keys()):
        checked.fail(f"the size {name} has the name of an axis; sizes begin with a capital letter")
    for op in checked.program.ops:
        size = op.attrs.get("groups" if op.definition is group else "size")
        if isinstance(size, Expr) and op.definition is not iota:
            known |= symbols_of(size) - _AXES.keys()
        if op.definition is opaque:  # a whole dim that only the call knows
            known |= {str(dim) for dim in op.result.type.dims if isinstance(dim, Expr) and dim == symbol(str(dim))}
        unknown = sorted(_symbols(op.result.type) - known)
        if unknown:
            checked.fail(f"nothing at or before it says what the size {unknown[0]} is", op)


@lru_cache(maxsize=4096)
def _symbols(type: Type) -> frozenset[str]:
    names: frozenset[str] = frozenset().union(*map(symbols_of, type.dims))
    if isinstance(type, TableType):
        names |= frozenset().union(*(symbols_of(field.columns) for field in type.fields))
    return names


# -- index maps -------------------------------------------------------------------------------------------------------


def maps_fit(checked: _Checked) -> None:
    """Ranks and domains of index maps, read by read."""
    for op in checked.kinds:
        if op.definition.effect:
            continue
        try:
            reads = op.reads
        except _RULE_FAILURES as error:
            checked.fail(f"its index map cannot be made ({type(error).__name__}: {error})", op)
        for read in reads:
            for problem in _read_problems(op, read):
                checked.fail(f"index map: {problem}", op)


def _read_problems(op: Op, read: Read) -> Iterator[str]:
    rank = op.result.rank
    if read.operand not in op.operands:
        yield "reads a value that is no operand"
    if len(read.axes) != read.operand.rank:
        yield f"has {len(read.axes)} places for the {read.operand.rank} axes of {read.operand.type}"
    for place in read.axes:
        match place:
            case Full():
                continue
            case Span(lo, hi, step):
                if step < 1:
                    yield f"the range {place} has a step below one"
                dims: tuple[Dim, ...] = (lo, hi)
            case Look(index, at):
                yield from _look_problems(op, index, len(at))
                dims = at
            case Members(index, number):
                yield from _look_problems(op, index, 1)
                dims = (number,)
            case _:
                dims = (place,)
        yield from _axis_problems(dims, rank)
    yield from _bound_problems(read.where, rank)


def _look_problems(op: Op, index: Value, places: int) -> Iterator[str]:
    if index is not op.result and index not in op.operands:
        yield "looks up positions in a value that is neither an operand nor the result"
    if not isinstance(index.type, ArrayType) or index.type.dtype[0] not in "iu":
        yield f"looks up positions in {index.type}, which holds no integers"
    elif index.rank != places:
        yield f"looks up one position of {index.type} by {places} indices"


def _axis_problems(dims: tuple[Dim, ...], rank: int) -> Iterator[str]:
    for dim in dims:
        for name in sorted(symbols_of(dim)):
            if _AXES.get(name, -1) >= rank:
                yield f"speaks of axis {name}, but the result has {rank} axes"


def _bound_problems(where: tuple[Bound, ...], rank: int) -> Iterator[str]:
    for bound in where:
        if not 0 <= bound.axis < rank:
            yield f"bounds axis {bound.axis}, but the result has {rank} axes"
        elif bound.lo is None and bound.hi is None:
            yield f"a bound on axis {bound.axis} bounds nothing"
        yield from _axis_problems(tuple(dim for dim in (bound.lo, bound.hi) if dim is not None), rank)
    if len({bound.axis for bound in where}) < len(where):
        yield "bounds an axis twice"


INVARIANTS: tuple[Callable[[_Checked], None], ...] = (
    parameters_have_names_of_their_own,
    operands_are_defined_before_use,
    returned_values_are_defined,
    effects_give_nothing,
    payloads_are_where_ops_need_them,
    attributes_can_be_printed,
    bodies_are_where_ops_need_them,
    bodies_see_only_their_parameters,
    bodies_take_the_operands,
    bodies_give_what_goes_on,
    bodies_are_programs,
    types_follow_rules,
    sizes_are_known,
    maps_fit,
)
