"""What of a picture is coded: grey that came as colour, and colours that alpha hides."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageCms, ImageDraw

import lapic
import lapic.codec.pillow_plugin
from lapic import bitstream
from lapic.bitstream.container import MODE
from lapic.codec.cli import main
from lapic.codec.decode import decoder
from lapic.codec.decode.alpha import alpha_of
from lapic.codec.encode import encoder
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.nets.pyramid import reduce
from lapic.codec.picture import fill, planes

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def grey(photo: Image.Image) -> Image.Image:
    return photo.convert("L").crop((100, 100, 251, 200))


def in_mode(grey: Image.Image, mode: str) -> Image.Image:
    """A grey image in a mode that could hold colour, with alpha where it has any."""
    if mode == "P":
        return grey.convert("P")
    image = grey.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def equal(image: Image.Image) -> bool:
    red, green, blue = np.moveaxis(np.asarray(image)[..., :3], 2, 0)
    return np.array_equal(red, green) and np.array_equal(red, blue)


@pytest.mark.parametrize(("mode", "expected"), [("RGB", "RGB"), ("RGBA", "RGBA"), ("P", "RGB"), ("CMYK", "RGB")])
def test_grey_in_colour_modes_is_coded_as_grey_and_comes_back_in_colour(
    grey: Image.Image, mode: str, expected: str
) -> None:
    image = in_mode(grey, mode)
    data = lapic.encode(image, 50, effort=1)
    assert bitstream.read(data)[0].pixel_format == bitstream.PixelFormat.GREY
    assert lapic.info(data)["mode"] == expected
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == expected
        assert opened.convert("RGB").mode == "RGB"
    whole = lapic.decode(data)
    part = lapic.decode(data, crop=(5, 7, 40, 30))
    others = (lapic.decode(data, scale=4), lapic.salvage(data).image, lapic.decode(data, realism=1))
    for view in (whole, part, *others):
        assert view.mode == expected
        assert equal(view)
    assert part == whole.crop((5, 7, 45, 37))
    plain = lapic.encode(image.convert("RGB").convert("L"), 50, effort=1)
    assert np.array_equal(np.asarray(whole)[..., 0], np.asarray(lapic.decode(plain)))


def test_it_costs_seven_bytes(grey: Image.Image) -> None:
    assert len(lapic.encode(grey.convert("RGB"), effort=0)) == len(lapic.encode(grey, effort=0)) + 7
    assert lapic.decode(lapic.encode(grey, effort=0)).mode == "L"


def test_a_profile_for_colour_stays(grey: Image.Image) -> None:
    image = grey.convert("RGB")
    image.info["icc_profile"] = SRGB
    found = lapic.decode(lapic.encode(image, effort=0))
    assert (found.mode, found.info["icc_profile"]) == ("RGB", SRGB)


def test_a_damaged_tile_of_such_a_picture_is_filled_in_grey(grey: Image.Image) -> None:
    data = lapic.encode(grey.convert("RGB"), 50, tile=64, effort=0)
    salvaged = lapic.salvage(data[:-40])
    assert salvaged.missing
    assert salvaged.image.mode == "RGB"
    assert equal(salvaged.image)


@pytest.mark.parametrize("place", [(0, 0), (1, 7), (99, 150)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_pixel_of_colour_makes_it_colour(grey: Image.Image, place: tuple[int, int], channel: int) -> None:
    pixels = np.array(grey.convert("RGB"))
    assert planes.is_grey(pixels)
    pixels[(*place, channel)] ^= 1
    assert not planes.is_grey(pixels)


def test_colour_is_coded_as_ever(photo: Image.Image) -> None:
    small = photo.crop((0, 0, 90, 60))
    expected = encoder.encode_pixels(load(), np.asarray(small), 50)
    assert lapic.encode(small, 50, effort=0) == expected


@pytest.mark.parametrize("content", [b"", b"\0", b"\2", b"\1\1"])
def test_other_contents_of_the_chunk_mean_nothing(grey: Image.Image, content: bytes) -> None:
    header, tiles = bitstream.read(lapic.encode(grey, effort=0))
    data = bitstream.write(dataclasses.replace(header, chunks={MODE: content}), tiles)
    assert lapic.decode(data).mode == lapic.info(data)["mode"] == "L"


def test_the_chunk_means_nothing_in_a_colour_picture(photo: Image.Image) -> None:
    data = lapic.encode(photo.crop((0, 0, 40, 30)), effort=0)
    header, tiles = bitstream.read(data)
    found = lapic.decode(bitstream.write(dataclasses.replace(header, chunks={MODE: b"\1"}), tiles))
    assert found == lapic.decode(data)


def test_written_row_by_row_it_is_in_colour_too(
    grey: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips")
    from lapic.codec.command import large

    (tmp_path / "a.lapic").write_bytes(lapic.encode(grey.convert("RGB"), effort=0))
    monkeypatch.setattr(large, "LARGE", 1)
    result = CliRunner().invoke(main, ["decode", str(tmp_path / "a.lapic"), str(tmp_path / "a.png")])
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "a.png") as found:
        assert found.mode == "RGB"
        assert equal(found)


def disc(below: tuple[int, int, int], size: int = 128) -> Image.Image:
    """A disc of one colour with a soft edge; around it nothing is seen, and `below` is the colour there."""
    alpha = Image.new("L", (4 * size, 4 * size))
    ImageDraw.Draw(alpha).ellipse((size, size, 3 * size, 3 * size), fill=255)
    alpha = alpha.resize((size, size), Image.Resampling.BOX)
    pixels = np.full((size, size, 3), (220, 60, 40), np.uint8)
    pixels[np.asarray(alpha) == 0] = below
    image = Image.fromarray(pixels)
    image.putalpha(alpha)
    return image


def on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


@pytest.mark.parametrize("effort", [0, 1])
def test_colours_that_alpha_hides_cost_nothing(effort: int) -> None:
    black, same = disc((0, 0, 0)), disc((220, 60, 40))
    files = [lapic.encode(image, 50, effort=effort) for image in (black, same)]
    assert len(files[0]) < 1.05 * len(files[1])
    of_black, of_same = (psnr(on_white(same), on_white(lapic.decode(data))) for data in files)
    assert of_black > of_same - 1
    assert np.array_equal(*(np.asarray(image.getchannel("A")) for image in (black, lapic.decode(files[0]))))
    kept = lapic.encode(black, 50, effort=effort, keep_hidden=True)
    assert len(kept) > 1.2 * len(files[0])
    assert np.asarray(lapic.decode(kept))[:8, :8, :3].max() < 30


def test_what_can_be_seen_a_little_keeps_its_colour() -> None:
    image = disc((0, 0, 0))
    pixels = np.array(image)
    pixels[60:70, 60:70] = (10, 200, 30, 1)
    found = np.asarray(lapic.decode(lapic.encode(Image.fromarray(pixels), 90, effort=0)))
    assert np.abs(found[62:68, 62:68, :3].astype(int) - (10, 200, 30)).max() < 20


def test_hidden_colours_continue_those_beside_them(photo: Image.Image) -> None:
    pixels = np.array(photo.convert("RGBA"))[:150, :201]
    pixels[40:90, 60:120] = 0
    seen = pixels[..., 3] > 0
    filled = pixels[..., :3].copy()
    fill.fill_unknown(filled, seen)
    assert np.array_equal(filled[seen], pixels[..., :3][seen])
    edge = np.abs(filled[40].astype(int) - filled[39])[60:120].mean()
    assert edge < 2 * np.abs(filled[39].astype(int) - filled[38])[60:120].mean()
    assert filled[40:90, 60:120].std() < pixels[..., :3][seen].std()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_pictures_stay_as_they_are(photo: Image.Image, mode: str) -> None:
    image = photo.crop((0, 0, 90, 60)).convert(mode)
    assert lapic.encode(image, effort=0) == lapic.encode(image, effort=0, keep_hidden=True)
    image.putalpha(1)
    assert lapic.encode(image, effort=0) == lapic.encode(image, effort=0, keep_hidden=True)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_picture_of_which_nothing_is_seen(photo: Image.Image, mode: str) -> None:
    image = photo.crop((0, 0, 90, 60)).convert(mode)
    image.putalpha(0)
    data = lapic.encode(image, effort=0)
    assert lapic.decode(data).mode == mode
    assert len(data) < len(lapic.encode(image, effort=0, keep_hidden=True))


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("crop", [None, (15, 15, 2, 2), (70, 3, 31, 60)])
def test_a_smaller_alpha_lies_on_the_grid_of_the_colours(
    photo: Image.Image, scale: int, crop: tuple[int, int, int, int] | None
) -> None:
    image = photo.crop((100, 50, 201, 117))
    image.putalpha(image.convert("L"))
    data = lapic.encode(image, 90, effort=0)
    alpha = np.pad(np.asarray(image)[..., 3].astype(float), [(0, -67 % 16), (0, -101 % 16)], mode="edge")
    picture = torch.from_numpy(alpha)[None, None]
    for _ in range(scale.bit_length() - 1):
        picture = reduce(picture)
    x, y, width, height = crop or (0, 0, 101, 67)
    rows, columns = slice(y // scale, -(-(y + height) // scale)), slice(x // scale, -(-(x + width) // scale))
    found = np.asarray(lapic.decode(data, scale=scale, crop=crop).getchannel("A"))
    assert np.abs(found - picture[0, 0, rows, columns].numpy()).max() < 1
    whole = np.asarray(lapic.decode(data, scale=scale).getchannel("A"))
    assert np.array_equal(found, whole[rows, columns])


def test_a_large_smaller_alpha_is_made_in_pieces(photo: Image.Image) -> None:
    header = bitstream.read(lapic.encode(photo, 50, effort=0))[0]
    alpha = np.asarray(photo.convert("L"))
    for crop in (None, (37, 21, 300, 201)):
        made = [alpha_of(alpha, decoder.View(4, crop, piece), header) for piece in (0, 3)]
        assert np.array_equal(*made)


def test_grey_with_hidden_colour_is_grey(grey: Image.Image) -> None:
    pixels = np.array(grey.convert("RGBA"))
    pixels[:50, :50] = (200, 10, 10, 0)
    data = lapic.encode(Image.fromarray(pixels), effort=0)
    assert bitstream.read(data)[0].pixel_format == bitstream.PixelFormat.GREY
    assert lapic.decode(data).mode == "RGBA"


def test_the_command_and_pillow_keep_hidden_colours_on_request(tmp_path: Path) -> None:
    image = disc((0, 0, 0), 64)
    image.save(tmp_path / "a.png")
    for options in ([], ["--keep-hidden"]):
        target = tmp_path / "a.lapic"
        result = CliRunner().invoke(main, ["encode", "-f", "-e", "0", *options, str(tmp_path / "a.png"), str(target)])
        assert result.exit_code == 0, result.output
        assert target.read_bytes() == lapic.encode(image, effort=0, keep_hidden=bool(options))
        image.save(tmp_path / "b.lapic", effort=0, keep_hidden=bool(options))
        assert (tmp_path / "b.lapic").read_bytes() == target.read_bytes()
