"""A segment in the generated code: op by op where it is small, and where it is large by the back end that was chosen for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from traceprop.ir import Dim, Op, Program, Value
from traceprop.ir.expr import product
from traceprop.ir.opset import constant
from traceprop.passes.optimize.fuse import is_rowed
from traceprop.passes.optimize.sweeps import Plan
from traceprop.runtime import blocks, xla
from traceprop.runtime.backends import Choice
from traceprop.runtime.blocked import sizes_of, write_blocked
from traceprop.runtime.chains import WORTH, is_chain

if TYPE_CHECKING:
    from traceprop.runtime.codegen import Writer


@dataclass(frozen=True)
class Note:
    """Which back end runs a segment from how many cells on, for `Executable.explain`."""

    ops: int
    location: str
    cells: Dim
    choice: Choice
    refusal: str
    small: int

    @property
    def by_xla(self) -> bool:
        return self.choice.xla and not self.refusal

    def __str__(self) -> str:
        said = f"{self.ops} ops at {self.location} over {self.cells} cells: op by op in NumPy below {self.small:,}"
        if isinstance(self.cells, int) and self.cells < self.small:
            return f"{said}, which they are"
        low, high, why = self.choice.xla_from, self.choice.xla_to, self.choice.why
        if self.by_xla:
            return f"{said}, compiled by XLA from {low:,} to {high:,} ({why}), in NumPy block by block otherwise"
        if self.choice.backend in ("numpy", "torch"):
            return f"{said}, block by block above (backend={self.choice.backend!r}: {why})"
        return f"{said}, block by block above (not by XLA: {self.refusal if self.choice.xla else why})"


def write_call(writer: Writer, ops: Sequence[Op], spent: Sequence[Value]) -> None:
    """The results of one segment; `spent` are the operands that nobody needs behind it."""
    body, operands = ops[0].regions[0], ops[0].operands
    plan = Plan.of(body)
    for op in ops:
        writer.names[op.result] = writer.fresh(writer.letter)
    named = {body.returns[op.attrs.get("result", 0)]: writer.names[op.result] for op in ops}
    lasting = [param for param, value in zip(body.params, operands, strict=True) if value not in spent]
    writer.names.update({param: writer.names[value] for param, value in zip(body.params, operands, strict=True)})
    cells = product(plan.widest.type.dims)
    steps = sum(op.definition is not constant for op in body.ops)
    where = dict.fromkeys(str(op.location or "an unknown line") for op in body.ops if op.operands)
    against = xla.refusal(body) or ("" if writer.choice.backend == "jax" else _loss(plan))
    by_xla = writer.choice.xla and not against
    small = _worth_blocks(plan, writer.choice)
    small = min(small, writer.choice.xla_from) if by_xla else small
    note = Note(steps, ", ".join(where), cells, writer.choice, against, small)
    writer.notes.append(note)
    if isinstance(cells, int) and cells < small:
        return writer.ops(body, lasting, named)
    arrays = ", ".join(writer.names[value] for value in operands if is_rowed(value, plan.rows))
    writer.scope["row_major"] = blocks.row_major
    with writer.under(f"if {cells} < {small} or not row_major({arrays}):"):
        writer.ops(body, lasting, named)
    if by_xla:
        writer.scope["may_run_xla"] = xla.may_run
        with writer.under(f"elif {writer.choice.xla_from} <= {cells} < {writer.choice.xla_to} and may_run_xla():"):
            _called(writer, ops[0], named, _by_xla(writer, body, plan.rows), [], spent)
    with writer.under("else:"):
        _called(writer, ops[0], named, _in_blocks(writer, plan), sizes_of(plan), spent)
    return None


def _is_arithmetic(plan: Plan) -> bool:
    return all(is_chain(sweep, plan.rows) for sweep in plan.sweeps if sweep.ops)


def _worth_blocks(plan: Plan, choice: Choice) -> int:
    """From how many cells on blocks pay: earlier for arithmetic, where the kernel takes a few microseconds to begin."""
    steps = sum(len(sweep.ops) for sweep in plan.sweeps)
    return min(choice.blocks_from, WORTH // max(1, steps)) if _is_arithmetic(plan) else choice.blocks_from


def _loss(plan: Plan) -> str:
    """Why XLA would take longer than NumPy in blocks, so that it only runs where it is asked for; nothing where it would not."""
    if _is_arithmetic(plan):
        return "arithmetic is sooner done by the kernel for chains"
    return xla.loss(plan.body)


def _called(
    writer: Writer, op: Op, named: Mapping[Value, str], function: str, sizes: Sequence[str], spent: Sequence[Value]
) -> None:
    results = "".join(f"{named.get(value, '_')}, " for value in op.regions[0].returns)
    given = ", ".join([*(writer.names[value] for value in op.operands), *sizes])
    writer.add(f"{results}= {function}({given})", op)
    writer.drop(spent)


def _in_blocks(writer: Writer, plan: Plan) -> str:
    """The function that computes a segment in blocks, written beside the one at hand; its name."""
    name, inside = writer.beside("segment")
    parameters = inside.parameters(
        [writer.names[param] for param in plan.body.params], plan.body.params, sizes_of(plan)
    )
    inside.add(f"def {name}({', '.join([*parameters, *sizes_of(plan)])}):")
    inside.depth = 1
    write_blocked(plan, inside)
    return name


def _by_xla(writer: Writer, body: Program, rows: Dim) -> str:
    """The function that computes a segment by XLA, written beside the one at hand; its name."""
    import jax.numpy as jnp

    name, inside = writer.beside("xla")
    parameters = inside.parameters([writer.names[param] for param in body.params], body.params, ["rows"])
    rowed = tuple(is_rowed(param, rows) for param in body.params)
    kept = tuple(is_rowed(value, rows) for value in body.returns)
    inside.scope |= {"by_xla": xla.by_xla, **xla.NAMES}

    def call(function: str) -> str:
        inside.scope[f"jax_numpy_{function}"] = getattr(jnp, function)
        return f"jax_numpy_{function}"

    inside.add(f"@by_xla(rowed={rowed}, kept={kept})")
    with inside.under(f"def {name}({', '.join(['rows', *parameters])}):"):
        for op in body.ops:
            if op.definition is constant:
                inside.op(op)
                continue
            text = xla.op_text(op, [inside.names[value] for value in op.operands], call)
            inside.names[op.result] = inside.fresh(inside.letter)
            inside.add(f"{inside.names[op.result]} = {text}", op)
        inside.add(f"return {''.join(f'{inside.names[value]}, ' for value in body.returns)}")
    return name
