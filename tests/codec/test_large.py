import dataclasses
import os
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

import lapic
from lapic.bitstream import Error, read, read_header, write
from lapic.codec.cli import main
from lapic.codec.command import large
from lapic.codec.decode import decoder
from lapic.codec.picture.rows import open_rows, vips_package

pytestmark = pytest.mark.skipif(find_spec("pyvips") is None, reason="pyvips is not installed")
SIZE = (330, 270)


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 20_000)
    monkeypatch.setattr(large, "PIECE", 4)


@pytest.fixture
def picture(photo: Image.Image) -> Image.Image:
    return photo.crop((0, 0, *SIZE))


def run_lapic(*arguments: object) -> tuple[int, str]:
    found = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return found.exit_code, found.output


def near(a: Image.Image, b: Image.Image) -> bool:
    """Equal but for the rounding of pieces in half precision."""
    difference = np.abs(np.asarray(a).astype(int) - np.asarray(b))
    return a.size == b.size and a.mode == b.mode and difference.max() <= 6 and difference.mean() < 0.3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_row_by_row_is_the_same_as_at_once(suffix: str, mode: str, picture: Image.Image, tmp_path: Path) -> None:
    picture = picture.convert(mode)
    picture.save(tmp_path / f"a{suffix}")
    code, text = run_lapic("encode", "-q", 60, "--tile", 64, tmp_path / f"a{suffix}", tmp_path / "a.lapic")
    assert code == 0, text
    data = (tmp_path / "a.lapic").read_bytes()
    expected = lapic.encode(picture, 60, tile=64, effort=0)
    assert abs(len(data) - len(expected)) <= 0.01 * len(expected)
    assert near(lapic.decode(data), lapic.decode(expected))
    code, text = run_lapic("decode", tmp_path / "a.lapic", tmp_path / f"b{suffix}")
    assert code == 0, text
    assert near(Image.open(tmp_path / f"b{suffix}"), lapic.decode(data))
    assert {path.name for path in tmp_path.iterdir()} == {f"a{suffix}", "a.lapic", f"b{suffix}"}


def test_metadata_survives_and_orientation_is_applied(picture: Image.Image, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a cat", 6
    picture.save(tmp_path / "a.jpg", exif=exif, icc_profile=profile, quality=95)
    assert run_lapic("encode", tmp_path / "a.jpg", tmp_path / "a.lapic")[0] == 0
    found = lapic.decode((tmp_path / "a.lapic").read_bytes())
    assert found.size == SIZE[::-1]
    assert found.info["icc_profile"] == profile
    assert run_lapic("decode", tmp_path / "a.lapic", tmp_path / "b.jpg")[0] == 0
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.info["icc_profile"] == profile
        assert image.getexif()[0x010E] == "a cat"
        assert image.getexif().get(0x0112, 1) == 1


def test_what_is_lost_is_said(picture: Image.Image, tmp_path: Path) -> None:
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.png")
    code, text = run_lapic("encode", tmp_path / "a.png", tmp_path / "a.lapic")
    assert code == 0
    assert "becomes 8 bits" in text
    code, text = run_lapic("encode", "--strict", tmp_path / "a.png", tmp_path / "b.lapic")
    assert code == 1
    assert not (tmp_path / "b.lapic").exists()
    code, text = run_lapic("encode", "--size", 3000, tmp_path / "a.png", tmp_path / "b.lapic")
    assert code == 1
    assert "too large" in text
    code, text = run_lapic("encode", "--effort", 3, tmp_path / "a.png", tmp_path / "b.lapic")
    assert code == 0
    assert text.count("the effort is 0") == 1


def veiled(picture: Image.Image, mode: str) -> Image.Image:
    """A picture with an alpha channel that has all levels."""
    picture = picture.convert(mode)
    picture.putalpha(Image.radial_gradient("L").resize(picture.size))
    return picture


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_alpha_is_kept(mode: str, suffix: str, picture: Image.Image, tmp_path: Path) -> None:
    image = veiled(picture, mode)
    image.save(tmp_path / f"a{suffix}")
    code, text = run_lapic("encode", "--strict", "--strip", tmp_path / f"a{suffix}", tmp_path / "a.lapic")
    assert code == 0, text
    code, text = run_lapic("decode", "--strict", tmp_path / "a.lapic", tmp_path / f"b{suffix}")
    assert code == 0, text
    with Image.open(tmp_path / f"b{suffix}") as found:
        assert found.mode == image.mode
        assert np.array_equal(np.asarray(found.getchannel("A")), np.asarray(image.getchannel("A")))
        assert near(found.convert("RGB"), lapic.decode((tmp_path / "a.lapic").read_bytes()).convert("RGB"))


@pytest.mark.parametrize("kind", ["deep", "palette", "turned", "deep grey"])
def test_alpha_of_any_kind_is_that_of_a_small_picture(
    kind: str, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / ("a.tif" if kind == "turned" else "a.png")
    if kind == "deep":
        pixels = np.asarray(veiled(picture, "RGB")).astype(np.uint16) * 257 - 128
        vips_package().Image.new_from_array(pixels, interpretation="rgb16").write_to_file(str(source))
    elif kind == "palette":
        picture.quantize(32).save(source, transparency=bytes(range(0, 256, 8)))
    elif kind == "turned":
        veiled(picture, "RGB").save(source, tiffinfo={0x0112: 6})
    else:
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 256).save(source, transparency=25600)
    alphas = []
    for limit in (20_000, 10**9):
        monkeypatch.setattr(large, "LARGE", limit)
        code, text = run_lapic("encode", "-e", 0, "--force", source, tmp_path / "a.lapic")
        assert code == 0, text
        alphas.append(np.asarray(lapic.decode((tmp_path / "a.lapic").read_bytes()).getchannel("A")))
    assert len(np.unique(alphas[0])) > 1
    assert np.array_equal(*alphas)


@pytest.mark.parametrize("scale", [1, 4])
def test_alpha_lies_on_the_grid_of_its_part(scale: int, picture: Image.Image, tmp_path: Path) -> None:
    data = lapic.encode(veiled(picture, "RGB"), 50, tile=64, effort=0)
    (tmp_path / "a.lapic").write_bytes(data)
    crop = (37, 101, 290, 160)
    where = ["--crop", ",".join(map(str, crop)), "--scale", scale, "--max-pixels", 10**6]
    code, text = run_lapic("decode", *where, tmp_path / "a.lapic", tmp_path / "a.png")
    assert code == 0, text
    expected = lapic.decode(data, crop=crop, scale=scale)
    with Image.open(tmp_path / "a.png") as found:
        assert near(found, expected)
        assert np.array_equal(np.asarray(found.getchannel("A")), np.asarray(expected.getchannel("A")))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_alpha_is_composed_where_there_is_no_place_for_it(
    mode: str, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opaque = picture.convert("RGBA")
    for name, image in (("veiled", veiled(picture, mode)), ("opaque", opaque)):
        (tmp_path / f"{name}.lapic").write_bytes(lapic.encode(image, 90, effort=0))
    for background in ("white", "#20a060"):
        said, made = [], []
        for limit in (20_000, 10**9):
            monkeypatch.setattr(large, "LARGE", limit)
            command = ["decode", "--force", "--background", background, tmp_path / "veiled.lapic", tmp_path / "a.jpg"]
            code, text = run_lapic(*command)
            assert code == 0, text
            said.append(text.splitlines()[0])
            made.append(np.asarray(Image.open(tmp_path / "a.jpg")).astype(int))
        assert f"composed on {background}" in said[0]
        assert said[0] == said[1]
        assert made[0].shape == made[1].shape
        assert np.abs(made[0] - made[1]).mean() < 2
    monkeypatch.setattr(large, "LARGE", 20_000)
    command = ["decode", "--strict", tmp_path / "veiled.lapic", tmp_path / "b.jpg"]
    assert run_lapic(*command)[0] == 1
    assert run_lapic("decode", "--strict", tmp_path / "opaque.lapic", tmp_path / "b.jpg")[0] == 0


@pytest.mark.parametrize("wrong", ["size", "end"])
def test_damaged_alpha_leaves_no_file(wrong: str, picture: Image.Image, tmp_path: Path) -> None:
    header, tiles = read(lapic.encode(veiled(picture, "RGB"), 50, effort=0))
    alpha = header.chunks[b"alph"]
    if wrong == "size":
        alpha = read(lapic.encode(veiled(picture.resize((330, 271)), "RGB"), 50, effort=0))[0].chunks[b"alph"]
    else:
        alpha = alpha[: len(alpha) // 2]
    chunks = header.chunks | {b"alph": alpha}
    (tmp_path / "a.lapic").write_bytes(write(dataclasses.replace(header, chunks=chunks), tiles))
    for target in ("b.png", "b.jpg"):
        code, text = run_lapic("decode", tmp_path / "a.lapic", tmp_path / target)
        assert code == 1
        assert "the alpha channel is damaged" in text
        assert text.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.lapic"]


@pytest.mark.parametrize("scale", [1, 4])
def test_parts_and_small_ones(scale: int, picture: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "a.lapic").write_bytes(lapic.encode(picture, 50, tile=64))
    crop = (37, 21, 250, 190)
    where = ["--crop", ",".join(map(str, crop)), "--scale", scale]
    code, text = run_lapic("decode", *where, "--json", "-", tmp_path / "a.lapic", tmp_path / "a.png")
    assert code == 0, text
    expected = lapic.decode((tmp_path / "a.lapic").read_bytes(), crop=crop, scale=scale)
    assert near(Image.open(tmp_path / "a.png"), expected)


def test_damage_leaves_no_file(picture: Image.Image, tmp_path: Path) -> None:
    data = bytearray(lapic.encode(picture, 50, tile=64))
    data[-40] ^= 255
    (tmp_path / "a.lapic").write_bytes(data)
    code, text = run_lapic("decode", tmp_path / "a.lapic", tmp_path / "a.png")
    assert code == 1
    assert "checksum" in text
    assert text.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.lapic"]


@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_picture_that_ends_early(kept: float, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: int(len(data) * kept)])
    code, text = run_lapic("encode", tmp_path / "a.png", tmp_path / "a.lapic")
    assert code == 1
    assert text.count("\n") == 1
    assert not (tmp_path / "a.lapic").exists()


def test_forms_that_cannot_be_written_row_by_row(picture: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "a.lapic").write_bytes(lapic.encode(picture, 50))
    for target in (tmp_path / "a.gif", tmp_path / "a.ppm", "-"):
        code, text = run_lapic("decode", tmp_path / "a.lapic", target)
        assert code == 1
        assert ".tif" in text


def test_only_a_band_of_rows_is_held(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    rows, _, _ = open_rows(str(tmp_path / "a.png"))
    pixels = np.asarray(picture)
    assert np.array_equal(rows[0:100, 5:50], pixels[0:100, 5:50])
    assert np.array_equal(rows[40:160, 0:330], pixels[40:160])
    assert len(rows.held) == 120
    assert np.array_equal(rows[40:150, 0:10], pixels[40:150, :10])
    assert np.array_equal(rows[200:400, 300:400], pixels[200:, 300:])
    with pytest.raises(ValueError, match="dropped"):
        rows[100:300, 0:10]


def test_limits(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    code, text = run_lapic("encode", "--max-pixels", 50_000, tmp_path / "a.png", tmp_path / "a.lapic")
    assert code == 1
    assert "max-pixels" in text
    data = lapic.encode(picture, 50, tile=64)
    (tmp_path / "a.lapic").write_bytes(data)
    code, text = run_lapic("decode", "--max-pixels", 50_000, tmp_path / "a.lapic", tmp_path / "b.png")
    assert code == 1
    assert lapic.decode(data, crop=(0, 0, 100, 100), max_pixels=50_000).size == (100, 100)
    command = ["decode", "--max-pixels", 50_000, tmp_path / "a.lapic", tmp_path / "b.png", "--crop"]
    assert run_lapic(*command, "0,0,300,250")[0] == 1
    code, text = run_lapic(*command, "0,0,200,150")  # which goes row by row
    assert code == 0, text
    assert Image.open(tmp_path / "b.png").size == (200, 150)
    with pytest.raises(Error, match="more than"):
        lapic.decode(data, crop=(0, 0, 300, 250), max_pixels=50_000)


def test_bands_are_the_picture(picture: Image.Image) -> None:
    from lapic.codec.model.codec_weights import load

    header, tiles = read(lapic.encode(picture, 50))
    bands = list(decoder.decode_bands(load(), header, tiles, decoder.View(piece=4)))
    assert [len(band) for band in bands] == [64, 64, 64, 64, 14]
    whole = decoder.decode_pixels(load(), header, tiles, decoder.View(piece=4))
    assert np.array_equal(np.concatenate(bands), whole)


def camera(orientation: int) -> bytes:
    """EXIF data with an orientation and a thumbnail, as bytes of a camera."""
    entries = struct.pack("<HHI4s", 0x010E, 2, 4, b"cat\0") + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    thumbnail = struct.pack("<HHHII", 1, 0x0201, 4, 1, 56) + bytes(4) + bytes(range(256))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 38) + thumbnail


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_metadata_are_those_of_a_small_picture(
    orientation: int, suffix: str, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    extra = {"xmp": xmp} if suffix == ".jpg" else {}
    picture.save(tmp_path / f"a{suffix}", exif=camera(orientation), quality=95, **extra)
    code, text = run_lapic("encode", "-e", 0, tmp_path / f"a{suffix}", tmp_path / "large.lapic")
    assert code == 0, text
    code, text = run_lapic("decode", tmp_path / "large.lapic", tmp_path / f"large{suffix}", "--strict")
    assert code == 0, text
    monkeypatch.setattr(large, "LARGE", 10**9)
    assert run_lapic("encode", "-e", 0, tmp_path / f"a{suffix}", tmp_path / "small.lapic")[0] == 0
    assert run_lapic("decode", tmp_path / "small.lapic", tmp_path / f"small{suffix}")[0] == 0
    ours, theirs = (read_header((tmp_path / f"{name}.lapic").read_bytes()) for name in ("large", "small"))
    kinds = [b"iccp", b"exif", b"xmpd"]
    assert [ours.chunks.get(kind) for kind in kinds] == [theirs.chunks.get(kind) for kind in kinds]
    assert ours.chunks[b"exif"] == camera(1)
    with Image.open(tmp_path / f"large{suffix}") as a, Image.open(tmp_path / f"small{suffix}") as b:
        assert a.size == b.size == (SIZE if orientation < 5 else SIZE[::-1])
        assert a.info["exif"] == b.info["exif"] == camera(1)
        assert a.info.get("xmp") == b.info.get("xmp") == extra.get("xmp")
        assert np.abs(np.asarray(a).astype(int) - np.asarray(b)).mean() < 2


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_resolution_is_kept(
    suffix: str, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture.save(tmp_path / "a.png", dpi=(300, 300))
    monkeypatch.setattr(large, "LARGE", 20_000)
    assert run_lapic("encode", "-e", 0, tmp_path / "a.png", tmp_path / "a.lapic")[0] == 0
    assert run_lapic("decode", tmp_path / "a.lapic", tmp_path / f"b{suffix}", "--strict")[0] == 0
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert [round(part) for part in image.info["dpi"]] == [300, 300]


def test_the_same_is_said_as_of_a_small_picture(
    picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PngInfo()
    text.add_text("Title", "a cat")
    picture.save(tmp_path / "text.png", pnginfo=text, dpi=(300, 300))
    picture.save(tmp_path / "pages.tif", save_all=True, append_images=[picture])
    picture.convert("CMYK").save(tmp_path / "cmyk.tif")
    grey = np.asarray(picture.convert("L"))
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype(np.int32) * 1000).save(tmp_path / "int.tif")
    said: dict[str, list[list[str]]] = {}
    made: dict[str, list[Image.Image]] = {}
    for limit in (20_000, 10**9):
        monkeypatch.setattr(large, "LARGE", limit)
        for source in [*tmp_path.glob("*.tif"), *tmp_path.glob("*.png")]:
            target = tmp_path / f"{source.stem}.lapic"
            code, words = run_lapic("encode", "-e", 0, "-q", 90, "--force", source, target)
            assert code == 0, words
            said.setdefault(source.name, []).append(words.splitlines()[:-1])
            made.setdefault(source.name, []).append(lapic.decode(target.read_bytes()))
            assert run_lapic("encode", "-e", 0, "--strict", source, tmp_path / "strict.lapic")[0] == 1
    assert len(said) == 6
    for name, (a, b) in said.items():
        assert a == b, name
        assert a
    for name, (a, b) in made.items():
        assert (a.mode, a.info) == (b.mode, b.info), name
        if name != "cmyk.tif":  # without a profile, libvips takes one of its own
            assert np.abs(np.asarray(a).astype(int) - np.asarray(b)).mean() < 2, name


def test_what_an_output_loses_is_said(picture: Image.Image, tmp_path: Path) -> None:
    picture.info = {"exif": camera(1), "xmp": b"<x/>" + b" " * 70_000}
    (tmp_path / "a.lapic").write_bytes(lapic.encode(picture, 50, effort=0))
    code, text = run_lapic("decode", tmp_path / "a.lapic", tmp_path / "a.jpg")
    assert code == 0
    assert "XMP of 70004 bytes is left out" in text
    code, text = run_lapic("decode", tmp_path / "a.lapic", tmp_path / "a.tif")
    assert code == 0
    assert "EXIF is left out of so large a TIFF: libvips writes none" in text
    with Image.open(tmp_path / "a.tif") as found:
        assert found.info["xmp"] == picture.info["xmp"]
    assert run_lapic("decode", "--strict", tmp_path / "a.lapic", tmp_path / "b.tif")[0] == 1
    assert not (tmp_path / "b.tif").exists()


def test_a_name_that_is_no_utf8_is_read_at_once(picture: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.png")
    picture.save(path)
    assert not large.is_large_file(str(path))
    picture.save(tmp_path / "named.png")
    assert large.is_large_file(str(tmp_path / "named.png"))
