"""Runs in one SQLite file: nothing to install, nothing to start."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from traceprop.errors import CorruptError, StoreError
from traceprop.stores import schema
from traceprop.stores.run import Size
from traceprop.stores.sql import AbstractSqlStore, Execute

_APPLICATION = 0x7450726F  # "tPro": what `file` and SQLite's own tools can tell the file by
_PAGE = 16384  # positions are megabytes: larger pages are fewer to follow when they are read or removed
_PATIENCE = 60.0
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_left_by_parent: list[sqlite3.Connection] = []
T = TypeVar("T")


class SQLiteStore(AbstractSqlStore):
    """A store in a file, which is made by the first `save`.

    Several processes may read and write it at a time (on one machine: not over a network file system); writers wait for one
    another for up to a minute.
    """

    _words: ClassVar = {"bytes": "BLOB", "number": "INTEGER PRIMARY KEY AUTOINCREMENT", "by_hash": ""}

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.place = f"the store {os.fspath(path)}"
        self._absolute = self.path.absolute()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._known_version = 0

    def close(self) -> None:
        with self._lock:
            self._forget_parent()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # -- transactions -------------------------------------------------------------------------------------------------

    def _reading(self, work: Callable[[Execute], T], otherwise: T) -> T:
        with self._lock, self._explained("reading"):
            if not self._exists():
                return otherwise
            connection = self._open()
            with _transaction(connection, "BEGIN"):
                version = self._version(connection)
                if version == schema.VERSION:
                    return work(_executor(connection))
            if version == 0:
                return otherwise
        self._writing(lambda execute: None)
        return self._reading(work, otherwise)

    def _writing(self, work: Callable[[Execute], T], alone: bool = False) -> T:
        with self._lock, self._explained("writing"):
            self._absolute.parent.mkdir(parents=True, exist_ok=True)
            connection = self._open(writing=True)
            with _transaction(connection, "BEGIN IMMEDIATE"):
                execute = _executor(connection)
                version = self._version(connection)
                if version < schema.VERSION:
                    self._migrate(execute, version)
                result = work(execute)
            if alone:  # gives the room of what was removed back to the disk
                connection.executescript("PRAGMA incremental_vacuum")  # execute() would stop after a page
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return result

    def _version(self, connection: sqlite3.Connection) -> int:
        """The version of the tables, 0 where there are none. Raises for a file of someone else's, or a newer version."""
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if not tables:
            return 0
        if "traceprop_schema" not in tables:
            raise StoreError(f"{self.path} is a SQLite database of something else (it has the table {tables[0]!r})")
        ((version,),) = connection.execute("SELECT version FROM traceprop_schema").fetchall()
        if version > schema.VERSION:
            raise self._too_new(version)
        return int(version)

    # -- the connection -----------------------------------------------------------------------------------------------

    def _exists(self) -> bool:
        return self._absolute.exists() and self._absolute.stat().st_size > 0

    def _forget_parent(self) -> None:
        """After a fork: the connection is the parent's, and closing it here would take its locks away."""
        if self._process != os.getpid():
            if self._connection is not None:
                _left_by_parent.append(self._connection)
            self._connection, self._process = None, os.getpid()

    def _open(self, writing: bool = False) -> sqlite3.Connection:
        self._forget_parent()
        if self._connection is None:
            self._connection = self._connected(writing)
        return self._connection

    def _connected(self, writing: bool) -> sqlite3.Connection:
        try:
            return self._prepared(self._absolute.as_uri(), writing)
        except sqlite3.OperationalError as error:
            log = Path(f"{self._absolute}-wal")
            if writing or _code(error) not in _FORBIDDEN or (log.exists() and log.stat().st_size):
                raise
        # In a folder that may not be written to, readers cannot tell writers of themselves; and there are no writers.
        return self._prepared(f"{self._absolute.as_uri()}?immutable=1", writing)

    def _prepared(self, uri: str, writing: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, uri=True)
        try:
            fresh = writing and not self._exists()
            if fresh:
                connection.execute(f"PRAGMA page_size = {_PAGE}")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            _patiently(lambda: self._write_ahead(connection, fresh))
        except BaseException:
            connection.close()
            raise
        return connection

    def _write_ahead(self, connection: sqlite3.Connection, fresh: bool) -> None:
        ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
        if mode != "wal" and (fresh or os.access(self._absolute, os.W_OK)):
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._version(connection)  # before anything is changed in a file that may not be ours
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            if fresh:
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """SQLite's errors in words that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._in_words(error, doing) from error
        except OSError as error:
            raise StoreError(f"{doing} {self.path}: {error.strerror or error}") from error

    def _in_words(self, error: sqlite3.Error, doing: str) -> Exception:
        code = _code(error)
        unchanged = "; nothing was changed" if doing == "writing" else ""
        if code in _BUSY:
            return StoreError(f"{self.path} is held by another writer, for more than {_PATIENCE:.0f} s{unchanged}")
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"no room on the disk of {self.path}{unchanged}")
        if code in _FORBIDDEN:
            return StoreError(
                f"{self.path} cannot be opened for {doing} ({error}): may this user do so there?{unchanged}"
            )
        if code == sqlite3.SQLITE_NOTADB:
            return CorruptError(f"{self.path} is not a SQLite database")
        if code == sqlite3.SQLITE_CORRUPT:
            return CorruptError(
                f"{self.path} is damaged ({error}); what can still be read: sqlite3 {self.path} .recover"
            )
        return StoreError(f"{doing} {self.path}: {error}{unchanged}")

    # -- what it takes ------------------------------------------------------------------------------------------------

    def _measure(self) -> Size:
        files = [Path(f"{self._absolute}{ending}") for ending in ("", "-wal", "-shm")]
        kinds, runs = self._counted()
        return Size(sum(file.stat().st_size for file in files if file.exists()), kinds, runs)

    def _problems(self) -> Iterator[str]:
        def work(execute: Execute) -> list[str]:
            found = [text for (text,) in execute("PRAGMA integrity_check") if text != "ok"]
            return found + [f"a row of {table} refers to none" for table, *_ in execute("PRAGMA foreign_key_check")]

        yield from (f"{self.place}: {problem}" for problem in self._reading(work, []))


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    _patiently(lambda: connection.execute(begin))
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures, a full disk among them, have rolled back already
            connection.execute("ROLLBACK")
        raise


def _executor(connection: sqlite3.Connection) -> Execute:
    def execute(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return connection.execute(statement, values).fetchall()

    return execute


def _patiently(attempt: Callable[[], Any]) -> None:
    """Tries again while another process is in the way; SQLite itself waits in most cases, not in all."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            attempt()
            return
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or time.monotonic() > end:
                raise
        time.sleep(random.uniform(0.001, 0.02))  # noqa: S311


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of Python's own."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
