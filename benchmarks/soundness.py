"""The oracle campaign: random programs of every front end, against the plain function, changed cells, and every pass.

Each program is traced and run. Its values must equal the plain function's, its text must read back, every result cell that
some change of a source cell changes must report that cell ("any" lineage), and behind passes, one by one and in pipelines, it
must have the same values and the same lineage. Programs made only of ops that random draws see fully show how much of what is
reported is seen. Nothing stops at a failure: what the campaign finds is counted. Texts of programs with characters, words and
lines mutated must be read or refused in words.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

from benchmarks.harness import table

SEED = 20261123
SHARD = 250
"""Programs per piece of work; each piece has a seed of its own."""
KINDS = (
    "programs",
    "ops",
    "other values",
    "unsound",
    "exceptions",
    "passes",
    "pipelines",
    "changed by a pass",
    "told",
    "seen",
)
Checked = Callable[..., None]


def main(quick: bool = False) -> dict[str, Any]:
    from rich.progress import track

    examples, texts = (40, 200) if quick else (2_000, 10_000)
    work = pieces(examples)
    # Processes of their own: frameworks hold threads and caches that no fork survives, and memory goes back piece by piece.
    # (An executor of concurrent.futures would be the shorter way, and hangs as its workers retire: CPython #115634.)
    with multiprocessing.get_context("spawn").Pool(maxtasksperchild=4) as pool:
        found = list(track(pool.imap_unordered(_piece, work), description="campaign", total=len(work), transient=True))
    return summary(found, mutations(texts))


Piece = tuple[str, str, int, int]


def pieces(examples: int) -> list[Piece]:
    """The work in pieces: a front end, the kind of programs, the piece's number and how many programs it has."""
    return [
        (front, kind, number, min(SHARD, count - start))
        for kind, count in (("programs", examples), ("exact", examples // 5))
        for front in FRONTS
        if kind in FRONTS[front]
        for number, start in enumerate(range(0, count, SHARD))
    ]


def _piece(piece: Piece) -> tuple[str, dict[str, Any]]:
    return piece[0], campaign(*piece)


def summary(pieces: Iterable[tuple[str, dict[str, Any]]], mutated: dict[str, int]) -> dict[str, Any]:
    """The counts of all pieces together, by front end."""
    measured: dict[str, dict[str, Any]] = {
        front: {**dict.fromkeys(KINDS, 0), "first": {}, "seconds": 0.0} for front in FRONTS
    }
    for front, counts in pieces:
        for kind in (*KINDS, "seconds"):
            measured[front][kind] += counts[kind]
        for kind, text in counts["first"].items():
            measured[front]["first"].setdefault(kind, text)
    for found in measured.values():
        found["exact share"] = found["seen"] / found["told"] if found["told"] else None
    rows = [
        [
            front,
            f"{found['programs']:,}",
            f"{found['ops']:,}",
            *(str(found[kind]) for kind in ("other values", "unsound", "exceptions")),
            f"{found['seen']:,} of {found['told']:,} ({found['exact share']:.2%})" if found["told"] else "",
            f"{found['passes']:,} / {found['pipelines']:,}",
            str(found["changed by a pass"]),
        ]
        for front, found in measured.items()
    ]
    head = [
        "front end", "programs", "ops", "other values", "unsound", "exceptions", "reported cells that draws see",
        "behind passes / pipelines", "changed there",
    ]  # fmt: skip
    note = (
        f"Programs of 1 to 30 ops over 1 to 3 sources, drawn by Hypothesis (seed {SEED}); a fifth as many more, made only of ops "
        f"that draws see fully, show how many of the reported cells matter. Of {mutated['texts']:,} mutated texts, "
        f"{mutated['refused']:,} were refused with line and column, {mutated['read']:,} are programs, "
        f"{mutated['broken']} did something else."
    )
    return {"seed": SEED, "measured": measured, "mutated_texts": mutated, "table": table(head, rows, note)}


def campaign(front: str, what: str, number: int, examples: int) -> dict[str, Any]:
    """Counts over that many programs of a front end; a check raises what it finds wrong, and counts what it did."""
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    first: dict[str, str] = {}
    strategies, check = FRONTS[front][what]()

    @seed(SEED + number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*strategies))
    def run(drawn: tuple[Any, ...]) -> None:
        try:
            check(found, *drawn)
        except UnsatisfiedAssumption:
            raise
        except Exception as error:
            kind = getattr(error, "kind", "exceptions")
            found[kind] += 1
            first.setdefault(kind, f"{type(error).__name__}: {error}"[:500])
        found["programs"] += what == "programs"

    start = time.perf_counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        run()
    return {**found, "first": first, "seconds": time.perf_counter() - start}


class Wrong(Exception):
    """What a program was found to do wrong, by the column that it counts in."""

    def __init__(self, kind: str, error: Exception) -> None:
        super().__init__(str(error))
        self.kind = kind


def judged(kind: str, check: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Calls a check; a failed assertion counts under `kind`."""
    try:
        return check(*arguments, **options)
    except AssertionError as error:
        raise Wrong(kind, error) from error


def behind_passes(found: Counter[str], result: Any, names: list[str], same: Callable[[Any, Any], None]) -> None:
    """The call behind a drawn pipeline, and behind one pass alone: each of them in turn."""
    from tests.passes.behind import PASSES, check_lineage, check_values

    if not hasattr(result, "value"):
        return
    call = result.call()
    alone = sorted(PASSES)[found["passes"] % len(PASSES)]
    for steps in ([alone], names):
        chosen = [PASSES[name] for name in steps]
        judged("changed by a pass", check_values, call, chosen, same)
        judged("changed by a pass", check_lineage, call, chosen, 4)
        found["pipelines" if len(steps) > 1 else "passes"] += 1


def pipelines() -> Any:
    from tests.passes.behind import PASSES

    return st.lists(st.sampled_from(sorted(PASSES)), min_size=2, max_size=6)


def in_numpy() -> tuple[tuple[Any, ...], Checked]:
    from tests.lineage.programs import FINITE, programs
    from tests.lineage.test_oracle import check_sound
    from tests.lineage.test_values import same, traced

    def check(found: Counter[str], program: Any, names: list[str]) -> None:
        results = traced(program)
        found["ops"] += len(program.steps)
        for got, want in zip(results, program.plain(), strict=True):
            judged("other values", same, got, want)
        reads_back(results)
        judged("unsound", check_sound, program, results, ids_of(program))
        behind_passes(found, results[0], names, lambda got, want: same(got, np.asarray(want)))

    return (programs(FINITE, max_steps=30, max_cells=40), pipelines()), check


def in_jax() -> tuple[tuple[Any, ...], Checked]:
    import jax

    import traceprop as tp
    from tests.lineage.jax_programs import QUICKLY, programs
    from tests.lineage.test_oracle import check_sound

    jax.jit = functools.partial(jax.jit, compiler_options=QUICKLY)

    def check(found: Counter[str], program: Any, names: list[str]) -> None:
        function = tp.trace(lambda *given: program(*given))
        with jax.enable_x64(True):
            results = function(*(jax.numpy.asarray(source) for source in program.sources))
        found["ops"] += len(program.steps)
        for got, want in zip(results, program.plain(), strict=True):
            judged("other values", close, got, want, 2e-5)
        reads_back(results)
        judged("unsound", check_sound, program, results, ids_of(program))
        if found["programs"] % 8 == 0:  # one compilation by XLA costs more than all the rest of a program's check
            behind_passes(found, results[0], names, lambda got, want: close(got, np.asarray(want), 2e-5))

    return (programs(max_steps=30), pipelines()), check


def in_torch() -> tuple[tuple[Any, ...], Checked]:
    from tests.lineage.test_oracle import check_sound
    from tests.lineage.test_torch_oracle import TOLERANCE, traced
    from tests.lineage.torch_programs import programs

    def check(found: Counter[str], program: Any, names: list[str]) -> None:
        results = traced(program)
        found["ops"] += len(program.steps)
        for got, want in zip(results, program.plain(), strict=True):
            judged("other values", close, got, want, TOLERANCE.get(str(want.dtype), 0))
        reads_back(results)
        judged("unsound", check_sound, program, results, ids_of(program), vanished=not program.writes_constants)
        behind_passes(found, results[0], names, same_tensors)

    return (programs(), pipelines()), check


def in_tables() -> tuple[tuple[Any, ...], Checked]:
    import traceprop as tp
    from tests.lineage.table_programs import frames, programs, run
    from tests.lineage.test_table_oracle import rows_of
    from tests.lineage.test_table_oracle import test_changed_cells_stay_inside_what_is_reported as changed

    def same(got: Any, want: Any) -> None:
        assert rows_of(got) == rows_of(want)

    def check(found: Counter[str], program: Any, left: Any, right: Any, data: Any, names: list[str]) -> None:
        judged("unsound", changed.hypothesis.inner_test, program, left, right, data)
        found["ops"] += len(program[0]) + 1
        result = tp.trace(lambda t, other: run(program, t, other))(left, right)
        behind_passes(found, result, names, same)

    return (programs(), frames(), frames(4), st.data(), pipelines()), check


def exact(module: str, dtype: str, **options: Any) -> Callable[[], tuple[tuple[Any, ...], Checked]]:
    """Programs of ops that draws see fully: how many reported pairs of cells there are, and how many draws show."""

    def made() -> tuple[tuple[Any, ...], Checked]:
        from tests.lineage.exactness import told_and_seen

        front = importlib.import_module(f"tests.lineage.{module}")

        def check(found: Counter[str], program: Any) -> None:
            if module == "jax_programs":
                import jax

                import traceprop as tp

                with jax.enable_x64(True):
                    results = tp.trace(lambda *given: program(*given))(*map(jax.numpy.asarray, program.sources))
            elif module == "torch_programs":
                from tests.lineage.test_torch_oracle import traced as traced_torch

                results = traced_torch(program)
            else:
                from tests.lineage.test_values import traced

                results = traced(program)
            shapes = [source.shape for source in program.sources]
            assume(any(hasattr(lazy, "value") for lazy in results))
            told, seen = judged(
                "unsound", told_and_seen, results, ids_of(program), shapes, lambda given: program.plain(*given)
            )
            found["told"] += told
            found["seen"] += seen

        return (front.programs(names=front.SMOOTH, dtypes=(dtype,), max_steps=10, max_cells=24, **options),), check

    return made


FRONTS: dict[str, dict[str, Callable[[], tuple[tuple[Any, ...], Checked]]]] = {
    "NumPy": {"programs": in_numpy, "exact": exact("programs", "f64")},
    "JAX": {"programs": in_jax, "exact": exact("jax_programs", "float64")},
    "PyTorch": {"programs": in_torch, "exact": exact("torch_programs", "float64")},
    "tables": {"programs": in_tables},
}


def ids_of(program: Any) -> list[str]:
    return [f"given_{k}" for k in range(len(program.sources))]


def close(got: Any, want: np.ndarray, tolerance: float) -> None:
    """Same dtype, and values to the tolerance."""
    got = np.asarray(got)
    assert got.dtype == want.dtype, (got.dtype, want.dtype)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=max(tolerance, 1e-6 if tolerance else 0), equal_nan=True)


def same_tensors(got: Any, want: Any) -> None:
    """Bit by bit, but for NaN."""
    np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


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
