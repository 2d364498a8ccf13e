"""Runs in a folder of Parquet files: nothing to start, read by every dataframe library, copied with `cp` or `rsync`.

store.json                     what the folder is, and its version
runs/<id>.<name's hash>/       a run: written under another name, synced, and moved here
    run.json                   what is listed of it
    lineage.parquet            kind, digest, content: the header and the blobs, each in a row group of its own
parts/                         runs that are being written or removed
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from traceprop.errors import CorruptError, NewerVersionError, StoreError
from traceprop.stores.blobs import Blob, digest_of
from traceprop.stores.durable import sync_folder, write_synced
from traceprop.stores.run import Run, Size
from traceprop.stores.store import AbstractStore

MIGRATIONS: tuple[Callable[[Path], None], ...] = ()
"""The nth leads a folder from version n + 1 to n + 2; each leaves it readable by the version before until it is through."""

VERSION = 1 + len(MIGRATIONS)
_HEADER = "header"
_FORGOTTEN_AFTER = 24 * 3600.0


class ParquetStore(AbstractStore):
    """A store in a folder, which the first `save` makes. Runs share nothing: each folder under `runs/` is whole by itself."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        self.place = f"the store {os.fspath(folder)}"
        self._absolute = self.path.absolute()
        self._runs = self._absolute / "runs"
        self._parts = self._absolute / "parts"
        self._known: dict[str, Path] = {}

    def close(self) -> None:
        return

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, run: Run, header: bytes, blobs: Sequence[Blob]) -> None:
        with self._explained("writing"):
            self._ready_to_write()
            part = self._parts / f"{run.id}-{secrets.token_hex(4)}"
            try:
                part.mkdir()
                write_synced(part / "lineage.parquet", _table(header, blobs))
                write_synced(part / "run.json", _listing(run, header, blobs))
                sync_folder(part)
                part.rename(self._runs / f"{run.id}.{_hashed(run.name)}")
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            sync_folder(self._runs)

    def _ready_to_write(self) -> None:
        """Makes the folder, or brings an older one up to this version."""
        version = self._version()
        if version == 0:
            for folder in (self._runs, self._parts):
                folder.mkdir(parents=True, exist_ok=True)
            self._set_version(VERSION)
            sync_folder(self._absolute.parent)
        self._migrate(version)
        self._parts.mkdir(exist_ok=True)  # empty folders get lost in copies

    def _migrate(self, version: int) -> None:
        for number, step in enumerate(MIGRATIONS[version - 1 :] if version else (), version + 1):
            step(self._absolute)
            self._set_version(number)

    def _set_version(self, version: int) -> None:
        new = self._parts / f"store-{secrets.token_hex(4)}.json"
        write_synced(new, json.dumps({"format": "traceprop store", "version": version}).encode())
        new.rename(self._absolute / "store.json")
        sync_folder(self._absolute)

    def _version(self) -> int:
        """The version of the folder, 0 where there is none. Raises for a folder of something else, or a newer version."""
        mark = self._absolute / "store.json"
        if not mark.exists():
            names = {entry.name for entry in self._absolute.iterdir()} if self._absolute.is_dir() else set()
            if "store.json" not in names:  # another thread may have written it just now
                if not names <= {"runs", "parts"}:
                    raise StoreError(f"{self.path} is a folder of something else: it has files, and no store.json")
                return 0
        try:
            found = json.loads(mark.read_bytes())
            version = int(found["version"]) if found["format"] == "traceprop store" else None
        except (ValueError, KeyError, TypeError):
            version = None
        if version is None or version < 1:
            raise CorruptError(f'{mark} is damaged, or of something else; it should read like {{"version": {VERSION}}}')
        if version > VERSION:
            raise NewerVersionError(
                f"{self.place} was written by a newer traceprop (version {version}, this one knows up to {VERSION}); upgrade "
                "traceprop to open it. Nothing was changed"
            )
        return version

    def _remove(self, runs: Sequence[str]) -> None:
        wanted = set(runs)
        with self._explained("writing"):
            self._ready_to_write()
            for folder in self._folders():
                if _id(folder) in wanted:
                    gone = self._parts / f"{folder.name}-{secrets.token_hex(4)}"
                    folder.rename(gone)  # at once, so that no reader meets half of it
                    shutil.rmtree(gone)
            sync_folder(self._runs)
            for left in self._parts.iterdir():  # by writers that were killed
                if time.time() - left.stat().st_mtime > _FORGOTTEN_AFTER:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    # -- reading ------------------------------------------------------------------------------------------------------

    def _folders(self, name: str | None = None) -> list[Path]:
        """The runs' folders, oldest first; with `name`, those that may be of that name."""
        if not self._runs.is_dir():
            return []
        ending = "" if name is None else f".{_hashed(name)}"
        return [self._runs / entry for entry in sorted(os.listdir(self._runs)) if entry.endswith(ending)]

    def _folder(self, run: str) -> Path | None:
        """The folder of a run by its id; found once."""
        known = self._known.get(run)
        if known is None or not known.exists():
            known = next((folder for folder in self._folders() if _id(folder) == run), None)
        if known is not None:
            self._known[run] = known
        return known

    def _opened(self) -> None:
        version = self._version()
        if 0 < version < VERSION:
            self._ready_to_write()

    def _list(self, name: str | None) -> list[Run]:
        with self._explained("reading"):
            self._opened()
            found = []
            for folder in self._folders(name):
                try:
                    listed = _listed(folder)
                except CorruptError as error:
                    warnings.warn(f"{self.place}: {error}; it is left out here", stacklevel=4)
                    continue
                if listed is not None and name in (None, listed[0].name):
                    found.append(listed[0])
                    self._known[listed[0].id] = folder
            return found

    def _find(self, name: str | None, run: str | None) -> tuple[Run, bytes] | None:
        with self._explained("reading"):
            self._opened()
            one = None if run is None else self._folder(run)
            for folder in reversed(self._folders(name)) if run is None else [one] if one is not None else []:
                listed = _listed(folder)
                if listed is not None and name in (None, listed[0].name):
                    self._known[listed[0].id] = folder
                    return listed[0], self._header(folder, *listed)
            return None

    def _header(self, folder: Path, run: Run, entry: dict[str, Any]) -> bytes:
        content = _row(folder, 0)
        what = f"the header of the run {run.name[:100]!r} ({run.id}) in {self.place}"
        if content is None or digest_of(_HEADER, content) != entry["checksum"]:
            raise CorruptError(
                f"{what} is damaged: " + ("it cannot be read" if content is None else "its checksum differs")
            )
        return content

    def _fetch(self, run: str, digest: str) -> bytes | None:
        with self._explained("reading"):
            folder = self._folder(run)
            listed = None if folder is None else _listed(folder)
            if folder is None or listed is None or digest not in listed[1]["digests"]:
                return None
            return _row(folder, 1 + listed[1]["digests"].index(digest))

    # -- what it takes ------------------------------------------------------------------------------------------------

    def _measure(self) -> Size:
        kinds: dict[str, int] = {}
        with self._explained("reading"):
            self._version()
            folders = self._folders()
            for folder in folders:
                with contextlib.suppress(CorruptError):
                    listed = _listed(folder)
                    for kind, size in listed[1]["kinds"].items() if listed is not None else ():
                        kinds[kind] = kinds.get(kind, 0) + size
            files = (file for file in self._absolute.rglob("*") if file.is_file()) if self._absolute.is_dir() else ()
            return Size(sum(file.stat().st_size for file in files), kinds, len(folders))

    def _problems(self) -> Iterator[str]:
        for folder in self._folders():
            try:
                _listed(folder)
            except CorruptError as error:
                yield f"{self.place}: {error}"

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            unchanged = "; nothing was changed" if doing == "writing" else ""
            raise StoreError(f"{doing} {self.path}: {error.strerror or error}{unchanged}") from error


def _id(folder: Path) -> str:
    return folder.name.partition(".")[0]


def _hashed(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def _listing(run: Run, header: bytes, blobs: Sequence[Blob]) -> bytes:
    kinds: dict[str, int] = {"headers": len(header)}
    for blob in blobs:
        kinds[blob.kind] = kinds.get(blob.kind, 0) + blob.size
    return json.dumps(
        {
            "id": run.id,
            "name": run.name,
            "saved": run.saved.isoformat(),
            "location": run.location,
            "metadata": dict(run.metadata),
            "bytes": run.bytes,
            "kinds": kinds,
            "checksum": digest_of(_HEADER, header),
            "digests": [blob.digest for blob in blobs],
        }
    ).encode()


def _listed(folder: Path) -> tuple[Run, dict[str, Any]] | None:
    """What is listed of a run; `None` where it was removed in the meantime. Raises `CorruptError` that names the file."""
    path = f"{folder}/run.json"
    try:
        with open(path, "rb") as file:
            entry = json.loads(file.read())
        saved = datetime.fromisoformat(entry["saved"])
        run = Run(entry["id"], entry["name"], saved, entry["location"], entry["metadata"], entry["bytes"])
        if run.id != _id(folder) or not isinstance(entry["digests"], list):
            raise ValueError("it is of another run")
    except (FileNotFoundError, NotADirectoryError):
        if folder.exists():
            raise CorruptError(f"{path} is missing") from None
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{path} is damaged ({error})") from None
    return run, entry


def _table(header: bytes, blobs: Sequence[Blob]) -> bytes:
    import polars as pl

    content = [header, *(blob.fetch() for blob in blobs)]
    kinds = [_HEADER, *(blob.kind for blob in blobs)]
    digests = [digest_of(_HEADER, header), *(blob.digest for blob in blobs)]
    out = io.BytesIO()
    frame = pl.DataFrame(
        {"kind": kinds, "digest": digests, "content": content}, schema_overrides={"content": pl.Binary}
    )
    frame.write_parquet(out, compression="uncompressed", row_group_size=1, statistics=False)
    return out.getvalue()


def _row(folder: Path, number: int) -> bytes | None:
    """The content of one row, which is all that is read of the file; `None` where it cannot be read."""
    import polars as pl

    path = folder / "lineage.parquet"
    try:
        found = pl.scan_parquet(path, glob=False).slice(number, 1).select("content").collect().to_series()
        return found[0] if len(found) else None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        return None
