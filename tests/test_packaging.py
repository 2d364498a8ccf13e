"""What a user installs: a package that loads quickly, and wheels and sdists that hold everything."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What `import traceprop` must not load: each takes longer to import than most calls take to run.
HEAVY = {"torch", "jax", "pandas", "polars", "sklearn", "scipy", "pyarrow", "jinja2", "rich", "typer"}


def run_python(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "statement", ["import traceprop", "import traceprop as tp; tp.from_csv; tp.trace; tp.provenance"]
)
def test_import_loads_nothing_heavy(statement: str, tmp_path: Path) -> None:
    loaded = json.loads(run_python(f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)))", tmp_path))
    assert not HEAVY & set(loaded)


def test_import_time_beyond_numpy(tmp_path: Path) -> None:
    code = "import numpy, time; t = time.perf_counter(); import traceprop; print(time.perf_counter() - t)"
    assert min(float(run_python(code, tmp_path)) for _ in range(3)) < 0.150


def test_no_top_level_ir_or_passes(tmp_path: Path) -> None:
    found = run_python("import importlib.util as u; print(u.find_spec('ir'), u.find_spec('passes'))", tmp_path)
    assert found.split() == ["None", "None"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and an sdist, built from what git would commit, without touching the checkout."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.exists():
            target.write_bytes(source.read_bytes())
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def expected_files() -> set[str]:
    """Every module and data file of the package, by its path in an installed package."""
    suffixes = {".py", ".pyi", ".pyx", ".lark", ".gz", ".md", ".html", ".jinja", ".css"}
    names = set()
    for top, prefix in (
        (ROOT / "traceprop", "traceprop"),
        (ROOT / "ir", "traceprop/ir"),
        (ROOT / "passes", "traceprop/passes"),
    ):
        for path in top.rglob("*"):
            if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
                names.add(f"{prefix}/{path.relative_to(top).as_posix()}")
    return names | {"traceprop/py.typed"}


@pytest.mark.slow
def test_wheel_holds_the_links_as_folders(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not expected_files() - names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"traceprop", next(top for top in tops if top.endswith(".dist-info"))}


@pytest.mark.slow
def test_sdist_holds_the_links_as_folders(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {member.name.split("/", 1)[-1]: member for member in archive.getmembers()}
    assert not (expected_files() | {"pyproject.toml", "setup.py", "LICENSE"}) - set(members)
    assert not [name for name, member in members.items() if member.issym()]


@pytest.mark.slow
def test_the_wheel_runs_elsewhere(built: Path, tmp_path: Path) -> None:
    """Unpacked away from the checkout, the wheel alone is imported: its own files, its own links."""
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import numpy as np, traceprop as tp, traceprop.ir
assert traceprop.ir.__file__.startswith({str(tmp_path)!r}), traceprop.ir.__file__
x = tp.from_numpy(np.arange(6.0).reshape(3, 2), source_id="a")
print(np.asarray(x - x.mean(axis=0)).tolist())
"""
    assert json.loads(run_python(code, tmp_path)) == [[-2.0, -2.0], [0.0, 0.0], [2.0, 2.0]]
