"""One real cluster for the tests here: two worker processes of one thread each."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def client():
    """A client of a `LocalCluster` of processes."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (traceprop[dask])")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
