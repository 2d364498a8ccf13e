"""What goes wrong on a cluster: workers that die in mid-run, ops that fail, files that change, clients that cannot."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from tests.runtime.dask.beside import check_lineage
from traceprop.errors import ChangedSourceError, ExecutionError, SourceError
from traceprop.runtime.dask import DaskExecutor

ROWS = 60


def dies_once(row, marker):
    """Takes its worker down, as an out-of-memory killer would, the first time that it meets row 40; else adds one."""
    if row[0] == 40.0 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return row + 1


def slow(row):
    time.sleep(0.005)
    return row + 1


def numbers(path: Path) -> Path:
    rng = np.random.default_rng(3)
    table = pl.DataFrame({"a": np.arange(ROWS, dtype=float), "b": rng.normal(size=ROWS), "c": rng.normal(size=ROWS)})
    table.write_csv(path)
    return path


def pipeline(x, change=lambda x: x):
    kept = x[x[:, 1] > -1]
    changed = change((kept - kept.mean(axis=0)) * 0 + kept)
    return (changed - changed.mean(axis=0)) / changed.std(axis=0)


def given(kind, path):
    return tp.from_csv(path, "x") if kind == "file" else tp.from_numpy(np.loadtxt(path, delimiter=",", skiprows=1), "x")


def test_a_worker_that_dies_at_an_op_changes_nothing(client, tmp_path):
    path, marker = numbers(tmp_path / "x.csv"), str(tmp_path / "died")

    def f(x):
        return pipeline(x, lambda kept: np.apply_along_axis(dies_once, 1, kept, marker))

    source = given("array", path)
    found = tp.trace(executor=client)(f)(source)
    Path(marker).unlink(missing_ok=True)
    result = np.asarray(found)
    assert Path(marker).exists(), "no worker died"
    here = tp.trace(f)(source)
    np.testing.assert_allclose(result, np.asarray(here), rtol=1e-12)
    check_lineage(here.call(), found.call())


@pytest.mark.parametrize("kind", ["file", "array"])
def test_a_worker_that_is_killed_in_mid_run_changes_nothing(client, tmp_path, kind):
    def f(x):
        return pipeline(x, lambda kept: np.apply_along_axis(slow, 1, kept))

    source = given(kind, numbers(tmp_path / "x.csv"))
    found = tp.trace(executor=client)(f)(source)
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_busy_worker, args=[client, killed])
    killer.start()
    result = np.asarray(found)
    killer.join()
    assert killed, "no worker was killed"
    here = tp.trace(f)(source)
    np.testing.assert_allclose(result, np.asarray(here), rtol=1e-12)
    check_lineage(here.call(), found.call())


def kill_a_busy_worker(client, killed):
    """Kills the first worker that is seen to work on a partition."""
    pids = client.run(os.getpid)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        busy = [worker for worker, keys in client.processing().items() if any("run_part" in key for key in keys)]
        if busy:
            os.kill(pids[busy[0]], signal.SIGKILL)
            killed.append(pids[busy[0]])
            return
        time.sleep(0.005)


def test_results_that_went_with_a_worker_are_made_again(client):
    x = np.arange(40.0).reshape(20, 2)
    result = tp.trace(executor=client)(lambda x: x * 2 + x.mean(axis=0))(x).persist()
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    np.testing.assert_allclose(np.asarray(result), x * 2 + x.mean(axis=0))


def test_an_op_that_fails_names_itself_and_the_line(client, tmp_path):
    table = tp.from_dataframe(pl.DataFrame({"a": ["1", "2", "three", "4"]}), "t")

    @tp.trace(executor=client)
    def f(t):
        return t.cast({"a": "i64"})  # the line

    with pytest.raises(ExecutionError, match=r"elementwise\[table.cast\] at test_faults.py:\d+ failed: .*'three'"):
        f(table).compute()


def test_a_file_that_is_another_on_the_worker_is_named(client, tmp_path):
    path = numbers(tmp_path / "x.csv")
    source = tp.from_csv(path, "x")
    f = tp.trace(executor=client)(lambda x: x - x.mean(axis=0))
    np.asarray(f(source))
    path.write_text(path.read_text().replace("\n41.0,", "\n42.0,"))
    with pytest.raises(ChangedSourceError, match=r"x\.csv has changed since it was read"):
        np.asarray(f(source))
    path.unlink()
    with pytest.raises(
        SourceError, match=r"x\.csv: there is no such file"
    ):  # said here or by a worker, whoever looks first
        np.asarray(f(source))


def test_an_array_that_changes_before_the_run_is_named(client):
    x = np.ones((4, 2))
    result = tp.trace(executor=client)(lambda x: x + 1)(x)
    x[0, 0] = 5
    with pytest.raises(ChangedSourceError, match="'x' changed"):
        np.asarray(result)


def test_no_client_says_the_way_out(client, monkeypatch):
    f = tp.trace(executor="dask")(lambda x: x + 1)
    np.testing.assert_array_equal(f(np.ones(3)), [2, 2, 2])  # on the current one
    monkeypatch.setattr("distributed.client._global_clients", {})
    with pytest.raises(ExecutionError, match=r"there is none: from dask.distributed import Client"):
        contextvars.Context().run(np.asarray, f(np.ones(3)))


def test_an_asynchronous_client_is_refused(client):
    from distributed import Client

    async def refused():
        async with Client(client.scheduler.address, asynchronous=True) as other:
            with pytest.raises(ExecutionError, match="asynchronous"):
                tp.trace(executor=other)

    asyncio.run(refused())


def test_a_closed_client_is_refused_and_so_are_its_results(client):
    from distributed import Client

    other = Client(client.scheduler.address, set_as_default=False)
    result = tp.trace(executor=other)(lambda x: x + 1)(np.ones(3)).persist()
    other.close()
    with pytest.raises(ExecutionError, match="is closed"):
        np.asarray(result)
    with pytest.raises(ExecutionError, match="is closed"):
        tp.trace(executor=other)


def test_other_executors_are_none():
    with pytest.raises(ValueError, match=r"executor is 'local', 'dask' or a dask.distributed.Client, not 'ray'"):
        tp.trace(executor="ray")
    with pytest.raises(ValueError, match="workers compute with NumPy"):
        tp.trace(executor="dask", backend="jax")


def test_functions_of_other_libraries_are_refused(client):
    call = tp.trace(lambda x: x + 1)(np.ones(3)).call()
    with pytest.raises(ExecutionError, match="computes with torch, whose calls do not travel"):
        DaskExecutor(client).run(call.program, call.inputs, {"world": "torch"})
