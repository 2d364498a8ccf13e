"""The traceprop packages that were published before, each in a virtual environment of its own, on the same functions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import environment

VERSIONS = ("0.6.0", "0.7.0")


def main(quick: bool) -> dict[str, Any]:
    """By version: what its script printed, or `None` where it could not be installed or run (and `why`)."""
    return {version: _measured(version, quick) for version in VERSIONS}


def _measured(version: str, quick: bool) -> dict[str, Any]:
    try:
        python = environment.published(version, lent=False)  # NumPy alone, as it comes
        script = Path(__file__).parent / "published_script.py"
        out = _run([python, "-E", "-W", "ignore", script, *(["--quick"] if quick else [])], 1200)
        return json.loads(out.splitlines()[-1])  # type: ignore[no-any-return]
    except (OSError, RuntimeError, subprocess.SubprocessError, ValueError) as error:
        return {"version": version, "calls": None, "why": str(error)[-500:]}


def _run(command: list[Any], seconds: float) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, cwd=environment.CACHE)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-500:])
    return ran.stdout


if __name__ == "__main__":
    print(json.dumps(main("--quick" in sys.argv), indent=1))
