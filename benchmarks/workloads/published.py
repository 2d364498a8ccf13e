"""The traceprop packages that were published before, each in a virtual environment of its own, on the same functions."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

VERSIONS = ("0.6.0", "0.7.0")
CACHE = Path(__file__).parents[1] / "cache"


def main(quick: bool) -> dict[str, Any]:
    """By version: what its script printed, or `None` where it could not be installed or run (and `why`)."""
    return {version: _measured(version, quick) for version in VERSIONS}


def _measured(version: str, quick: bool) -> dict[str, Any]:
    python = CACHE / f"published-{version}" / "bin" / "python"
    try:
        if not python.exists():
            venv.create(python.parents[1], with_pip=True)
        if subprocess.run(
            [python, "-E", "-c", "import traceprop"], capture_output=True, check=False, cwd=CACHE
        ).returncode:
            _run([python, "-E", "-m", "pip", "install", "--quiet", f"traceprop=={version}"], 600)
        script = Path(__file__).parent / "published_script.py"
        out = _run([python, "-E", "-W", "ignore", script, *(["--quick"] if quick else [])], 1200)
        return json.loads(out.splitlines()[-1])  # type: ignore[no-any-return]
    except (OSError, RuntimeError, subprocess.SubprocessError, ValueError) as error:
        return {"version": version, "calls": None, "why": str(error)[-500:]}


def _run(command: list[Any], seconds: float) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, cwd=CACHE)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-500:])
    return ran.stdout


if __name__ == "__main__":
    print(json.dumps(main("--quick" in sys.argv), indent=1))
