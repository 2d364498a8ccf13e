"""Writers that are killed with SIGKILL at random moments, and eight that write at once: nothing lost, halved or mixed up."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.stores.asking import ROOT

TASKS = {
    "sqlite": ("crowd:8:20", "kill:20"),
    "postgres": ("crowd:8:20", "kill:20"),
    "parquet": ("crowd:4:5", "kill:20"),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that fork")
def test_nothing_lost_nothing_half_written(make):
    command = [sys.executable, "-m", "benchmarks.tasks.writers", make.kind, make.address, *TASKS[make.kind]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["crowd"]["runs"] >= 20
    assert found["kill"]["kills"] == 20
    assert found["kill"]["told"] > 0
    assert len(make().runs()) >= found["crowd"]["runs"] + found["kill"]["told"]
