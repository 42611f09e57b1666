import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import lapic
from lapic.bitstream.container import ALPHA
from lapic.codec.metrics import psnr
from lapic.codec.picture import pillow

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def coded(image: Image.Image) -> Image.Image:
    return lapic.decode(lapic.encode(image, 95, effort=0))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("La", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"),
     ("RGBa", "RGBA"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("I", "L"), ("F", "L"), ("I;16", "L")],
)  # fmt: skip
def test_every_mode_comes_in(photo: Image.Image, mode: str, expected: str) -> None:
    image = (
        photo.convert("L").point(lambda value: value * 257, "I").convert(mode) if "I" in mode else photo.convert(mode)
    )
    found = coded(image)
    assert (found.mode, found.size) == (expected, photo.size)
    if mode not in ("1", "P"):  # dithered pictures are noise
        plain = "L" if expected in ("L", "LA") else "RGB"
        assert psnr(found.convert(plain), photo.convert(plain)) > 33


def test_alpha_is_lossless(photo: Image.Image) -> None:
    alpha = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 451), np.uint8))
    image = photo.copy()
    image.putalpha(alpha)
    data = lapic.encode(image, 20, effort=0)
    found = lapic.decode(data)
    assert np.array_equal(np.asarray(found.getchannel("A")), np.asarray(alpha))
    assert lapic.info(data)["mode"] == "RGBA"
    part = lapic.decode(data, crop=(7, 9, 20, 30))
    assert np.array_equal(np.asarray(part.getchannel("A")), np.asarray(alpha)[9:39, 7:27])
    assert lapic.decode(data, scale=4).size == lapic.decode(data, scale=4).getchannel("A").size == (113, 75)


def test_palette_transparency_is_kept(photo: Image.Image) -> None:
    image = photo.convert("P")
    out = io.BytesIO()
    image.save(out, "PNG", transparency=0)
    found = coded(Image.open(out))
    assert found.mode == "RGBA"
    assert np.array_equal(np.asarray(found.getchannel("A")) == 0, np.asarray(image) == 0)


def test_metadata_travels_bit_for_bit(photo: Image.Image) -> None:
    image = photo.copy()
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    image.info |= {"icc_profile": SRGB, "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    found = coded(image).info
    assert found["icc_profile"] == SRGB
    assert found["exif"] == exif.tobytes()
    assert found["xmp"] == b"<x:xmpmeta/>"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_metadata_reaches_the_output_file(photo: Image.Image, suffix: str) -> None:
    image = photo.copy()
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    image.info |= {"icc_profile": SRGB, "exif": exif.tobytes()}
    found = Image.open(io.BytesIO(pillow.picture_bytes(coded(image), suffix)[0]))
    assert found.info["icc_profile"] == SRGB
    assert found.getexif()[0x010E] == "a cat"


def test_orientation_is_applied_once(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=95, exif=exif)
    found = coded(Image.open(out))
    assert found.size == (300, 451)
    assert found.getexif().get(0x0112, 1) == 1
    assert psnr(found, photo.transpose(Image.Transpose.ROTATE_270)) > 30


@pytest.mark.parametrize("info", [{"icc_profile": bytes(range(256)) * 40}, {"transparency": (0, 0, 0)}])
def test_alpha_holds_nothing_of_the_picture(photo: Image.Image, info: dict[str, Any]) -> None:
    image = photo.crop((0, 0, 64, 64)).convert("RGBA")
    plain = pillow.from_pil(image)[1][ALPHA]
    image.info |= info
    assert pillow.from_pil(image)[1][ALPHA] == plain


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_decoded_images_can_be_changed(photo: Image.Image, mode: str) -> None:
    image = lapic.decode(lapic.encode(photo.crop((0, 0, 32, 32)).convert(mode), effort=0))
    value = (5,) * len(mode) if len(mode) > 1 else 5
    image.load()[3, 4] = value
    assert image.getpixel((3, 4)) == value


def test_a_damaged_alpha_channel_is_named(photo: Image.Image) -> None:
    with pytest.raises(lapic.Error, match="alpha"):
        pillow.read_alpha({b"alph": b"junk"}, (4, 4))
    with pytest.raises(lapic.Error, match="alpha"):
        pillow.read_alpha({b"alph": pillow._png(Image.new("L", (5, 4)))}, (4, 4))
    out = io.BytesIO()
    Image.new("L", (4, 4)).save(out, "png", bits=4)
    assert out.getvalue()[24] == 4
    with pytest.raises(lapic.Error, match="alpha"):
        pillow.read_alpha({b"alph": out.getvalue()}, (4, 4))
