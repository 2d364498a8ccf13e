"""What tracing costs, and where it pays: plain functions against the traced ones, in turns in one process.

A traced call is the whole of it: a new lazy value, the run, and the result in the caller's hands as an array of its own. Each
group of workloads (`workloads/`) has a process to itself. Beside it stand the packages that were published under this name
before, from the package index, each in an environment of its own. `interval`: 95 %, of the median of 31 ratios; an aim holds
where all of it lies under the aim. A group that fails is told of, and its rows are missing; the others are measured all the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.harness import table, write_result
from benchmarks.workloads.apart import apart
from benchmarks.workloads.pairs import PAIRS, Aim

HEAD = ["plain", "traced", "ratio", "95 % interval", "CPU time", "first call", "aim", "holds"]
SMALL = {100: Aim(1.15), 1_000: Aim(1.05), 10_000: Aim(1.0)}
LIKE_ITSELF = Aim(1.02, from_seconds=1e-3, extra=20e-6)
NUMPY = Aim(1.01, from_seconds=2e-3, extra=20e-6)
Row = Mapping[str, Any]
EMPTY: dict[str, Any] = {
    "arrays": {"calls": [], "granularities": []},
    "arrays_by_xla": [],
    "by_jax": [],
    "by_torch": [],
    "tables": {"shapes": [], "demo": []},
    "steady": {"calls": 0, "bytes": 0, "objects": 0, "bytes_per_op": 0.0},
    "published": {},
}
"""The groups, in order, and what stands for one that failed."""


def main(quick: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = dict(EMPTY)
    failed: dict[str, str] = {}
    for group in EMPTY:
        try:
            found[group] = apart(group, quick)
        except RuntimeError as error:
            failed[group] = str(error)
            print(error, flush=True)
    try:
        found["training"] = training(quick)
    except Exception as error:  # what was measured before is worth keeping
        found["training"], failed["training"] = {}, repr(error)
        print(f"training loops failed: {error!r}", flush=True)
    tables = [
        whole_calls(found["arrays"]["calls"], found["arrays_by_xla"]),
        beside_published(found["arrays"]["calls"], found["published"], found["steady"]),
        by_granularity(found["arrays"]["granularities"]),
        frameworks({"JAX, against `jax.jit`": found["by_jax"], "PyTorch, against eager": found["by_torch"]}),
        pipelines(found["tables"]),
    ]
    trained = found["training"]
    found["pipelines"] = found.pop("tables")  # a result's "tables" are those to be shown
    return {
        "pairs": PAIRS,
        "failed": failed,
        **found,
        "tables": [*tables, *(trained.get("tables") or [trained[k] for k in ("table",) if k in trained])],
    }


def training(quick: bool) -> dict[str, Any]:
    """What recording a training loop costs: `benchmarks/training.py`, where there is one; its figures are kept as its own too."""
    if importlib.util.find_spec("benchmarks.training") is None:
        return {}
    print("training loops …", flush=True)
    from benchmarks import training as loops

    found = dict(loops.main(quick=quick))
    if not quick:
        write_result("training", found)
    return found


def whole_calls(calls: Iterable[Row], by_xla: Iterable[Row]) -> dict[str, Any]:
    """NumPy functions, by size and backend."""
    rows = []
    for call in sorted([*calls, *by_xla], key=lambda c: (c["function"] != "standardise", c["cells"], c["way"])):
        aim = _aim_of(call)
        name = f"{call['function']}, {_power(call['cells'])} cells, {WAYS[call['way']]}"
        rows.append([name, *cells(call, aim)])
    note = (
        f"Medians of {PAIRS} turns, at granularity `op`, in float64. `numpy` gives the plain function's bits; `jax` takes and "
        "gives NumPy arrays. An array that is given to each call is fingerprinted twice; a source was made of it once."
    )
    return table(["NumPy function", *HEAD], rows, note)


WAYS = {
    "source": "`auto`",
    "array": "`auto`, an array each call",
    "numpy": "`numpy`",
    "jax": "`jax`",
    "auto": "`auto` beside JAX",
}


def _aim_of(call: Row) -> Aim | None:
    way, size = call["way"], call["cells"]
    if way == "jax":
        return Aim(0.75) if size >= 10**7 else Aim(0.4)
    if way == "numpy":
        return NUMPY
    if way in ("source", "array"):
        if size >= 10**5:
            return Aim(0.8)
        return SMALL.get(size) if call["function"] == "standardise" else None
    return None


def beside_published(calls: Iterable[Row], published: Mapping[str, Any], steady: Row) -> dict[str, Any]:
    """The ratio to the plain function of this package and of those published before, as each comes."""
    mine = {(c["function"], c["cells"]): c["median"] for c in calls if c["way"] == "source"}
    theirs = {
        version: {(c["function"], c["cells"], c["granularity"]): c["median"] for c in result["calls"] or ()}
        for version, result in published.items()
    }
    rows = []
    for (function, size), ratio in mine.items():
        row = [f"{function}, {_power(size)} cells", f"{ratio:.2f}"]
        for ratios in theirs.values():
            for level in ("as it comes", "none"):
                known = ratios.get((function, size, level))
                row.append("not measured" if known is None else f"{known:.2f}")
        rows.append(row)
    kept = ["bytes that an op keeps, results dropped", f"{max(0.0, steady['bytes_per_op']):.1f}"]
    for result in published.values():
        per_op = result.get("bytes_per_op")
        kept += ["not measured" if per_op is None else f"{per_op:.0f}", ""]
    head = ["against the plain function", "traceprop"]
    head += [f"{version}{off}" for version in published for off in ("", ", tracking off")]
    note = (
        f"After {steady['calls']:,} calls this package holds {steady['bytes']:,} bytes and {steady['objects']:,} objects more "
        "than before. The others run in turns with the plain function, each in a process of its own, with its graph emptied "
        "before each turn."
    )
    return table(head, [*rows, kept], note)


def by_granularity(calls: Iterable[Row]) -> dict[str, Any]:
    """The same call at each granularity."""
    rows = []
    for call in calls:
        aim = Aim(1.0) if call["granularity"] == "None" else None
        level = "off" if call["granularity"] == "None" else f"`{call['granularity']}`"
        function = {"chosen": "filter, sort, standardise"}.get(call["function"], call["function"])
        rows.append([f"{function}, {_power(call['cells'])} cells, {level}", *cells(call, aim)])
    note = "`off`: `tp.set_granularity(None)`; 1.00 is what rounds to it. Filter and sort record the positions that they took."
    return table(["granularity", *HEAD], rows, note)


def frameworks(groups: Mapping[str, Iterable[Row]]) -> dict[str, Any]:
    """JAX and PyTorch functions against themselves."""
    rows = []
    for title, calls in groups.items():
        for call in calls:
            size = "" if "batch" in call["function"] else f", {_power(call['cells'])} cells"
            aim = Aim(1.02) if "batch" in call["function"] else LIKE_ITSELF
            rows.append([f"{call['function']}{size}; {title}", *cells(call, aim)])
    return table(
        ["framework", *HEAD], rows, "Results waited for, in the framework's own arrays; float32, gradients off."
    )


def pipelines(found: Mapping[str, Any]) -> dict[str, Any]:
    """Tables against pandas."""
    rows = []
    for call in found["shapes"]:
        recorded = call["way"] == "recorded"
        name = f"{call['pipeline']}, {call['rows']:,} rows" + ("" if recorded else ", every row's sources written out")
        rows.append([name, *cells(call, Aim(1.1) if recorded else None)])
    for call in found["demo"]:
        rows.append([f"demo: {call['step']}, {call['rows']:,} rows", *cells(call, None)])
    note = "Plain: pandas and NumPy, the same features and labels. From tables in memory, unless files are read."
    return table(["tables", *HEAD], rows, note)


def cells(found: Row, aim: Aim | None) -> list[str]:
    """A measurement and what was aimed at, as cells under `HEAD`."""
    low, high = found["interval"]
    words, held = aim.verdict(found) if aim else ("", "")
    return [
        _time(found["plain_seconds"]),
        _time(found["seconds"]),
        f"{found['median']:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{found['cpu']:.2f}",
        _time(found["first_seconds"]),
        words,
        held,
    ]


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.1f} µs"
    return f"{1e3 * seconds:.2f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _power(size: int) -> str:
    """A power of ten as one."""
    return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(len(str(size)) - 1))
