"""A CSV file larger than memory should hold: preprocessed with row lineage in bounded memory, beside code written by hand.

The file is made of a seed, so that what became of every row is known without asking anybody. Each contestant runs in a
process of its own, whose peak memory is what the kernel says (VmHWM). Read from a cold cache or a warm one, whoever goes first:
the file is read once before anything is timed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import measured_on, table

GIGABYTES, QUICK_GIGABYTES = 5.0, 0.05
BLOCK = 500_000
"""Rows that the generator makes at once."""
JOBS = [f"job {k:02}" for k in range(24)]
CITIES = [f"city {k:02}" for k in range(40)]
SMOOTHING = 20.0
TOP = 2.2
"""Rows with a higher `x0` are filtered out."""
ASKED = 400
"""Rows whose origin is asked for."""
ARMS = ("traceprop", "pandas", "polars")


# -- the file -------------------------------------------------------------------------------------------------------------


def block(number: int, rows: int) -> Any:
    """The rows of one block, as a polars table; `id` is the row's number in the file."""
    import polars as pl

    rng = np.random.default_rng([20, number])
    age = rng.integers(18, 90, rows).astype(float)
    age[rng.random(rows) < 0.03] = np.nan
    columns: dict[str, Any] = {"id": np.arange(rows) + number * rows, "age": pl.Series(age, nan_to_null=True)}
    columns |= {f"x{k}": rng.normal(k, 1 + k, rows).round(6) for k in range(6)}
    job = rng.integers(0, len(JOBS), rows)
    columns["job"] = pl.Series(JOBS).gather(job)
    columns["city"] = pl.Series(CITIES).gather(rng.integers(0, len(CITIES), rows))
    columns["bought"] = (rng.random(rows) < 0.1 + 0.02 * job).astype(int)
    return pl.DataFrame(columns)


def generate(path: Path, gigabytes: float) -> dict[str, Any]:
    """Writes the file; gives how many rows there are, and which of them stay (one bit each)."""
    kept = []
    number = rows = 0
    with path.open("wb") as file:
        while file.tell() < gigabytes * 1e9:
            made = block(number, BLOCK if gigabytes > 0.5 else BLOCK // 10)
            made.write_csv(file, include_header=number == 0)
            kept.append(np.packbits((made["age"].is_not_null() & (made["x0"] < TOP)).to_numpy()))
            number, rows = number + 1, rows + made.height
        size = file.tell()
    return {"rows": rows, "bytes": size, "kept": np.unpackbits(np.concatenate(kept)).view(bool)}


# -- the contestants ------------------------------------------------------------------------------------------------------


def features_of(t: Any) -> Any:
    """The pipeline as a user of traceprop writes it."""
    t = t.drop_nulls(["age"])
    t = t[t["x0"] < TOP]
    known = t.target_encode("city", "bought", smoothing=SMOOTHING)
    numbers = t[["age", *(f"x{k}" for k in range(6))]].to_numpy()
    scaled = np.clip((numbers - numbers.mean(axis=0)) / numbers.std(axis=0), -3, 3)
    return np.concatenate([scaled, known[["city"]].to_numpy(), t[["job"]].one_hot("job").to_numpy()], axis=1)


def run_traceprop(path: str, asked: list[int], rows: int) -> dict[str, Any]:
    import traceprop as tp

    start = time.perf_counter()
    source = tp.read_csv(path, in_memory=False)
    checked = time.perf_counter()
    found = tp.trace(batch_size=rows)(features_of)(source)
    sums, count = 0.0, 0
    for piece in found.batches():
        sums = sums + piece.sum(axis=0)
        count += len(piece)
    done = time.perf_counter()
    view = tp.provenance(found)
    places = view.locate(asked)
    kept = sum(held.nbytes for held in found.call().outcome().captures.values())
    return {
        "sums": sums.tolist(),
        "rows": count,
        "check_seconds": checked - start,
        "seconds": done - start,
        "asked_seconds": time.perf_counter() - done,
        "found": [[place.row, place.line, place.text] for place in places],
        "lineage_bytes": kept,
    }


def run_pandas(path: str, asked: list[int], rows: int) -> dict[str, Any]:
    """Two passes over chunks, with sums kept by hand."""
    import pandas as pd

    start = time.perf_counter()
    names = ["age", *(f"x{k}" for k in range(6))]
    count, total, squares, jobs = 0, 0.0, 0.0, set()
    cities: Any = None

    def chunks() -> Any:
        for chunk in pd.read_csv(path, chunksize=rows):
            kept = chunk.dropna(subset=["age"])
            yield kept[kept["x0"] < TOP]

    for chunk in chunks():
        numbers = chunk[names].to_numpy()
        count, total, squares = count + len(numbers), total + numbers.sum(axis=0), squares + (numbers**2).sum(axis=0)
        jobs |= set(chunk["job"].unique())
        each = chunk.groupby("city")["bought"].agg(["sum", "count"])
        cities = each if cities is None else cities.add(each, fill_value=0)
    mean = total / count
    std = np.sqrt(squares / count - mean**2)
    prior = cities["sum"].sum() / cities["count"].sum()
    encoded = (cities["sum"] + SMOOTHING * prior) / (cities["count"] + SMOOTHING)
    words = sorted(jobs)
    sums: Any = 0.0
    for chunk in chunks():
        scaled = np.clip((chunk[names].to_numpy() - mean) / std, -3, 3)
        city = chunk["city"].map(encoded).to_numpy()[:, None]
        hot = chunk["job"].to_numpy()[:, None] == np.array(words, dtype=object)
        sums = sums + np.concatenate([scaled, city, hot], axis=1).sum(axis=0)
    return {"sums": sums.tolist(), "rows": count, "seconds": time.perf_counter() - start}


def run_polars(path: str, asked: list[int], rows: int) -> dict[str, Any]:
    """Two queries of polars' streaming engine: the statistics, and the features' sums with them written in."""
    import polars as pl

    start = time.perf_counter()
    names = ["age", *(f"x{k}" for k in range(6))]
    kept = pl.scan_csv(path).drop_nulls("age").filter(pl.col("x0") < TOP)
    found = (
        kept.select(
            pl.len().alias("count"),
            *(pl.col(name).mean().alias(f"{name} mean") for name in names),
            *(pl.col(name).std(ddof=0).alias(f"{name} std") for name in names),
            pl.col("bought").mean().alias("prior"),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    each = (
        kept.group_by("city")
        .agg(pl.col("bought").sum().alias("sum"), pl.len().alias("count"))
        .collect(engine="streaming")
    )
    words = sorted(kept.select(pl.col("job").unique()).collect(engine="streaming").to_series().to_list())
    encoded = (each["sum"] + SMOOTHING * found["prior"]) / (each["count"] + SMOOTHING)
    scaled = [((pl.col(n) - found[f"{n} mean"]) / found[f"{n} std"]).clip(-3, 3).sum().alias(n) for n in names]
    city = pl.col("city").replace_strict(each["city"], encoded, return_dtype=pl.Float64).sum()
    hot = [(pl.col("job") == word).sum().alias(word) for word in words]
    sums = kept.select(*scaled, city, *hot).collect(engine="streaming").row(0)
    return {"sums": [float(x) for x in sums], "rows": found["count"], "seconds": time.perf_counter() - start}


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not tell this process's peak memory")


def contest(arm: str, path: str, asked: list[int], rows: int) -> dict[str, Any]:
    """One contestant in a process of its own."""
    code = (
        "import json, sys; from benchmarks import stream; given = json.load(sys.stdin); "
        "found = getattr(stream, 'run_' + given[0])(*given[1:]); found['peak'] = stream.peak(); print(json.dumps(found))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([arm, path, asked, rows]),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{arm} failed:\n{ran.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


# -- the judge ------------------------------------------------------------------------------------------------------------


def judged(found: dict[str, Any], truth: dict[str, Any], asked: list[int], sums: list[float]) -> dict[str, Any]:
    """How many answers are the generator's: row, line and the text of the line; and whether the features are those by hand."""
    kept = np.flatnonzero(truth["kept"])
    right = sum(
        row == kept[out] and line == row + 2 and text.startswith(f"{row},")
        for out, (row, line, text) in zip(asked, found["found"], strict=True)
    )
    return {
        "asked": len(asked),
        "right": int(right),
        "rows_right": found["rows"] == len(kept),
        "features_off": float(
            np.max(np.abs(np.subtract(found["sums"], sums)) / np.maximum(np.abs(sums), len(kept) * 1e-6))
        ),
    }


def main(quick: bool = False) -> dict[str, Any]:
    """Peak memory, time and lineage of the pipeline over a generated file."""
    gigabytes = QUICK_GIGABYTES if quick else GIGABYTES
    rows = 20_000 if quick else 100_000
    folder = Path(tempfile.mkdtemp(prefix="traceprop-stream-"))
    if shutil.disk_usage(folder).free < 1.5 * gigabytes * 1e9:
        raise OSError(f"{folder} has no room for a file of {gigabytes} GB; point TMPDIR to a larger disk")
    try:
        path = folder / "people.csv"
        truth = generate(path, gigabytes)
        count = int(truth["kept"].sum())
        asked = sorted(np.random.default_rng(0).choice(count, min(ASKED, count), replace=False).tolist())
        load = os.getloadavg()[0]
        found = {arm: contest(arm, str(path), asked, rows) for arm in ARMS}
    finally:
        shutil.rmtree(folder)
    judgement = judged(found["traceprop"], truth, asked, found["pandas"]["sums"])
    megabytes = truth["bytes"] / 1e6
    lines = [
        [
            {
                "traceprop": "traceprop, with row lineage",
                "pandas": "pandas by hand, chunks",
                "polars": "polars by hand, lazy",
            }[arm],
            f"{each['peak'] / 1e6:.0f} MB",
            f"{each['seconds']:.0f} s" if each["seconds"] >= 10 else f"{each['seconds']:.1f} s",
            f"{megabytes / each['seconds']:.0f} MB/s",
            f"{judgement['right']} of {judgement['asked']}" if arm == "traceprop" else "none kept",
        ]
        for arm, each in found.items()
    ]
    ours = found["traceprop"]
    note = (
        f"A generated CSV file of {megabytes / 1000:.2f} GB, {truth['rows']:,} rows: drop nulls, filter, scale, clip, target "
        f"encoding, one-hot. traceprop checks the file first ({ours['check_seconds']:.0f} s of its time) and reads it three "
        f"times; its lineage takes {ours['lineage_bytes'] / 1e6:.1f} MB. Answers are rows whose source row, line and text are "
        f"those of the generator. The load of the machine was {load:.1f} at the start."
    )
    for each in found.values():
        each.pop("found", None)
    return {
        "measured": measured_on(),
        "bytes": truth["bytes"],
        "rows": truth["rows"],
        "kept": count,
        "batch_rows": rows,
        "arms": found,
        "judged": judgement,
        "load": load,
        "table": table(["", "peak memory", "time", "file per second", "right answers on lineage"], lines, note),
    }
