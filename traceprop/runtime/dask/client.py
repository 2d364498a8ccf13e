"""The Dask client that runs a program, and what it says when there is none, or none that can."""

from __future__ import annotations

from typing import Any

from traceprop.errors import ExecutionError, MissingExtraError

START = "from dask.distributed import Client; client = Client()"


def check_client(client: Any) -> Any:
    """The client itself. Raises `ExecutionError` for one that is closed, or that hands out awaitables."""
    if client.asynchronous:
        raise ExecutionError(
            "the Dask client is asynchronous, and lazy values give their data at once: np.asarray cannot await. Make one with "
            "Client(address) in the thread that asks (for a loop that must go on, in asyncio.to_thread)"
        )
    if client.status != "running":
        raise ExecutionError(f"the Dask client is {client.status}; connect again ({START}) and trace with the new one")
    return client


def current_client() -> Any:
    """The client at hand: of the task that runs, or the one made last. Raises `ExecutionError` where there is none."""
    distributed = _distributed()
    try:
        client = distributed.Client.current()
    except ValueError:
        raise ExecutionError(
            f'executor="dask" runs on the current Dask client, and there is none: {START}, or give executor=client '
            "(executor='local' needs none)"
        ) from None
    return check_client(client)


def is_client(value: Any) -> bool:
    """Whether a value is a `dask.distributed.Client`; imports nothing."""
    return any(kind.__name__ == "Client" and kind.__module__.startswith("distributed.") for kind in type(value).__mro__)


def threads_of(client: Any) -> int:
    """How many tasks run at once. Raises `ExecutionError` for a cluster that has no worker, after waiting for one."""
    threads = sum(client.nthreads().values())
    if not threads:
        try:
            client.wait_for_workers(1, timeout=30)
        except TimeoutError:
            raise ExecutionError("the Dask cluster has no workers (waited 30 s); start some, or scale it up") from None
        threads = sum(client.nthreads().values())
    return max(1, int(threads))


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise MissingExtraError('executor="dask" needs dask.distributed: pip install traceprop[dask]') from None
    return distributed
