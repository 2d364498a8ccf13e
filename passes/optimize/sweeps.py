"""In how many goes over the rows a segment is computed, and what each of them does.

A value that folds the rows (a mean) is known once all rows have been gone over, so what needs it is computed in another sweep.
Between sweeps stands what has no rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from traceprop.ir.expr import Dim
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.opset import constant
from traceprop.passes.optimize.cse import CSE
from traceprop.passes.optimize.fuse import FOLDS, folds_rows, is_rowed, rows_of
from traceprop.passes.optimize.spell_out import SpellOut

_CHEAP = frozenset(
    f"numpy.{name}"
    for name in "add subtract multiply divide true_divide negative absolute square maximum minimum "
    "greater greater_equal less less_equal equal not_equal logical_and logical_or logical_not where".split()
)
"""What is sooner computed again than read from memory."""
_AGAIN = 3
"""So many steps at most are computed again for a later sweep."""


@dataclass(frozen=True)
class Sweep:
    """One go over the rows: `ops` computed for each block of them, `kept` written to memory as a whole, `folds` of the rows."""

    ops: tuple[Op, ...]
    kept: tuple[Value, ...]
    folds: tuple[Op, ...]


@dataclass(frozen=True)
class Plan:
    """The sweeps of a segment's body: before sweep k, the ops `between[k]` that have no rows; at the end, those of the last."""

    body: Program
    rows: Dim
    sweeps: tuple[Sweep, ...]
    between: tuple[tuple[Op, ...], ...]

    @classmethod
    def of(cls, body: Program) -> Plan:
        """The plan of a body that `Fuse` made; `.body` has its deviations spelled out, but for those of parameters."""
        body = CSE()(SpellOut(of_parameters=False)(body))
        return _Planner(body, next(rows for op in body.ops if op.operands and (rows := rows_of(op)) is not None)).plan()

    @cached_property
    def widest(self) -> Value:
        """A value with the most cells, as far as types tell."""
        rowed = [v for v in self.body.values if is_rowed(v, self.rows)]
        return max(rowed, key=lambda v: (v.rank, *(d if isinstance(d, int) else 1 << 30 for d in v.type.dims[1:])))


class _Planner:
    def __init__(self, body: Program, rows: Dim) -> None:
        self.body, self.rows = body, rows
        self.level: dict[Value, int] = dict.fromkeys(body.params, 0)
        for op in body.ops:
            behind = max((self.level[value] for value in op.operands), default=0)
            self.level[op.result] = behind + (self._is_fold(op) and not isinstance(op.operands[0], Param))
        self.levels = max(self.level.values()) + 1
        whole = [op.operands[0] for op in body.ops if self._is_fold(op) and op.payload not in FOLDS]
        self.kept: dict[Value, None] = {v: None for v in (*body.returns, *whole) if self._is_rowed(v)}

    def _is_fold(self, op: Op) -> bool:
        return folds_rows(op, self.rows)

    def _is_rowed(self, value: Value) -> bool:
        return is_rowed(value, self.rows) and not isinstance(value, Param)

    def plan(self) -> Plan:
        needed = [self._needed(level) for level in reversed(range(self.levels))][::-1]
        sweeps = tuple(
            Sweep(
                tuple(op for op in self.body.ops if op in needed[level]),
                tuple(v for v in self.kept if self.level[v] == level and v.op in needed[level]),
                tuple(self._folds(level)),
            )
            for level in range(self.levels)
        )
        between = tuple(
            tuple(op for op in self.body.ops if self._stands_between(op) and self.level[op.result] == level)
            for level in range(self.levels)
        )
        return Plan(self.body, self.rows, sweeps, between)

    def _folds(self, level: int) -> Iterator[Op]:
        """The folds that sweep `level` completes, block by block."""
        for op in self.body.ops:
            if self._is_fold(op) and not self._is_of_whole(op) and self.level[op.operands[0]] == level:
                yield op

    def _is_of_whole(self, op: Op) -> bool:
        """Whether NumPy's own call folds what stands in memory as a whole: a parameter, or what has no other form."""
        return isinstance(op.operands[0], Param) or op.payload not in FOLDS

    def _stands_between(self, op: Op) -> bool:
        if op.definition is constant:
            return True
        return not self._is_rowed(op.result) and (not self._is_fold(op) or self._is_of_whole(op))

    def _needed(self, level: int) -> set[Op]:
        """What a sweep computes; what it reads of earlier ones is then kept, unless it is sooner computed again."""
        needed: set[Op] = set()
        wanted = [value for value in self.kept if self.level[value] == level]
        wanted += [op.operands[0] for op in self._folds(level)]
        while wanted:
            value = wanted.pop()
            if not self._is_rowed(value) or value.op is None or value.op in needed:
                continue
            if self.level[value] < level and (value in self.kept or self._takes_long(value)):
                self.kept.setdefault(value)
                continue
            needed.add(value.op)
            wanted += value.op.operands
        return needed

    def _takes_long(self, value: Value) -> bool:
        """Whether computing a value again takes more than `_AGAIN` steps from parameters and what is kept.

        A step counts as often as it is used, and counting ends there: in long chains all ways together are beyond number.
        """
        steps, wanted = 0, [value]
        while wanted and steps <= _AGAIN:
            value = wanted.pop()
            if self._is_rowed(value) and value not in self.kept and value.op is not None:
                steps += 1 if value.op.payload in _CHEAP else _AGAIN + 1
                wanted += value.op.operands
        return steps > _AGAIN
