import io
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic import bitstream
from lapic.codec.cli import main
from tests.conftest import EXAMPLES

PHOTO = str(EXAMPLES / "chelsea.png")


def run_lapic(*arguments: object, input: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("coded") / "photo.lapic"
    assert run_lapic("encode", PHOTO, file).exit_code == 0
    return file


def fails_with(result: Result, *words: str) -> None:
    """One clear line and exit code 1."""
    assert result.exit_code == 1, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("lapic: ")
    for word in words:
        assert word in result.stderr


def test_there_and_back(coded: Path, tmp_path: Path) -> None:
    result = run_lapic("decode", coded, tmp_path / "out.png")
    assert result.exit_code == 0
    assert result.output == ""
    assert Image.open(tmp_path / "out.png").size == Image.open(PHOTO).size
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(lapic.decode(coded.read_bytes())))


def test_encode_says_what_it_did(tmp_path: Path) -> None:
    result = run_lapic("encode", PHOTO, tmp_path / "a.lapic", "-q", 30)
    size = (tmp_path / "a.lapic").stat().st_size
    assert f"451 x 300, {size} bytes, {8 * size / 451 / 300:.3f} bpp" in result.stderr
    assert run_lapic("encode", PHOTO, tmp_path / "a.lapic", "--quiet", "--force").output == ""


def test_scale_and_crop(coded: Path, tmp_path: Path) -> None:
    assert run_lapic("decode", coded, tmp_path / "small.jpg", "--scale", 4).exit_code == 0
    assert Image.open(tmp_path / "small.jpg").size == (113, 75)
    assert run_lapic("decode", coded, tmp_path / "part.webp", "--crop", "10,20,33,44").exit_code == 0
    assert Image.open(tmp_path / "part.webp").size == (33, 44)


def test_info(coded: Path) -> None:
    found = json.loads(run_lapic("info", coded, "--json").stdout)
    assert found == json.loads(json.dumps(lapic.info(coded.read_bytes())))
    text = run_lapic("info", coded).stdout
    assert "451 x 300 RGB, quality 50" in text
    assert f"{found['bytes']['payload']} bytes" in text


def test_pipes() -> None:
    """As a user types it: three processes and no file."""
    photo = Path(PHOTO).read_bytes()
    command = [sys.executable, "-m", "lapic.codec.cli"]
    encode = [*command, "encode", "-", "-", "-e", "0"]
    coded = subprocess.run(encode, input=photo, capture_output=True, check=True).stdout
    found = subprocess.run([*command, "info", "-"], input=coded, capture_output=True, check=True).stdout
    assert b"451 x 300" in found
    png = subprocess.run([*command, "decode", "-", "-"], input=coded, capture_output=True, check=True).stdout
    assert Image.open(io.BytesIO(png)).size == (451, 300)


@cache
def damaged_files() -> dict[str, tuple[bytes, str]]:
    with Image.open(PHOTO) as image:
        good = lapic.encode(image, 50)
    header, tiles = bitstream.read(good)
    alien = bitstream.write(bitstream.Header(**{**vars(header), "model": b"\xde\xad\xbe\xef"}), tiles)
    flipped = bytearray(good)
    flipped[-1000] ^= 16
    return {
        "empty": (b"", "empty"),
        "png": (Path(PHOTO).read_bytes(), "not a lapic file"),
        "truncated": (good[:-1], "truncated"),
        "header only": (good[:20], "truncated"),
        "flipped": (bytes(flipped), "checksum"),
        "newer": (good[:8] + b"\x07" + good[9:], "newer"),
        "signature": (b"\x8cLAQ" + good[4:], "not a lapic file"),
        "unknown model": (alien, "deadbeef"),
        "trailing": (good + b"!", "follow"),
    }


@pytest.mark.parametrize("kind", damaged_files())
def test_damaged_files_leave_nothing_behind(kind: str, tmp_path: Path) -> None:
    data, word = damaged_files()[kind]
    (tmp_path / "bad.lapic").write_bytes(data)
    fails_with(run_lapic("decode", tmp_path / "bad.lapic", tmp_path / "out.png"), word)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.lapic"]


def test_pictures_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    fails_with(run_lapic("encode", tmp_path / "text.png", tmp_path / "out.lapic"), "not a picture")
    (tmp_path / "half.png").write_bytes(Path(PHOTO).read_bytes()[:5000])
    fails_with(run_lapic("encode", tmp_path / "half.png", tmp_path / "out.lapic"), "damaged")
    fails_with(run_lapic("encode", tmp_path / "absent.png", tmp_path / "out.lapic"), "cannot read", "No such file")
    (tmp_path / "folder").mkdir()
    fails_with(run_lapic("encode", tmp_path / "folder", tmp_path / "out"), "nothing to do")
    fails_with(run_lapic("encode", PHOTO, tmp_path / "out.lapic", "--max-pixels", 1000), "more than 1000 pixels")
    assert not (tmp_path / "out.lapic").exists()


def test_outputs_that_cannot_be(coded: Path, tmp_path: Path) -> None:
    fails_with(run_lapic("decode", coded, tmp_path / "out.xyz"), "no known picture format")
    fails_with(run_lapic("decode", coded, tmp_path / "absent" / "out.png"), "cannot write")
    fails_with(run_lapic("decode", coded, tmp_path / "out.png", "--crop", "400,0,100,10"), "not within")
    fails_with(run_lapic("decode", coded, tmp_path / "out.png", "--max-pixels", 1000), "more than 1000")
    fails_with(run_lapic("encode", PHOTO, tmp_path / "a.lapic", "--model", "absent"), "absent")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk(coded: Path) -> None:
    fails_with(run_lapic("decode", coded, "/dev/full", "--format", "png"), "No space left")


def test_a_failed_write_leaves_the_old_file(coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "out.png"
    old.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fails_with(run_lapic("decode", coded, old, "--force"), "No space left")
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", PHOTO],
        ["encode", PHOTO, "o.lapic", "-q", "0"],
        ["encode", PHOTO, "o.lapic", "-q", "101"],
        ["encode", PHOTO, "o.lapic", "--tile", "100"],
        ["encode", PHOTO, "o.lapic", "--metrics", "psnr,foo"],
        ["encode", PHOTO, PHOTO, "o", "--frames"],
        ["encode", PHOTO, "-", "--frames"],
        ["compare", PHOTO, str(EXAMPLES)],
        ["evaluate", PHOTO, "--out", "o", "--qualities", "lapic=nan"],
        ["evaluate", PHOTO, "--out", "o", "--metrics", "vmaf"],
        ["restore", PHOTO, "o.png", "--scale", "4"],
        ["decode", "a.lapic", "o.png", "--scale", "3"],
        ["encode", PHOTO, PHOTO, "-"],
        ["decode", "a.lapic", "o.png", "--crop", "1,2,3"],
        ["decode", "a.lapic", "o.png", "--crop", "0,0,-1,9"],
        ["decode", "a.lapic", "o.png", "--crop", "0,-1,9,9"],
        ["decode", "a.lapic", "o.jpg", "--background", "rgb(300,0,0)"],
        ["decode", "a.lapic", "o.png", "--device", "abacus"],
        ["info", ""],
        ["verify", ""],
        ["unknown"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert run_lapic(*arguments).exit_code == 2


def test_help_and_version() -> None:
    assert "encode" in run_lapic("--help").stdout
    assert lapic.__version__ in run_lapic("--version").stdout
    for command in ("encode", "decode", "info"):
        assert "--help" in run_lapic(command, "--help").stdout
