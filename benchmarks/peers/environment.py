"""Virtual environments for other people's packages, made once under benchmarks/cache.

The running environment lends what it has: its packages come after the new one's own on the path, so that pip installs what is
missing or has another version, and nothing of torch's size twice. What is asked for by name is always the environment's own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parents[1] / "cache" / "environments"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"


class NotInstalled(RuntimeError):
    """An environment could not be made; says what pip said."""


def libraries() -> Path:
    """The Python with traker, dattri, kronfluence and captum."""
    return python("peers", ["-r", str(REQUIREMENTS)], decided_by=REQUIREMENTS.read_text(encoding="utf-8"))


def published(version: str, lent: bool = True) -> Path:
    """The Python with the package that was published under the name traceprop."""
    return python(f"published-{version}", [f"traceprop=={version}"], lent=lent)


def python(name: str, *installs: list[str], decided_by: str = "", lent: bool = True) -> Path:
    """Return an environment's Python, made where it is missing: there whole or not at all.

    Parameters
    ----------
    installs
        What pip is given, call by call; constraints.txt holds for all of them.
    decided_by
        Further text that decides what is installed; other text, another environment.
    lent
        Whether it sees the running environment's packages.

    Raises
    ------
    NotInstalled
        With pip's last words.
    """
    text = "\n".join([sys.version, sysconfig.get_path("purelib"), str(lent), str(installs), decided_by])
    folder = CACHE / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if not (folder / "bin" / "python").exists():
        _make(name, folder, installs, lent)
    return folder / "bin" / "python"


def _make(name: str, folder: Path, installs: Iterable[list[str]], lent: bool) -> None:
    from rich.console import Console

    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    inside = part / "bin" / "python"
    try:
        with Console(stderr=True).status(f"installing the environment {name!r}, once (a minute or two)"):
            # pip is lent too, where there is one.
            venv.create(part, with_pip=not lent or importlib.util.find_spec("pip") is None)
            if lent:
                lenders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
                site = _said([inside, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
                (Path(site) / "lent.pth").write_text("\n".join(lenders) + "\n", encoding="utf-8")
            for install in installs:
                _said([inside, "-E", "-m", "pip", "install", "--quiet", "-c", CONSTRAINTS, *install])
        try:
            part.rename(folder)
        except OSError:  # another process was sooner
            if not folder.exists():
                raise
    except OSError as error:
        raise NotInstalled(f"not installed: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _said(command: list[Any]) -> str:
    """What a command prints. Raises NotInstalled with its last words."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or ["no message"]
        raise NotInstalled(f"not installed: {' '.join([line for line in lines if 'ERROR' in line][-2:]) or lines[-1]}")
    return ran.stdout
