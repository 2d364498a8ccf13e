"""Files by address: on this machine, or wherever fsspec reaches; one, a glob or a list."""

from __future__ import annotations

import glob
import gzip
import hashlib
import itertools
import os
import re
import time
import zlib
from collections.abc import Hashable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from traceprop.errors import MissingExtraError, SourceError
from traceprop.sources.memory import available

_BOM = b"\xef\xbb\xbf"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://|::)")
_SETTLED_SECONDS = 2.0
_MANY_MAGIC = "*?["


def is_remote(path: str) -> bool:
    """Whether an address names a file system (`s3://…`, `memory://…`) rather than a path on this machine."""
    return _SCHEME.match(path) is not None and not os.path.exists(path)


def read_bytes(path: str, kind: str = "CSV") -> bytes:
    """A file's content, unzipped where its name ends in `.gz`. Raises `SourceError` that says what is wrong with it."""
    try:
        if is_remote(path):
            system, inner = _file_system(path)
            content = bytes(system.cat_file(inner))
        else:
            content = Path(path).read_bytes()
        if path.endswith(".gz"):
            content = gzip.decompress(content)
    except FileNotFoundError:
        looked = "" if is_remote(path) else f" (looked in {Path.cwd()})"
        raise SourceError(f"{path}: there is no such file{looked}") from None
    except IsADirectoryError:
        raise SourceError(
            f"{path} is a directory; give a {kind} file in it, or a glob such as {path.rstrip('/')}/*"
        ) from None
    except SourceError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None
    return content


def read_range(path: str, first: int, last: int) -> bytes:
    """A file's bytes from `first` up to `last`. Raises `SourceError` for a file that is not there or cannot be read."""
    try:
        if is_remote(path):
            system, inner = _file_system(path)
            return bytes(system.cat_file(inner, start=first, end=last))
        with open(path, "rb") as file:
            file.seek(first)
            return file.read(last - first)
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def without_bom(content: bytes) -> bytes:
    """Text without the mark that some programs put before UTF-8."""
    return content.removeprefix(_BOM)


def digest(content: bytes) -> str:
    """The hash by which a later reading knows the file again."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def stamp(path: str) -> Hashable | None:
    """What is cheap to ask of a file and differs once it was written to; `None` where there is nothing of the kind.

    A file written to in the last two seconds has no stamp: its clock may not tell two writes apart.
    """
    try:
        if is_remote(path):
            system, inner = _file_system(path)
            return str(system.checksum(inner))
        found = os.stat(path)
    except Exception:  # each file system has errors of its own, and asking again later is always right
        return None
    if abs(time.time() - found.st_mtime) < _SETTLED_SECONDS:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _file_system(path: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(
            f"{path} is read with fsspec: pip install traceprop[remote], and the file system's own package where it has one"
        ) from None
    try:
        return fsspec.core.url_to_fs(path)  # type: ignore[no-any-return]
    except ImportError as error:  # of the file system's own package, which the message names
        raise MissingExtraError(f"{path}: {error}") from None
    except ValueError as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def held(path: Any, in_memory: bool | None) -> bool:
    """Whether a file is held in memory: as asked for; else those that take no more than an eighth of what is free."""
    if in_memory is not None:
        return in_memory
    try:
        size = os.path.getsize(path)
    except (OSError, TypeError, ValueError):
        return True  # elsewhere, or none; reading it says what is wrong
    return size <= max(available() // 8, 1 << 28)


def matching(path: Any) -> list[str] | None:
    """The files behind a list or a glob, in order; `None` for a single path. Raises `SourceError` where there is none."""
    if isinstance(path, (list, tuple)):
        if not path:
            raise SourceError("an empty list of paths holds no file to read")
        found = [match for each in path for match in matching(each) or [os.fspath(each)]]
        twice = next((each for n, each in enumerate(found) if each in found[:n]), None)
        if twice is not None:
            raise SourceError(f"{twice} is there twice; a source is read once")
        return found
    address = os.fspath(path)
    if not any(sign in address for sign in _MANY_MAGIC):
        return None
    if is_remote(address):
        system, inner = _file_system(address)
        found = sorted(system.unstrip_protocol(each) for each in system.glob(inner))
    elif os.path.exists(address):
        return None
    else:
        found = sorted(each for each in glob.glob(address, recursive=True) if not os.path.isdir(each))
    if not found:
        raise SourceError(f"no file matches {address!r}")
    return found


def stem(path: str | Path) -> str:
    """A file's default source id: its name without ending, `.csv.gz` included."""
    name = Path(path).name
    for ending in (".gz", Path(name.removesuffix(".gz")).suffix):
        if ending:
            name = name.removesuffix(ending)
    return name or Path(path).name


def ids_of(paths: Sequence[str], lead: str | None) -> list[str]:
    """An id for each of several files: `<lead>/<stem>`; with the folders below the common one where stems are the same."""
    stems = [stem(path) for path in paths]
    if len(set(stems)) < len(stems):
        folders = [PurePosixPath(path).parent.parts for path in paths]
        alike = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
        shared = sum(1 for _ in alike)
        stems = ["/".join((*folder[shared:], name)) for folder, name in zip(folders, stems, strict=True)]
    return [f"{lead}/{name}" if lead is not None else name for name in stems]
