"""The programs of examples/."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lapic.codec.picture.drawn import is_drawn
from tests.conftest import EXAMPLES

QUICK = """
import io, lapic, runpy, sys
from PIL import Image
def encode(image, quality):
    made = io.BytesIO()
    image.save(made, "png")
    return made.getvalue()
lapic.encode, lapic.decode = encode, lambda data: Image.open(io.BytesIO(data))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""  # a program with a codec that takes no time


def dusk_pairs(photos: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, EXAMPLES / "dusk_pairs.py", photos, out / "dusk", out / "day", "--edge", "32"]
    return subprocess.run(command, capture_output=True, text=True)


def test_pairs_are_made_of_photos(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "white").save(tmp_path / "photo.png")
    Image.new("RGB", (64, 48), "white").save(tmp_path / "print.pdf")  # which Pillow only writes
    found = dusk_pairs(tmp_path, tmp_path / "out")
    assert (found.returncode, found.stderr) == (0, "")
    for name in ("dusk", "day"):
        [made] = (tmp_path / "out" / name).iterdir()
        assert Image.open(made).size == (32, 24)


def test_the_model_of_photos_is_loaded_before_the_clock_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before the samples is no drawing, for which another model may serve."""
    coded: list[tuple[bool, float]] = []

    def encode(image: Image.Image, quality: float) -> bytes:
        coded.append((is_drawn(np.asarray(image)), quality))
        return b""

    def end(_: bytes) -> None:
        raise SystemExit

    monkeypatch.setattr("lapic.encode", encode)
    monkeypatch.setattr("lapic.decode", end)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--quality", "80"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(EXAMPLES / "demo.py"), run_name="__main__")
    assert coded == [(False, 80)]


@pytest.mark.parametrize(
    ("quality", "out", "code", "said"),
    [(0, "demo.png", 2, "--quality 0 is outside 1 to 100"), (50, "demo.txt", 1, "cannot write demo.txt: "),
     (50, "file/demo.png", 1, "cannot write file/demo.png: ")],
)  # fmt: skip
def test_the_demonstration_says_in_one_line_what_is_wrong(
    quality: int, out: str, code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    command = [sys.executable, "-c", QUICK, EXAMPLES / "demo.py", "--quality", str(quality), "--out", out]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == code
    assert said in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("photos", ["absent", "empty", "notes.txt"])
def test_without_photos_no_folders_are_made(tmp_path: Path, photos: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no photo")
    found = dusk_pairs(tmp_path / photos, tmp_path / "out")
    assert found.returncode == 1
    assert found.stderr == f"no photos in {tmp_path / photos}\n"
    assert not (tmp_path / "out").exists()


def test_a_damaged_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no photo")
    found = dusk_pairs(tmp_path, tmp_path / "out")
    assert found.returncode == 1
    assert found.stderr.startswith(f"cannot read {tmp_path / 'bad.png'}: ")
    assert len(found.stderr.splitlines()) == 1
