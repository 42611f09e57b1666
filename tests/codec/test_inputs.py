"""Pictures of every kind, from files as they come, through the command line."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageCms

import lapic
from lapic.codec import defaults
from lapic.codec.cli import main
from lapic.codec.metrics import psnr

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def exif(orientation: int | None = None) -> bytes:
    data = Image.Exif()
    data[0x010E] = "a cat"
    if orientation:
        data[0x0112] = orientation
    return data.tobytes()


def deep_png(values: np.ndarray) -> bytes:
    """A 16-bit RGB PNG of (H, W, 3) uint16, which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    height, width = values.shape[:2]
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "avif"])
def test_metadata_of_every_format_travel_bit_for_bit(photo: Image.Image, tmp_path: Path, suffix: str) -> None:
    photo.save(tmp_path / f"in.{suffix}", icc_profile=ICC, exif=exif(), xmp=XMP)
    with Image.open(tmp_path / f"in.{suffix}") as source:
        source.load()
        expected = {key: source.info.get(key) for key in ("icc_profile", "exif", "xmp")}
    assert expected["icc_profile"] == ICC
    assert run_lapic("encode", tmp_path / f"in.{suffix}", tmp_path / "a.lapic", "-e", 0).exit_code == 0
    found = lapic.decode((tmp_path / "a.lapic").read_bytes())
    for key, value in expected.items():
        assert value in (None, found.info.get(key)), key  # in TIFF they are tags of the file itself
    assert run_lapic("decode", tmp_path / "a.lapic", tmp_path / "out.png").exit_code == 0
    with Image.open(tmp_path / "out.png") as out:
        assert out.getexif()[0x010E] == "a cat"
        assert out.info["icc_profile"] == ICC


def test_strip_leaves_metadata_out_and_turns_the_picture_first(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "in.jpg", icc_profile=ICC, exif=exif(6), xmp=XMP)
    assert run_lapic("encode", tmp_path / "in.jpg", tmp_path / "a.lapic", "--strip", "-e", 0).exit_code == 0
    data = (tmp_path / "a.lapic").read_bytes()
    assert not set(lapic.info(data)["bytes"]) & {"iccp", "exif", "xmpd"}
    assert lapic.decode(data).size == (300, 451)
    assert run_lapic("encode", tmp_path / "in.jpg", tmp_path / "b.lapic", "-e", 0).exit_code == 0
    assert run_lapic("decode", tmp_path / "b.lapic", tmp_path / "b.png", "--strip").exit_code == 0
    assert not set(Image.open(tmp_path / "b.png").info) & {"icc_profile", "exif", "xmp"}


def test_transparency_survives_strip(tmp_path: Path) -> None:
    Image.new("P", (20, 20)).save(tmp_path / "in.png", transparency=0)
    assert run_lapic("encode", tmp_path / "in.png", tmp_path / "a.lapic", "--strip", "-e", 0).exit_code == 0
    assert lapic.decode((tmp_path / "a.lapic").read_bytes()).getchannel("A").getextrema() == (0, 0)


def test_all_eight_orientations_end_upright(photo: Image.Image, tmp_path: Path) -> None:
    from PIL import ImageOps

    for orientation in range(1, 9):
        name = tmp_path / f"{orientation}.jpg"
        photo.save(name, quality=95, exif=exif(orientation))
        assert run_lapic("encode", name, tmp_path / "a.lapic", "-q", 90, "-e", 0, "--force").exit_code == 0
        found = lapic.decode((tmp_path / "a.lapic").read_bytes())
        upright = ImageOps.exif_transpose(Image.open(name))
        assert found.size == upright.size
        assert psnr(found, upright) > 30
        assert ImageOps.exif_transpose(found).size == upright.size  # not turned twice


def test_grey_costs_no_colour(photo: Image.Image) -> None:
    grey = photo.convert("L")
    sizes = [len(lapic.encode(image, 50, effort=0)) for image in (grey, grey.convert("RGB"), photo)]
    assert sizes[0] <= sizes[1] < sizes[2]
    assert lapic.decode(lapic.encode(grey, 50, effort=0)).mode == "L"


def losing(photo: Image.Image) -> dict[str, tuple[bytes, str]]:
    """Files of which something is lost -> what is said."""
    values = np.asarray(photo.resize((80, 60))).astype(np.uint16) * 257
    files = {"deep.png": (deep_png(values), "16-bit depth becomes 8 bits")}
    for name, image, words in (
        ("grey16.png", Image.fromarray(values[:, :, 0]), "16-bit depth becomes 8 bits"),
        ("cmyk.tiff", photo.convert("CMYK"), "CMYK becomes RGB"),
        ("lab.tiff", photo.convert("LAB"), "LAB becomes RGB"),
    ):
        out = io.BytesIO()
        image.save(out, "PNG" if name.endswith("png") else "TIFF")
        files[name] = (out.getvalue(), words)
    out = io.BytesIO()
    frames = [photo.resize((80, 60)).rotate(angle) for angle in (0, 90, 180)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    files["moving.gif"] = (out.getvalue(), "only the first of 3 frames is kept: see --frames")
    return files


def test_what_is_lost_is_said_or_refused(photo: Image.Image, tmp_path: Path) -> None:
    for name, (data, words) in losing(photo).items():
        source = tmp_path / name
        source.write_bytes(data)
        result = run_lapic("encode", source, tmp_path / f"{name}.lapic", "-e", 0)
        assert result.exit_code == 0, result.output
        assert result.stderr.splitlines()[0] == f"{source}: {words}"
        strict = run_lapic("encode", source, tmp_path / "strict.lapic", "--strict", "-e", 0)
        assert strict.exit_code == 1
        assert strict.stderr == f"lapic: {source}: {words} (refused by --strict)\n"
        assert not (tmp_path / "strict.lapic").exists()
        with Image.open(source) as image:
            shown = image.convert("RGB") if image.mode != "I;16" else photo.resize((80, 60)).getchannel("R")
            decoded = lapic.decode((tmp_path / f"{name}.lapic").read_bytes())
            assert decoded.size == image.size
            assert psnr(decoded.convert(shown.mode), shown) > 20
    assert run_lapic("encode", Path(__file__).parents[2] / "examples" / "chelsea.png", tmp_path / "ok.lapic",
                 "--strict").exit_code == 0  # fmt: skip


def test_frames_go_to_a_folder(photo: Image.Image, tmp_path: Path) -> None:
    source = tmp_path / "moving.gif"
    source.write_bytes(losing(photo)["moving.gif"][0])
    result = run_lapic("encode", source, tmp_path / "frames", "--frames")
    assert result.exit_code == 0, result.output
    assert "3 frames" in result.stderr
    made = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in made] == [f"frame-{number:04}.lapic" for number in (1, 2, 3)]
    with Image.open(source) as image:
        for number, path in enumerate(made):
            image.seek(number)
            assert psnr(lapic.decode(path.read_bytes()).convert("RGB"), image.convert("RGB")) > 18
    assert run_lapic("encode", source, tmp_path / "frames", "--frames").exit_code == 1  # exists
    before = {path: path.read_bytes() for path in made}
    made[1].unlink()
    for line in ("3 frames (2 skipped)", "3 frames (3 skipped), 0 bytes"):
        result = run_lapic("encode", source, tmp_path / "frames", "--frames", "--skip-existing")
        assert line in result.stderr
        assert {path: path.read_bytes() for path in made} == before


def test_an_animation_in_a_format_without_frames_is_one_frame(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "a.png")
    assert run_lapic("encode", tmp_path / "a.png", tmp_path / "frames", "--frames").exit_code == 0
    assert len(list((tmp_path / "frames").iterdir())) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (65535, 1), (17, 16), (16, 17)])
def test_sizes_at_the_edge(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (10, 200, 90)).save(tmp_path / "a.png")
    effort = 0 if max(size) > 300 else defaults.DEFAULT_EFFORT
    assert run_lapic("encode", tmp_path / "a.png", tmp_path / "a.lapic", "-e", effort).exit_code == 0
    assert run_lapic("decode", tmp_path / "a.lapic", tmp_path / "b.png").exit_code == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == size
        assert psnr(image, Image.new("RGB", size, (10, 200, 90))) > 25
