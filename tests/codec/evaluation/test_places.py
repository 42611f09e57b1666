"""Pictures of an evaluation that are at addresses."""

from pathlib import Path

import pytest

from lapic.codec.evaluation import places


def test_pictures_of_one_name_keep_their_own_copies(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for folder in ("a", "b", "c"):
        store.pipe_file(f"/places/{folder}/photo.png", folder.encode())
    store.pipe_file("/places/a/other.png", b"other")
    said: list[str] = []
    for _ in range(2):  # the copies of the second run are the same
        paths, complete = places.fetch(("memory://places/*/*.png", "memory://places/b"), tmp_path, said.append)
        assert [path.name for path in paths] == ["other.png", *["photo.png"] * 3]
        assert b" ".join(path.read_bytes() for path in paths) == b"other a b c"  # b is named twice
        assert complete
    assert not said
    assert len(set(paths)) == 4
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4
