"""The oracle campaign: random programs of every front end, against the plain function and against changed cells.

Each program is traced and run. Its values must equal the plain function's, its text must read back, and every result cell
that some change of a source cell changes must report that cell ("any" lineage). Nothing stops at a failure: what the
campaign finds is counted. Texts of programs with characters, words and lines mutated must be read or refused in words.
"""

from __future__ import annotations

import functools
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

from benchmarks.harness import table

SEED = 20261123


def main(quick: bool = False) -> dict[str, Any]:
    from rich.progress import track

    examples, texts = (40, 200) if quick else (2_000, 10_000)
    measured = {
        front: campaign(*made(), examples)
        for front, made in track(FRONTS.items(), description="campaign", transient=True)
    }
    mutated = mutations(texts)
    rows = [
        [
            front,
            f"{found['programs']:,}",
            f"{found['ops']:,}",
            str(found["other values"]),
            str(found["unsound"]),
            str(found["exceptions"]),
        ]
        for front, found in measured.items()
    ]
    head = ["front end", "programs", "ops", "other values", "unsound", "exceptions"]
    note = (
        f"Programs of 1 to 30 ops over 1 to 3 sources, drawn by Hypothesis (seed {SEED}). Of {mutated['texts']:,} mutated texts, "
        f"{mutated['refused']:,} were refused with line and column, {mutated['read']:,} are programs, "
        f"{mutated['broken']} did something else."
    )
    return {"seed": SEED, "measured": measured, "mutated_texts": mutated, "table": table(head, rows, note)}


def campaign(strategies: tuple[Any, ...], check: Callable[..., int], examples: int) -> dict[str, Any]:
    """Counts over that many programs. `check` gives the number of ops, and raises what it finds wrong."""
    found: Counter[str] = Counter(dict.fromkeys(("programs", "ops", "other values", "unsound", "exceptions"), 0))
    first: dict[str, str] = {}

    @seed(SEED)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*strategies))
    def run(drawn: tuple[Any, ...]) -> None:
        try:
            ops = check(*drawn)
        except UnsatisfiedAssumption:
            raise
        except Exception as error:
            kind = getattr(error, "kind", "exceptions")
            found[kind] += 1
            first.setdefault(kind, f"{type(error).__name__}: {error}"[:500])
            ops = 0
        found["programs"] += 1
        found["ops"] += ops

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    return {**found, "first": first, "seconds": time.perf_counter() - start}


class Wrong(Exception):
    """What a program was found to do wrong, by the column that it counts in."""

    def __init__(self, kind: str, error: Exception) -> None:
        super().__init__(str(error))
        self.kind = kind


def judged(kind: str, check: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Calls a check; a failed assertion counts under `kind`."""
    try:
        check(*arguments, **options)
    except AssertionError as error:
        raise Wrong(kind, error) from error


def in_numpy() -> tuple[tuple[Any, ...], Callable[..., int]]:
    from tests.lineage.programs import FINITE, programs
    from tests.lineage.test_oracle import check_sound
    from tests.lineage.test_values import same, traced

    def check(program: Any) -> int:
        results = traced(program)
        for got, want in zip(results, program.plain(), strict=True):
            judged("other values", same, got, want)
        reads_back(results)
        judged("unsound", check_sound, program, results, [f"given_{k}" for k in range(len(program.sources))])
        return len(program.steps)

    return (programs(FINITE, max_steps=30, max_cells=40),), check


def in_jax() -> tuple[tuple[Any, ...], Callable[..., int]]:
    import jax

    import traceprop as tp
    from tests.lineage.jax_programs import QUICKLY, programs
    from tests.lineage.test_oracle import check_sound

    jax.jit = functools.partial(jax.jit, compiler_options=QUICKLY)

    def check(program: Any) -> int:
        function = tp.trace(lambda *given: program(*given))
        with jax.enable_x64(True):
            results = function(*(jax.numpy.asarray(source) for source in program.sources))
        for got, want in zip(results, program.plain(), strict=True):
            judged("other values", close, got, want, 2e-5)
        reads_back(results)
        judged("unsound", check_sound, program, results, [f"given_{k}" for k in range(len(program.sources))])
        return len(program.steps)

    return (programs(max_steps=30),), check


def in_torch() -> tuple[tuple[Any, ...], Callable[..., int]]:
    from tests.lineage.test_oracle import check_sound
    from tests.lineage.test_torch_oracle import TOLERANCE, ids_of, traced
    from tests.lineage.torch_programs import programs

    def check(program: Any) -> int:
        results = traced(program)
        for got, want in zip(results, program.plain(), strict=True):
            judged("other values", close, got, want, TOLERANCE.get(str(want.dtype), 0))
        reads_back(results)
        judged("unsound", check_sound, program, results, ids_of(program), vanished=not program.writes_constants)
        return len(program.steps)

    return (programs(),), check


def in_tables() -> tuple[tuple[Any, ...], Callable[..., int]]:
    from tests.lineage.table_programs import frames, programs
    from tests.lineage.test_table_oracle import test_changed_cells_stay_inside_what_is_reported as changed

    def check(program: Any, left: Any, right: Any, data: Any) -> int:
        judged("unsound", changed.hypothesis.inner_test, program, left, right, data)
        return len(program)

    return (programs(), frames(), frames(4), st.data()), check


FRONTS = {"NumPy": in_numpy, "JAX": in_jax, "PyTorch": in_torch, "tables": in_tables}


def close(got: Any, want: np.ndarray, tolerance: float) -> None:
    """Same dtype, and values to the tolerance."""
    got = np.asarray(got)
    assert got.dtype == want.dtype, (got.dtype, want.dtype)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=max(tolerance, 1e-6 if tolerance else 0), equal_nan=True)


def reads_back(results: Any) -> None:
    """The text of each result's program is the program."""
    from traceprop.ir import constants_of, parse

    for program in {lazy.call().program for lazy in results if hasattr(lazy, "value")}:
        if parse(str(program), constants_of(program)) != program:
            raise Wrong("other values", ValueError("the program's text does not read back"))


def mutations(count: int) -> dict[str, int]:
    """How many of `count` mutated texts were refused in words, were programs, or did something else."""
    from tests.ir.test_text import PROGRAMS, mutated
    from traceprop.errors import ParseError
    from traceprop.ir import dump, parse

    rng = random.Random(SEED)
    texts = [dump(parse(text)) for text in PROGRAMS.values()]
    found = Counter({"texts": count, "refused": 0, "read": 0, "broken": 0})
    for _ in range(count):
        try:
            parse(mutated(rng.choice(texts), rng))
        except ParseError as error:
            found["refused" if error.line and error.column else "broken"] += 1
        except Exception:
            found["broken"] += 1
        else:
            found["read"] += 1
    return dict(found)
