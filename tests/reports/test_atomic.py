"""A file is there whole, or as it was before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from traceprop.reports.atomic import write_text


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = write_text(tmp_path / "new" / "report.json", "one")
    assert path.read_text() == "one"
    write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert os.listdir(path.parent) == ["report.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "report.json", "old")

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_text_that_is_no_utf8_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "report.json", "\ud800")
    assert os.listdir(tmp_path) == []


def test_readable_as_other_files_are(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        assert write_text(tmp_path / "report.json", "{}").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(old)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        write_text(tmp_path, "text")
