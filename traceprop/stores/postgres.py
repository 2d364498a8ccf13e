"""Runs in a PostgreSQL database, for several machines (extra `postgres`)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from traceprop.errors import MissingExtraError, StoreError
from traceprop.stores import schema
from traceprop.stores.run import Size
from traceprop.stores.sql import AbstractSqlStore, Execute

if TYPE_CHECKING:
    import psycopg

_LOCK = 0x7472616365  # "trace": shared by those who save, taken alone by those who prune or change the tables
_ATTEMPTS = 4
_TABLES = ("schema", "runs", "headers", "blobs", "parts", "uses")
_left_by_parent: list[Any] = []
T = TypeVar("T")


class PostgresStore(AbstractSqlStore):
    """A store in the tables `traceprop_…` of the DSN's schema (its `search_path`), which the first `save` makes.

    `dsn`: what libpq takes, `postgresql://user@host/database` or `host=… dbname=…`. A lost connection is opened again once;
    what was being saved then is saved whole, or a `StoreError` says that it is not.
    """

    _words: ClassVar = {"bytes": "BYTEA", "number": "BIGSERIAL PRIMARY KEY", "by_hash": "USING hash "}

    def __init__(self, dsn: str) -> None:
        self._psycopg = _driver()
        self._dsn = dsn
        self.place = f"the store in {_shown(dsn)}"
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self._process = os.getpid()

    def close(self) -> None:
        with self._lock:
            self._forget_parent()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # -- transactions -------------------------------------------------------------------------------------------------

    def _reading(self, work: Callable[[Execute], T], otherwise: T) -> T:
        def read(execute: Execute) -> tuple[bool, T]:
            version = self._version(execute)
            return (version in (0, schema.VERSION), work(execute) if version == schema.VERSION else otherwise)

        done, result = self._attempted("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", read, "reading")
        if done:
            return result
        self._writing(lambda execute: None)
        return self._reading(work, otherwise)

    def _writing(self, work: Callable[[Execute], T], alone: bool = False) -> T:
        def write(execute: Execute) -> tuple[bool, Any]:
            self._take_lock(execute, alone)
            version = self._version(execute)
            if version < schema.VERSION:
                if not alone:
                    return False, None
                self._migrate(execute, version)
            return True, work(execute)

        done, result = self._attempted("BEGIN", write, "writing")
        return result if done else self._writing(work, alone=True)  # type: ignore[no-any-return]

    def _take_lock(self, execute: Execute, alone: bool) -> None:
        if alone:
            execute("SELECT pg_advisory_xact_lock(?)", _LOCK)
        else:
            execute("SELECT pg_advisory_xact_lock_shared(?)", _LOCK)

    def _version(self, execute: Execute) -> int:
        # Not to_regclass: behind a lock that was waited for, it may still say what it said before the table was made.
        if not execute("SELECT 1 FROM pg_class WHERE relname = 'traceprop_schema' AND pg_table_is_visible(oid)"):
            return 0
        ((version,),) = execute("SELECT version FROM traceprop_schema")
        if version > schema.VERSION:
            raise self._too_new(version)
        return int(version)

    def _attempted(self, begin: str, work: Callable[[Execute], T], doing: str) -> T:
        """A transaction, begun again where the connection was lost or another transaction was in the way.

        That is safe: nothing of it was done, unless it was the answer to COMMIT that got lost, and what is written has an id.
        """
        psycopg = self._psycopg
        with self._lock:
            for left in reversed(range(_ATTEMPTS)):
                connection = self._open(doing)
                try:
                    with _transaction(connection, begin) as execute:
                        return work(execute)
                except psycopg.Error as error:
                    lost = connection.closed or isinstance(error, psycopg.InterfaceError)
                    if lost:
                        self._connection = None
                    if not left or not (lost or isinstance(error, psycopg.errors.TransactionRollback)):
                        raise self._in_words(error, doing, lost) from error
        raise AssertionError("unreachable")

    def _in_words(self, error: Exception, doing: str, lost: bool) -> StoreError:
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        unchanged = "; nothing was changed" if doing == "writing" and not lost else ""
        if lost:
            return StoreError(
                f"the connection to {self.place} was lost again and again while {doing} ({told}); is the server well?"
            )
        if isinstance(error, self._psycopg.errors.DiskFull):
            return StoreError(f"no room on the disk of {self.place} ({told}){unchanged}")
        return StoreError(f"{doing} {self.place}: {told}{unchanged}")

    def _remove(self, runs: Sequence[str]) -> None:
        super()._remove(runs)
        with (
            self._lock,
            contextlib.suppress(self._psycopg.Error),
        ):  # where it may not, the server does it in its own time
            self._open("writing").execute("VACUUM traceprop_parts, traceprop_blobs, traceprop_headers, traceprop_uses")

    # -- the connection -----------------------------------------------------------------------------------------------

    def _forget_parent(self) -> None:
        """After a fork: the connection is the parent's."""
        if self._process != os.getpid():
            if self._connection is not None:
                _left_by_parent.append(self._connection)
            self._connection, self._process = None, os.getpid()

    def _open(self, doing: str) -> psycopg.Connection[Any]:
        self._forget_parent()
        if self._connection is None or self._connection.closed:
            try:
                self._connection = self._psycopg.connect(self._dsn, autocommit=True)
            except self._psycopg.Error as error:
                told = str(error).strip().splitlines()[0]
                raise StoreError(f"{doing} {self.place}: there is no connection ({told})") from error
        return self._connection

    # -- what it takes ------------------------------------------------------------------------------------------------

    def _measure(self) -> Size:
        def work(execute: Execute) -> int:
            return sum(
                int(execute("SELECT pg_total_relation_size(?::regclass)", f"traceprop_{t}")[0][0]) for t in _TABLES
            )

        kinds, runs = self._counted()
        return Size(self._reading(work, 0), kinds, runs)


@contextlib.contextmanager
def _transaction(connection: psycopg.Connection[Any], begin: str) -> Iterator[Execute]:
    cursor = connection.cursor(binary=True)  # bytes come as bytes, not as twice as many hexadecimal digits

    def execute(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor.execute(statement.replace("?", "%s"), values or None)
        return cursor.fetchall() if cursor.description is not None else []

    cursor.execute(begin)
    try:
        yield execute
        cursor.execute("COMMIT")
    except BaseException:
        if not connection.closed:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                cursor.execute("ROLLBACK")
        raise


def _driver() -> Any:
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError:
        raise MissingExtraError("PostgresStore needs psycopg: pip install 'traceprop[postgres]'") from None
    return psycopg


def _shown(dsn: str) -> str:
    """A DSN for messages, without passwords."""
    psycopg = _driver()
    try:
        known = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise StoreError(
            f"a DSN such as 'postgresql://user@host/database' is needed: {str(error).strip().splitlines()[0].split(dsn)[0]}"
        ) from None
    host = known.get("host") or "this machine"
    port = f":{known['port']}" if known.get("port") else ""
    return f"PostgreSQL at {host}{port}, database {known.get('dbname') or known.get('user') or 'of this user'}"
