"""A program whose rows come in parts: what is done part by part, what is folded over all parts, and what needs all rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from traceprop.errors import TraceError
from traceprop.ir.expr import Expr, symbol, symbols_of
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.opset import constant, group, iota
from traceprop.passes.optimize.asked import Asked, asked
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.optimize.free_rows import FreeRows
from traceprop.passes.optimize.part_places import Full, NeedsAll, Places
from traceprop.passes.optimize.part_plan import Kept, Part, Plan, Space, Stage, Statistic
from traceprop.passes.rewrite import over

__all__ = ["Kept", "Part", "Plan", "Space", "Stage", "Statistic", "partition"]


def partition(program: Program, params: Collection[str], level: str | None = "op", on_disk: bool = False) -> Plan:
    """The plan for a program of whose parameters some (`params`) have rows that come in parts.

    What row `i` of a result takes from row `i` of its operands, and from values that are known by then, is done part by part.
    A fold over rows that can be made of folds of parts (`part_forms.py`) is a statistic: each part gives its own, these are
    combined, and the next pass over the rows knows it. For everything else (a sort, a running sum, a median) the rows of its
    operands are put under one another, which is statistic "rows", and it is computed of all of them. So every program has a
    plan, and what it needs at once is in `plan.gathered`.

    `on_disk`: sorts of tables put their rows into order on disk, and give them back in parts.
    `level`: the granularity at which positions are recorded; `None`: none are.
    The values are those of the whole program, to rounding where numbers are added up; positions recorded in parts are those
    of the whole run once they are moved by the rows of earlier parts (`Part.points`).
    Raises `TraceError` for a program in which the number of rows is written, and for one that counts rows of no source.
    """
    given, program = program, DCE()(program)
    recorded: Sequence[Value] = ()
    whole_program = program
    if level is not None:
        found = asked(program if level == "op" else given, level)
        program.memo.setdefault("asked", {}).setdefault(level, found)  # the composed positions are the same for both
        whole_program, recorded = _with_composed(program, found), found.recorded
    freed = _freed(whole_program, params)
    same = dict(zip(whole_program.values, freed.values, strict=True))
    whole: set[Op] = set()
    while True:
        places = Places(freed, params, whole, on_disk)
        try:
            places.place_all()
        except NeedsAll as refused:
            if refused.op in whole:
                raise AssertionError(f"{refused.op} has no place") from None
            whole.add(refused.op)
            continue
        return _Cutter(places, program, same, recorded).plan()


def _freed(program: Program, params: Collection[str]) -> Program:
    unknown = set(params) - {param.name for param in program.params if param.rank}
    if unknown:
        raise TraceError(f"{program.name} has no parameter with rows called {', '.join(sorted(unknown))}")
    return FreeRows(tuple(params))(program)


class _Cutter:
    """Cuts what was placed into programs."""

    def __init__(
        self, places: Places, program: Program, same: Mapping[Value, Value], recorded: Sequence[Value]
    ) -> None:
        self.places = places
        self.program = program
        self.same = same
        self.full_of = {full.held: full for full in places.full.values()}
        self.full_of |= {found: Full(found, level + 1) for found, (_, level) in places.statistics.items()}
        self.returns = tuple(self._kept(value) for value in program.returns)
        # Constants the program has, and what nothing needs any more is not asked about.
        held = [v for v in recorded if v in same and (v.op is None or v.op.definition is not constant)]
        self.captures = tuple(self._kept(value) for value in held)

    def _kept(self, value: Value) -> Kept:
        here = self.same[value]
        full = self.places.full.get(here)
        if full is not None:
            return Kept(value, full.held, None)
        part = self.places.parts[here]
        return Kept(value, part.held, part)

    def plan(self) -> Plan:
        kept = (*self.returns, *self.captures)
        passes = self._passes(kept)
        levels = [each.part.level if each.part else self.full_of[each.held].level for each in kept]
        last = max([max(passes, default=-1) + 1, *levels])
        over_parts = self._all_over_parts(passes, last)
        ask = {value for stage in over_parts.values() for value in stage.given}
        ask |= {each.held for each in kept if each.part is None}
        stages: list[Stage] = []
        settled = {full.held for param, full in self.places.full.items() if isinstance(param, Param)}
        for level in range(last + 1):
            once = self._once(level, ask, settled)
            if once is not None:
                stages.append(once)
                settled.update(once.gives)
            if level in over_parts:
                stages.append(over_parts[level])
                settled.update(statistic.found for statistic in over_parts[level].statistics)
        return self._plan(stages)

    def _plan(self, stages: Sequence[Stage]) -> Plan:
        places = self.places
        parts = places.parts.values()
        spaces = dict.fromkeys(space for part in parts for space in (part.space, *part.points) if space is not None)
        partitioned = [param for param in self.program.params if self.same[param] in places.partitioned]
        domains = tuple(places.domain_of[param] for param in places.partitioned)
        return Plan(
            self.program, tuple(partitioned), domains, tuple(stages), self.returns, self.captures, tuple(spaces)
        )

    def _passes(self, kept: Sequence[Kept]) -> dict[int, list[Statistic]]:
        """The statistics that are needed, by the pass that finds them."""
        needed = self._needed([each.held for each in kept])
        passes: dict[int, list[Statistic]] = {}
        for statistic, level in self.places.statistics.values():
            if statistic.found in needed:
                passes.setdefault(level, []).append(statistic)
        return passes

    def _all_over_parts(self, passes: Mapping[int, Sequence[Statistic]], last: int) -> dict[int, Stage]:
        """A stage per pass; a recorded position is taken from the first pass that has it anyway."""
        wanted = {level: [value for each in passes.get(level, ()) for value in each.operands] for level in range(last)}
        wanted[last] = [each.held for each in self.returns if each.part]
        behind = {level: set(self._behind(values, True)) for level, values in wanted.items()}
        for each in self.captures:
            if each.part is not None:
                made = each.held.op
                has_it = (
                    k for k in range(each.part.level, last) if passes.get(k) and (made is None or made in behind[k])
                )
                wanted[next(has_it, last)].append(each.held)
        stages = {level: self._over_parts(level, values, passes.get(level, ())) for level, values in wanted.items()}
        return {level: stage for level, stage in stages.items() if stage is not None}

    def _needed(self, values: Iterable[Value]) -> set[Value]:
        """All stage values behind some, statistics followed to what goes in."""
        seen: set[Value] = set()
        open_values = list(values)
        statistics = {param: statistic for param, (statistic, _) in self.places.statistics.items()}
        statistics |= {param: each for each in list(statistics.values()) for param in each.spilled}
        while open_values:
            value = open_values.pop()
            if value in seen:
                continue
            seen.add(value)
            if value.op is not None:
                open_values.extend(value.op.operands)
            elif isinstance(value, Param) and value in statistics:
                statistic = statistics[value]
                open_values.extend((*statistic.operands, statistic.found))
                open_values.extend([statistic.splitters] if statistic.splitters is not None else [])
        return seen

    def _behind(self, values: Iterable[Value], stop_at_full: bool, known: Collection[Value] = ()) -> list[Op]:
        order: list[Op] = []
        seen: set[Value] = set()
        stack = [(value, False) for value in reversed(list(values))]
        while stack:
            value, ready = stack.pop()
            if ready:
                assert value.op is not None
                order.append(value.op)
                continue
            if value in seen or value.op is None or value in known or (stop_at_full and self._handed(value)):
                continue
            seen.add(value)
            stack.append((value, True))
            stack.extend((operand, False) for operand in reversed(value.op.operands))
        return order

    def _handed(self, value: Value) -> bool:
        """Whether a value is made once, and handed to the parts; constants are part of every program."""
        return value in self.full_of and (value.op is None or value.op.definition is not constant)

    def _over_parts(self, level: int, wanted: Iterable[Value], statistics: Sequence[Statistic]) -> Stage | None:
        gives = tuple(dict.fromkeys([*wanted, *(value for each in statistics for value in each.operands)]))
        if not gives:
            return None
        ops = self._behind(gives, True)
        used = dict.fromkeys(operand for op in ops for operand in op.operands)
        handed = [value for value in dict.fromkeys((*used, *gives)) if self._handed(value)]
        spilled = [value for value in dict.fromkeys((*used, *gives)) if value in self.places.domain_of]
        parts = tuple(dict.fromkeys((*self.places.partitioned, *spilled)))
        bound = {name for param in parts for name in symbols_of(param.type.dims[0])}
        handed += self._binders(ops, handed, bound)
        name = f"{self.program.name}_pass{level}" if statistics else f"{self.program.name}_rows"
        stage = self._stage(name, (*parts, *handed), ops, gives, True, statistics)
        return replace(stage, domains=tuple(sorted({self.places.domain_of[param] for param in spilled})), parts=parts)

    def _once(self, level: int, ask: Collection[Value], settled: Collection[Value]) -> Stage | None:
        gives = [
            full.held
            for full in self.places.full.values()
            if full.level <= level and full.held in ask and full.held not in settled and full.held.op is not None
        ]
        if not gives:
            return None
        gives, known = list(dict.fromkeys(gives)), set(settled)
        while True:
            ops = self._behind(gives, False, known)
            used = dict.fromkeys(operand for op in ops for operand in op.operands)
            given = [value for value in used if value in known or value.op is None]
            given += [value for value in self._binders(ops, given, set()) if value not in given]
            made = {value for value in known if value.op is not None}
            if not made or not _unbound(ops, given):
                break
            known -= (
                made  # made once more: a size is needed that something behind them found, and nothing else shows it
            )
        return self._stage(f"{self.program.name}_once{level}", given, ops, tuple(gives), False, ())

    def _binders(self, ops: Sequence[Op], given: Sequence[Value], bound: set[str]) -> list[Value]:
        """Values that show a size which the ops name and nothing else given tells."""
        bound = bound | {str(dim) for value in given for dim in value.type.dims if isinstance(dim, Expr)}
        more: list[Value] = []
        for op in ops:
            for name in sorted(_named(op) - bound):
                shows = (v for v in self.full_of if v.op is None and symbol(name) in v.type.dims)
                value = next(shows, None)
                if value is not None:
                    more.append(value)
                    bound |= {str(dim) for dim in value.type.dims}
            bound |= {str(op.attrs[key]) for key in ("size", "groups") if isinstance(op.attrs.get(key), Expr)}
        return more

    def _stage(
        self,
        name: str,
        given: Sequence[Value],
        ops: Sequence[Op],
        gives: tuple[Value, ...],
        over_parts: bool,
        statistics: Sequence[Statistic],
    ) -> Stage:
        params: dict[Value, Value] = {}
        for n, value in enumerate(given):
            params[value] = value if isinstance(value, Param) else Param(f"given_{n}", value.type, fitted=True)
        replaced = {value: param for value, param in params.items() if value is not param}
        kept: list[Op] = []
        for old in ops:
            op = over(old, replaced)
            if op is not old:
                replaced[old.result] = op.result
            kept.append(op)
        returns = tuple(replaced.get(value, value) for value in gives)
        program = Program(name, tuple(params.values()), tuple(kept), returns)  # type: ignore[arg-type]
        return Stage(program, tuple(given), gives, over_parts, tuple(statistics))


def _named(op: Op) -> set[str]:
    """The sizes that an op has in its attributes and does not find itself."""
    names: set[str] = set()
    for key, value in op.attrs.items():
        dims = value if isinstance(value, tuple) else (value,)
        if key != "size" or op.definition is iota:
            names |= {name for dim in dims if isinstance(dim, Expr) for name in symbols_of(dim)}
    return names | {name for name in getattr(op.native, "sizes", ()) if isinstance(name, str)}


def _finds(op: Op) -> set[str]:
    """The size that an op finds in its data."""
    found = (
        op.attrs.get("groups")
        if op.definition is group
        else op.attrs.get("size")
        if op.definition is not iota
        else None
    )
    return {str(found)} if isinstance(found, Expr) else set()


def _unbound(ops: Sequence[Op], given: Sequence[Value]) -> set[str]:
    """Sizes that ops name, and neither what is given nor the ops themselves tell."""
    bound = {str(dim) for value in given for dim in value.type.dims}
    return {name for op in ops for name in _named(op)} - bound - {name for op in ops for name in _finds(op)}


def _with_composed(program: Program, found: Asked) -> Program:
    """The program with the positions that are composed for questions, of what is left in it."""
    values, ops = set(program.values), list(program.ops)
    for op in found.composed:
        if values.issuperset(op.operands):
            values.add(op.result)
            ops.append(op)
    return program.with_ops(ops)
