"""What every library scores a task with: each method in a process of its own, in its environment; kept in benchmarks/cache."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import environment, given
from benchmarks.peers.method import Method

HERE = Path(__file__).parent
CACHE = HERE.parent / "cache" / "peers"
SHARED = ("given.py", "inside.py")
LIMIT = 3_600
"""Seconds of wall-clock time that a method may take."""


@dataclass(frozen=True, eq=False)
class PeerResult:
    """How one method at one setting scored a task, or why it did not.

    Attributes
    ----------
    scores
        float32 (t, n), positive where the training row raises the margin of the test row; `None` where it failed.
    cpu_seconds, wall_seconds
        On one thread, from the loaded model to the scores; NaN where it failed.
    group
        The method; results that share it differ in the setting alone.
    failed
        Empty, or why there are no scores.
    """

    library: str
    version: str
    group: str
    settings: str
    scores: np.ndarray | None = None
    cpu_seconds: float = float("nan")
    wall_seconds: float = float("nan")
    failed: str = ""


@dataclass(frozen=True)
class Peer:
    """A library at a version: the file that speaks to it, and how its environment's Python is found."""

    path: Path
    library: str
    version: str
    methods: tuple[Method, ...]
    python: Callable[[], Path]

    def group(self, method: Method, setting: str) -> str:
        """The method's name, or the setting's where each is a method."""
        name = f"{method.name}, {setting}" if method.apart and setting else method.name
        return name.replace("traceprop", f"traceprop {self.version}")


def peers() -> list[Peer]:
    """Every library, in the order of the table."""
    pinned = dict(
        line.split("==") for line in environment.REQUIREMENTS.read_text(encoding="utf-8").split() if "==" in line
    )
    found = []
    for name in ("traker", "dattri", "kronfluence", "captum"):
        module = importlib.import_module(f"benchmarks.peers.{name}")
        library = module.DISTRIBUTION
        found.append(Peer(HERE / f"{name}.py", library, pinned[library], module.METHODS, environment.libraries))
    from benchmarks.peers import published

    for version, methods in published.VERSIONS.items():
        interpreter = partial(environment.published, version)
        found.append(Peer(HERE / "published.py", published.DISTRIBUTION, version, methods, interpreter))
    return found


def scores(
    task: Any, quick: bool = False, among: Sequence[Peer] | None = None, cache: Path | None = None
) -> dict[str, PeerResult]:
    """Score a task by every method that is for its architecture.

    Parameters
    ----------
    task
        Anything with the fields of `given.Given`.
    quick
        One cheap method of each library.
    among
        The libraries; all of them if not given.

    Returns
    -------
    dict
        By title, in the order of the table. A library that fails has its results too, which say why.

    Raises
    ------
    ValueError
        Where the task's arrays do not fit together.
    """
    from rich.progress import Progress

    found: dict[str, PeerResult] = {}
    with tempfile.TemporaryDirectory() as folder, Progress(transient=True) as progress:
        path = Path(folder) / "task.npz"
        given.write(path, task)
        digest = _digest(given.read(path))
        jobs = [
            (peer, method)
            for peer in (peers() if among is None else among)
            for method in peer.methods
            if task.architecture["kind"] in method.kinds and (method.quick or not quick)
        ]
        bar = progress.add_task("", total=len(jobs))
        for peer, method in jobs:
            progress.update(bar, description=f"{task.name}: {method.name}")
            for result in _kept(peer, method, path, digest, cache or CACHE):
                several = len(method.settings) > 1 and not method.apart
                found[f"{result.group}, {result.settings}" if several and result.settings else result.group] = result
            progress.advance(bar)
    return found


def _digest(task: given.Given) -> str:
    """Names all that scores depend on of a task."""
    found = hashlib.sha256(json.dumps([task.architecture, task.training], sort_keys=True).encode())
    arrays = [getattr(task, name) for name in given.ARRAYS]
    arrays += [value for weights in (task.weights, *task.checkpoints) for _, value in sorted(weights.items())]
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def _kept(peer: Peer, method: Method, task: Path, digest: str, cache: Path) -> list[PeerResult]:
    """The results of a method: from the cache, or measured now. What failed whole is tried again each time."""
    decided_by = [peer.path.read_bytes(), *((HERE / name).read_bytes() for name in SHARED)]
    key = hashlib.sha256(b"\0".join([digest.encode(), peer.version.encode(), method.name.encode(), *decided_by]))
    path = cache / f"{peer.library}-{peer.version}-{key.hexdigest()[:16]}.npz"
    if path.exists():
        return list(_results(peer, method, path))
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    try:
        _run(
            [peer.python(), "-P", "-E", "-W", "ignore", HERE / "inside.py", peer.path, method.name, task, part],
            task.parent,
        )
        results = list(_results(peer, method, part))
        if any(result.scores is not None for result in results):
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        return results
    except (OSError, RuntimeError, ValueError, KeyError, subprocess.SubprocessError) as error:
        names = method.settings if method.apart else [""]
        return [PeerResult(peer.library, peer.version, peer.group(method, n), n, failed=str(error)) for n in names]
    finally:
        part.unlink(missing_ok=True)


def _results(peer: Peer, method: Method, path: Path) -> Iterator[PeerResult]:
    """The results in a file that `inside.py` wrote, one by setting."""
    with np.load(path, allow_pickle=False) as stored:
        for number, about in enumerate(json.loads(str(stored["settings"]))):
            named = (peer.library, peer.version, peer.group(method, about["settings"]), about["settings"])
            if "failed" in about:
                yield PeerResult(*named, failed=about["failed"])
                continue
            scores = stored[f"scores{number}"]
            if wrong := float(np.mean(~np.isfinite(scores))):
                yield PeerResult(*named, failed=f"{wrong:.0%} of the scores are not finite")
            else:
                yield PeerResult(*named, scores, about["cpu_seconds"], about["wall_seconds"])


def _run(command: list[Any], folder: Path) -> None:
    """Run a script in a folder; raises RuntimeError with its last words."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
            env={**os.environ, **threads},
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"stopped after {LIMIT:,} seconds") from None
    if ran.returncode < 0:
        raise RuntimeError(f"ended by signal {-ran.returncode}" + (" (out of memory?)" if ran.returncode == -9 else ""))
    if ran.returncode:
        raise RuntimeError((ran.stderr.strip().splitlines() or ["no message"])[-1])
