"""Run by the Python of another environment: `inside.py PEER.py METHOD task.npz out.npz`.

One method of one library, in a process and on one thread of its own. CPU seconds run from the loaded model to the scores of each
setting; what all settings share counts for each of them.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

# After the environment's own packages: this project's must not hide one that was published under the same name.
sys.path.append(str(Path(__file__).parents[2]))

import numpy as np

from benchmarks.peers.given import read


def main(peer: str, method: str, given: str, out: str) -> None:
    spec = importlib.util.spec_from_file_location("peer", peer)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["peer"] = module
    spec.loader.exec_module(module)
    task = read(Path(given))
    chosen = next(each for each in module.METHODS if each.name == method and task.kind in each.kinds)
    work = chosen.prepare(task)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # what Adam leaves in weights that nothing uses would slow everybody down
        torch.manual_seed(0)
    clock = Clock()
    fitted = work.fit()
    shared = clock.read()
    found: dict[str, np.ndarray] = {}
    settings = []
    for number, (words, setting) in enumerate(chosen.settings.items()):
        clock = Clock()
        try:
            scores = np.asarray(work.scores(fitted, setting), dtype=np.float32)
            if scores.shape != (len(task.y_test), len(task.y)):
                raise ValueError(f"scores of shape {scores.shape}, not one for each test and training row")
        except Exception as error:  # the other settings may do
            settings.append({"settings": words, "failed": " ".join(f"{type(error).__name__}: {error}".split())})
            continue
        seconds = [mine + theirs for mine, theirs in zip(shared, clock.read(), strict=True)]
        settings.append({"settings": words, "cpu_seconds": seconds[0], "wall_seconds": seconds[1]})
        found[f"scores{number}"] = scores
    np.savez(out, settings=np.array(json.dumps(settings)), **found)  # type: ignore[arg-type]


class Clock:
    """CPU and wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        return time.process_time() - self.start[0], time.perf_counter() - self.start[1]


if __name__ == "__main__":
    main(*sys.argv[1:])
