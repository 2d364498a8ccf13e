"""What it costs to trace: tracing and passes, against the framework's own tracing of the same function, in turns.

The function is a chain of element-wise steps with a reduction now and then, of 10 to 10,000 ops. NumPy has no tracing of
its own; its programs are held against `jax.make_jaxpr` of the same function with `jax.numpy`. Calls that a trace
serves again are measured apart: the guard alone (types, sizes, identities), and what looks at contents besides.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import interleaved, ratio_cells, seconds, table

SIZES = (10, 100, 1_000, 10_000)
X = np.linspace(0.1, 1.0, 12).reshape(4, 3)


def main(quick: bool = False) -> dict[str, Any]:
    sizes = SIZES[:2] if quick else SIZES
    measured: dict[str, Any] = {}
    for size in sizes:
        for front, (own, ours, x) in fronts(size).items():
            pairs = 3 if quick or size == sizes[-1] else 7
            times = interleaved(lambda own=own, x=x: own(x), lambda ours=ours, x=x: ours(x), pairs)
            measured[f"{front}, {size:,} ops"] = times | {
                "ops": size,
                "added": times["median"] - 1,
                "micro_per_op": 1e6 * times["traced_seconds"] / size,
            }
    guard = guards()
    text = texts(2_000 if quick else 50_000)
    rows = [
        [*ratio_cells(name, times), f"{times['added']:+.2f}", f"{times['micro_per_op']:.0f} µs"]
        for name, times in measured.items()
    ]
    head = ["program", "make_jaxpr / make_fx", "traceprop", "ratio", "middle half of ratios", "added", "per op"]
    note = (
        f"Tracing and passes, each time anew: the ratio is all of it over the framework's own tracing, and what traceprop adds "
        f"on top of that is one less. A call that a trace serves again: guard {guard['guard']:.1f} µs "
        f"(two sources, types, sizes and identities), contents of what is closed over {guard['contents']:.1f} µs "
        f"(an array of 32 bytes and a number), the whole call {guard['call']:.0f} µs. "
        f"A program of {text['ops']:,} ops prints in {text['print']:.1f} s and parses in {text['parse']:.1f} s."
    )
    return {"measured": measured, "guard_microseconds": guard, "text_seconds": text, "table": table(head, rows, note)}


def chain(library: Any, size: int) -> Callable[[Any], Any]:
    """A function of `size` ops."""

    def steps(x: Any) -> Any:
        for k in range(size // 5):
            x = library.tanh(x * 1.5 - (k % 7)) + x.mean(0)  # five ops
        return x

    return steps


def fronts(size: int) -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Any]]:
    """For each front end: the framework's own tracing, ours of the same function with passes, and the argument."""
    import jax
    import jax.numpy as jnp
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    import traceprop as tp

    def ours(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: tp.trace(function).history(x)

    narrow = X.astype("float32")
    in_jax, in_torch, in_numpy = chain(jnp, size), chain(torch, size), chain(np, size)

    def own_jaxpr(x: Any) -> Any:
        return jax.make_jaxpr(lambda x: in_jax(x))(x)  # a new function each time, so that nothing is remembered

    def own_graph(x: Any) -> Any:
        return make_fx(lambda x: in_torch(x), tracing_mode="symbolic")(x)

    return {
        "NumPy (against make_jaxpr)": (lambda x: own_jaxpr(jnp.asarray(narrow)), ours(lambda x: in_numpy(x)), X),
        "JAX": (own_jaxpr, ours(lambda x: in_jax(x)), jnp.asarray(narrow)),
        "PyTorch": (own_graph, ours(lambda x: in_torch(x)), torch.from_numpy(X)),
    }


def texts(ops: int) -> dict[str, float]:
    """Seconds to print a traced program of so many ops, and to parse the text, which gives an equal program."""
    import traceprop as tp
    from traceprop.ir import parse

    program = tp.trace(chain(np, 5 * (ops // 7))).ir(X)  # two constants for every five ops
    printed = seconds(lambda: str(program))
    text, parsed = str(program), []
    spent = seconds(lambda: parsed.append(parse(text)))
    if parsed[0] != program:
        raise AssertionError("a program does not parse back to an equal one")
    return {"ops": len(program.ops), "print": printed, "parse": spent}


def guards() -> dict[str, float]:
    """Microseconds of a call that an earlier trace serves: of the guard, of the contents, of all of it."""
    import traceprop as tp

    center, scale = np.ones(4), 3.0

    @tp.trace
    def scaled(x: Any, y: Any) -> Any:
        return (x - center) * scale + y

    given = [tp.from_numpy(np.ones((1_000, 4)), source_id=name) for name in "ab"]
    scaled(*given)
    ((guard, _),) = scaled._guards
    sources = [each.source for each in given]

    def best(call: Callable[[], object]) -> float:
        return 1e6 * min(timeit.repeat(call, number=2_000, repeat=7)) / 2_000

    return {
        "guard": best(lambda: guard.accepts(sources)),
        "contents": best(guard.surroundings.same_contents),
        "call": best(lambda: scaled(*given)),
    }
