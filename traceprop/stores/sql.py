"""What SQLite and PostgreSQL share: the statements. How to connect, and what locks whom, each says for itself."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from traceprop.errors import CorruptError, NewerVersionError
from traceprop.stores import schema
from traceprop.stores.blobs import Blob, digest_of
from traceprop.stores.run import Run
from traceprop.stores.store import AbstractStore

_PART = 8 << 20
_HEADER = "header"
_LISTED = "id, name, saved, location, metadata, size"
T = TypeVar("T")
Execute = Callable[..., list[tuple[Any, ...]]]
"""A statement with `?` for values, and the values: gives the rows."""


class AbstractSqlStore(AbstractStore):
    """A store in the tables of `schema.py`. Values are parameters of statements, never part of their text."""

    _words: ClassVar[dict[str, str]]
    """What the database calls `{bytes}`, `{number}` and `{by_hash}`."""

    @abstractmethod
    def _reading(self, work: Callable[[Execute], T], otherwise: T) -> T:
        """The result of some statements that see one state of the store; `otherwise` where there is no store yet."""

    @abstractmethod
    def _writing(self, work: Callable[[Execute], T], alone: bool = False) -> T:
        """The result of statements that are all done, on a store that is made where there is none, or all not.

        `alone`: while nobody else writes.
        """

    # -- the store ----------------------------------------------------------------------------------------------------

    def _write(self, run: Run, header: bytes, blobs: Sequence[Blob]) -> None:
        ordered = sorted(
            blobs, key=lambda blob: blob.digest
        )  # in one order for all, so that no two writers wait in a ring

        def work(execute: Execute) -> None:
            if execute("SELECT 1 FROM traceprop_runs WHERE id = ?", run.id):
                return  # an attempt before this one was told of no success, and had it
            ((number,),) = execute(
                f"INSERT INTO traceprop_runs ({_LISTED}) VALUES (?, ?, ?, ?, ?, ?) RETURNING number",  # noqa: S608
                run.id, run.name, run.saved.isoformat(), run.location, json.dumps(dict(run.metadata)), run.bytes,
            )  # fmt: skip
            execute(
                "INSERT INTO traceprop_headers (run, checksum, content) VALUES (?, ?, ?)",
                number, digest_of(_HEADER, header), header,
            )  # fmt: skip
            for blob in ordered:
                self._write_blob(execute, blob)
                execute("INSERT INTO traceprop_uses (run, digest) VALUES (?, ?)", number, blob.digest)

        self._writing(work)

    def _write_blob(self, execute: Execute, blob: Blob) -> None:
        """Writes a blob that is not there yet."""
        added = execute(
            "INSERT INTO traceprop_blobs (digest, kind, size) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING digest",
            blob.digest, blob.kind, blob.size,
        )  # fmt: skip
        if added:
            content = memoryview(blob.fetch())
            for part, start in enumerate(range(0, max(len(content), 1), _PART)):
                execute(
                    "INSERT INTO traceprop_parts (digest, part, content) VALUES (?, ?, ?)",
                    blob.digest, part, content[start : start + _PART],
                )  # fmt: skip

    def _list(self, name: str | None) -> list[Run]:
        chosen, values = ("", ()) if name is None else ("WHERE name = ? ", (name,))
        statement = f"SELECT {_LISTED} FROM traceprop_runs {chosen}ORDER BY number"  # noqa: S608
        return [_run(*row) for row in self._reading(lambda execute: execute(statement, *values), [])]

    def _find(self, name: str | None, run: str | None) -> tuple[Run, bytes] | None:
        wanted = {"name": name, "id": run}
        chosen = " AND ".join(f"{column} = ?" for column, value in wanted.items() if value is not None)
        statement = (
            f"SELECT {_LISTED}, checksum, content FROM traceprop_runs LEFT JOIN traceprop_headers ON run = number "  # noqa: S608
            f"WHERE {chosen} ORDER BY number DESC LIMIT 1"
        )
        values = [value for value in wanted.values() if value is not None]
        rows = self._reading(lambda execute: execute(statement, *values), [])
        if not rows:
            return None
        *listed, checksum, content = rows[0]
        found = _run(*listed)
        if content is None or digest_of(_HEADER, bytes(content)) != checksum:
            raise CorruptError(
                f"the header of the run {found.name[:100]!r} ({found.id}) in {self.place} is damaged: "
                + ("it is missing" if content is None else "its checksum differs")
            )
        return found, bytes(content)

    def _fetch(self, run: str, digest: str) -> bytes | None:
        statement = "SELECT content FROM traceprop_parts WHERE digest = ? ORDER BY part"
        rows = self._reading(lambda execute: execute(statement, digest), [])
        if not rows:
            return None
        return bytes(rows[0][0]) if len(rows) == 1 else b"".join(bytes(content) for (content,) in rows)

    def _remove(self, runs: Sequence[str]) -> None:
        def work(execute: Execute) -> None:
            for run in runs:
                execute("DELETE FROM traceprop_runs WHERE id = ?", run)
            execute(
                "DELETE FROM traceprop_blobs WHERE NOT EXISTS "
                "(SELECT 1 FROM traceprop_uses WHERE traceprop_uses.digest = traceprop_blobs.digest)"
            )

        self._writing(work, alone=True)

    def _counted(self) -> tuple[dict[str, int], int]:
        """Bytes by kind, and the number of runs."""

        def work(execute: Execute) -> tuple[dict[str, int], int]:
            kinds = dict(execute("SELECT kind, sum(size) FROM traceprop_blobs GROUP BY kind"))
            ((count, headers),) = execute("SELECT count(*), coalesce(sum(length(content)), 0) FROM traceprop_headers")
            return {**{kind: int(size) for kind, size in kinds.items()}, "headers": int(headers)}, int(count)

        return self._reading(work, ({}, 0))

    # -- versions -----------------------------------------------------------------------------------------------------

    def _migrate(self, execute: Execute, version: int) -> None:
        """Brings the tables from a version to this one, step by step, inside a transaction."""
        for step in schema.MIGRATIONS[version:]:
            step(lambda statement: execute(statement.format(**self._words)))
        execute("UPDATE traceprop_schema SET version = ?", schema.VERSION)

    def _too_new(self, version: int) -> NewerVersionError:
        return NewerVersionError(
            f"{self.place} was written by a newer traceprop (its tables have version {version}, this one knows up to "
            f"{schema.VERSION}); upgrade traceprop to open it. Nothing was changed"
        )


def _run(id: str, name: str, saved: str, location: str, metadata: str, size: int) -> Run:
    return Run(id, name, datetime.fromisoformat(saved), location, json.loads(metadata), int(size))
