"""Damaged files: found by verify, and as much as possible saved."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic import bitstream
from lapic.codec.cli import main
from lapic.codec.picture import fill
from lapic.codec.picture.tiling import Rect


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def whole(large: Image.Image) -> bytes:
    """1000 x 700 in 4 x 3 tiles of 256."""
    return lapic.encode(large, 40, tile=256, effort=0)


def flip(data: bytes, tile: int) -> bytes:
    """The file with one byte in the middle of a tile's payload changed."""
    _, tiles = bitstream.read(data)
    payload = sum(len(t.payload) for t in tiles)
    place = len(data) - payload + sum(len(t.payload) for t in tiles[:tile]) + len(tiles[tile].payload) // 2
    return data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :]


def test_verify(whole: bytes, tmp_path: Path) -> None:
    good, bad, cut = tmp_path / "good.lapic", tmp_path / "bad.lapic", tmp_path / "cut.lapic"
    good.write_bytes(whole)
    bad.write_bytes(flip(whole, 5))
    cut.write_bytes(whole[:-3000])
    assert run_lapic("verify", good).stdout == f"{good}: 1000 x 700, 12 tile(s), quality 40, all checksums match\n"
    result = run_lapic("verify", good, bad, cut)
    assert result.exit_code == 1
    assert f"lapic: {bad}: 1 of 12 tiles are damaged or missing: 256 x 256 at 256,256" in result.stderr
    assert f"lapic: {cut}: " in result.stderr
    bad.write_bytes(flip(flip(whole, 0), 11))
    areas = "256 x 256 at 0,0, 232 x 188 at 768,512"
    assert f"lapic: {bad}: 2 of 12 tiles are damaged or missing: {areas}\n" in run_lapic("verify", bad).stderr
    assert f"{good}: " in result.stdout
    trailing = tmp_path / "trailing.lapic"
    trailing.write_bytes(whole + b"!")
    assert "follow" in run_lapic("verify", trailing).stderr
    assert len(list(tmp_path.iterdir())) == 4


def test_verify_says_what_it_leaves_out(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    result = run_lapic("verify", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"lapic: there is nothing to verify in {tmp_path} (1 file left out: 1 not lapic files)\n"
    (tmp_path / "a.lapic").write_bytes(whole)
    result = run_lapic("verify", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "1 file left out: 1 not lapic files\n")


def test_a_damaged_tile_is_filled_from_around_it_and_the_rest_is_as_before(whole: bytes, tmp_path: Path) -> None:
    broken = tmp_path / "broken.lapic"
    broken.write_bytes(flip(whole, 5))
    assert run_lapic("decode", broken, tmp_path / "out.png").exit_code == 1
    result = run_lapic("decode", broken, tmp_path / "out.png", "--salvage")
    assert result.exit_code == 0
    assert result.stderr == f"{broken}: missing, filled from around it: 256 x 256 pixels at 256,256\n"
    good, saved = np.asarray(lapic.decode(whole)).astype(int), np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    far = np.ones(good.shape[:2], bool)
    far[256 - 160 : 512 + 160, 256 - 160 : 512 + 160] = False
    assert np.array_equal(good[far], saved[far])
    near = np.ones(good.shape[:2], bool)
    near[256 - 16 : 512 + 16, 256 - 16 : 512 + 16] = False
    assert np.abs(good[near] - saved[near]).mean() < 1
    hole = np.abs(good - saved)[256:512, 256:512].mean()
    assert 1 < hole < np.abs(good[256:512, 256:512] - 128).mean()  # better than grey


def test_the_border_of_a_hole_is_filled_with_it(whole: bytes) -> None:
    """The 16 pixels around a missing tile, which the synthesis makes from it too, are not shown as they come out."""
    good = np.asarray(lapic.decode(whole))
    saved = np.asarray(lapic.salvage(flip(whole, 5)).image).astype(int)
    ring = np.zeros(good.shape[:2], bool)
    ring[240:528, 240:528] = True
    ring[256:512, 256:512] = False
    filled = good.copy()
    fill.fill(filled, [Rect(240, 240, 528, 528)])
    assert np.abs(saved - filled)[ring].mean() < 0.25 * np.abs(saved - good)[ring].mean()


def test_a_truncated_file_keeps_its_whole_tiles(whole: bytes) -> None:
    salvaged = lapic.salvage(whole[: len(whole) * 2 // 3])
    image, missing = salvaged.image, salvaged.missing
    good = np.asarray(lapic.decode(whole)).astype(int)
    assert 2 <= len(missing) <= 8
    assert missing == sorted(missing, key=lambda area: (area[1], area[0]))
    assert np.array_equal(np.asarray(image)[: 256 - 160], good[: 256 - 160])
    assert all(top >= 256 for _, top, _, _ in missing)


def test_salvage_of_a_crop_and_a_scale_says_only_what_they_miss(whole: bytes) -> None:
    broken = flip(whole, 5)
    assert lapic.salvage(broken, crop=(700, 0, 300, 200)).missing == []
    assert lapic.salvage(broken, crop=(560, 300, 100, 100)).missing == []  # the networks see the tile from there
    assert lapic.salvage(broken, crop=(520, 300, 100, 100)).missing == [(256, 256, 512, 512)]  # 16 pixels around it
    small = lapic.salvage(broken, scale=4)
    assert small.image.size == (250, 175)
    assert small.missing == [(256, 256, 512, 512)]


def test_a_file_without_any_whole_tile_is_grey(photo: Image.Image) -> None:
    data = lapic.encode(photo, 40)
    salvaged = lapic.salvage(data[: len(data) // 2])
    assert salvaged.missing == [(0, 0, 451, 300)]
    assert salvaged.image.getextrema() == ((128, 128),) * 3


def test_a_damaged_header_cannot_be_salvaged(whole: bytes) -> None:
    with pytest.raises(lapic.Error, match="checksum"):
        lapic.salvage(whole[:12] + bytes([whole[12] ^ 1]) + whole[13:])


def test_fill_continues_a_gradient() -> None:
    ramp = np.tile(np.arange(0, 200, 2, dtype=np.uint8), (60, 1))
    broken = ramp.copy()
    broken[20:40, 40:60] = 0
    fill.fill(broken, [Rect(20, 40, 40, 60)])
    assert np.abs(broken.astype(int) - ramp).max() <= 12
    assert np.array_equal(broken[:20], ramp[:20])
