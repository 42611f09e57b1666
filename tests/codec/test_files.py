"""How outputs get their place."""

import os
import stat
import sys
from pathlib import Path

import pytest

from lapic.codec import files


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077, 0o027])
def test_a_new_file_has_the_permissions_of_the_umask(mask: int, tmp_path: Path) -> None:
    path, before = tmp_path / "a", os.umask(mask)
    try:
        files.write_output(str(path), b"x")
        with files.replacing(tmp_path / "b", force=False) as beside:
            beside.write_bytes(b"y")
            beside.chmod(0o600)  # as libraries may make files
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert {stat.S_IMODE(one.stat().st_mode) for one in (path, tmp_path / "b")} == {0o666 & ~mask}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows only read-only files")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o604])
def test_a_file_that_is_replaced_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    files.write_output(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="folders are flushed on POSIX")
def test_a_folder_that_cannot_be_flushed_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_output(str(tmp_path / "a"), b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
