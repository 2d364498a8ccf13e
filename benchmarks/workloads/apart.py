"""A group of workloads in a process of its own: `python -m benchmarks.workloads.apart arrays --quick`.

So no group sees what another imported (JAX above all), nor its memory. What a group's `main(quick)` returns is the last line
of the output, as JSON.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def apart(group: str, quick: bool) -> Any:
    """What a group measured. Raises `RuntimeError` with the end of its output where it failed."""
    command = [sys.executable, "-m", "benchmarks.workloads.apart", group, *(["--quick"] if quick else [])]
    start = time.perf_counter()
    print(f"{group.replace('_', ' ')} …", end=" ", flush=True)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"{time.perf_counter() - start:.0f} s", flush=True)
    if ran.returncode:
        raise RuntimeError(f"the workloads {group!r} failed:\n{ran.stderr[-3000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def main(arguments: list[str]) -> None:
    group, *options = arguments
    found = importlib.import_module(f"benchmarks.workloads.{group}").main(quick="--quick" in options)
    print()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
