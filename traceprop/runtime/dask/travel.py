"""A program on its way to the workers: as text, with the arrays that it holds beside it, and planned anew where it arrives.

What travels is what `str(program)` prints, so that no code of the user's is sent. A library call that has no text of its own
(`np.interp` with its options, a function that was registered with `tp.register_rule`) goes by cloudpickle, as Dask sends
functions: by name where it can be imported. Both ends cut the program into stages by the same pass, and compare what they got.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.errors import ExecutionError
from traceprop.ir import Program, constants_of, parse
from traceprop.passes.optimize.partition import Plan, partition
from traceprop.runtime.parts import Stages
from traceprop.tracing.lazy import Lazy


@dataclass(frozen=True)
class Sent:
    """A program as it travels. `calls`: pickled native calls by the number of their op; `plan_hash`: of the stages' text."""

    digest: str
    text: str
    constants: dict[str, np.ndarray]
    calls: dict[int, bytes]
    params: tuple[str, ...]
    level: str
    passes: tuple[Any, ...] | None
    plan_hash: str

    @property
    def nbytes(self) -> int:
        """The bytes of what travels."""
        held = sum(array.nbytes for array in self.constants.values()) + sum(map(len, self.calls.values()))
        return len(self.text.encode()) + held

    def __sizeof__(self) -> int:
        return self.nbytes


def sent(program: Program, plan: Plan, params: Sequence[str], level: str, passes: Sequence[Any] | None) -> Sent:
    """A program with its plan, ready to go. Raises `ExecutionError` for a call that cannot be pickled."""
    text, constants = str(program), constants_of(program)
    calls = {k: _pickled(op) for k, op in enumerate(program.walk()) if op.native is not None}
    found = hashlib.blake2b(text.encode(), digest_size=16)
    for call in calls.values():
        found.update(call)
    found.update(repr((sorted(constants), tuple(params), level, passes)).encode())
    chosen = None if passes is None else tuple(passes)
    return Sent(found.hexdigest(), text, constants, calls, tuple(params), level, chosen, plan_hash(plan))


def plan_hash(plan: Plan) -> str:
    """A hash of the stages' text."""
    return hashlib.blake2b(str(plan).encode(), digest_size=16).hexdigest()


def _pickled(op: Any) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, held: Any) -> Any:
            return (_place_of, (type(held),)) if isinstance(held, Lazy) else super().reducer_override(held)

    out = io.BytesIO()
    try:
        Pickler(out).dump(op.native)
        return out.getvalue()
    except Exception as error:
        raise ExecutionError(
            f"{op.label} at {op.location or 'an unknown line'} cannot be sent to Dask's workers: its function holds what does "
            f"not pickle ({error}); run it with executor='local', or let it take what it needs as arguments"
        ) from None


def _place_of(kind: type[Lazy]) -> Lazy:
    """What stands for an operand in the arguments that a call holds: it is replaced by the operand's data."""
    return kind.__new__(kind)


_KNOWN: OrderedDict[str, Stages] = OrderedDict()
_MOST = 32
_lock = threading.Lock()


def received(program: Sent) -> Stages:
    """The stages of a program that arrived, compiled once per process; nothing is known of its run."""
    with _lock:
        if program.digest in _KNOWN:
            _KNOWN.move_to_end(program.digest)
            return _KNOWN[program.digest]
        found = _stages(program)
        _KNOWN[program.digest] = found
        while len(_KNOWN) > _MOST:
            _KNOWN.popitem(last=False)
        return found


def _stages(program: Sent) -> Stages:
    whole = parse(program.text, program.constants)
    if program.calls:
        import cloudpickle

        for k, op in enumerate(whole.walk()):
            if k in program.calls:
                op.native = cloudpickle.loads(program.calls[k])  # from the client, which Dask trusts with code anyway
    plan = partition(whole, program.params, program.level)
    if plan_hash(plan) != program.plan_hash:
        raise ExecutionError(
            "this worker's traceprop cuts the program into other stages than the client's: install the same version on both"
        )
    return Stages(plan, {}, program.passes)
