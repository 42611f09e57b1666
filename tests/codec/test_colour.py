"""Colour spaces that files tell by numbers, and profiles that do not fit."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from lapic.codec.picture import colour, metadata, pillow

SRGB = ImageCms.createProfile("sRGB")
RAMP = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))


def png(mode: str, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of a ramp with chunks behind its header."""
    out = io.BytesIO()
    RAMP.convert(mode).save(out, "PNG")
    made = b""
    for kind, body in chunks:
        made += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return out.getvalue()[:33] + made + out.getvalue()[33:]


def profile_of(source: bytes) -> bytes | None:
    return pillow.from_pil(pillow.open_image(source))[1].get(b"iccp")


def in_srgb(image: Image.Image, profile: bytes) -> np.ndarray:
    """Pixels as a colour-managed program shows them."""
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(image, given, SRGB, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    return np.asarray(made).astype(float)


def srgb(light: np.ndarray) -> np.ndarray:
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def gama(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def chrm(*values: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values))


BT709 = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 0.3])
def test_gamma_becomes_a_profile_that_shows_the_same(mode: str, gamma: float) -> None:
    profile = profile_of(png(mode, [gama(gamma)]))
    assert profile is not None
    assert profile[16:20] == (b"RGB " if mode == "RGB" else b"GRAY")
    expected = srgb((np.asarray(RAMP) / 255) ** (1 / round(gamma, 5)))
    difference = np.abs(in_srgb(RAMP.convert(mode), profile)[..., 0] - expected)
    assert difference[2:].max() < 2  # lcms is coarse in the darkest greys
    assert difference.mean() < 1


@pytest.mark.parametrize(
    "chunks",
    [[], [gama(1 / 2.2)], [gama(1 / 2.2), chrm(*BT709)], [chrm(*BT709)], [(b"sRGB", b"\0"), gama(1.0)],
     [(b"cICP", bytes([1, 13, 0, 1]))], [(b"cICP", bytes([2, 2, 0, 1])), gama(0.455)]],
)  # fmt: skip
def test_srgb_in_all_its_ways_needs_no_profile(chunks: list[tuple[bytes, bytes]]) -> None:
    assert profile_of(png("RGB", chunks)) is None


def test_chromaticities_become_the_primaries_of_a_profile() -> None:
    p3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
    told = profile_of(png("RGB", [chrm(*p3)]))
    assert told is not None
    assert told[128:] == (colour.rgb_profile(colour.PRIMARIES[12], colour.SRGB_CURVE))[128:]
    colours = Image.new("RGB", (1, 1), (100, 150, 80))
    to_linear = np.array([100, 150, 80]) / 255
    light = np.where(to_linear <= 0.04045, to_linear / 12.92, ((to_linear + 0.055) / 1.055) ** 2.4)
    p3_to_srgb = np.array([[1.2249, -0.2249, 0], [-0.0421, 1.0421, 0], [-0.0196, -0.0786, 1.0983]])
    assert np.abs(in_srgb(colours, told)[0, 0] - srgb(p3_to_srgb @ light)).max() < 2


def test_cicp_goes_before_a_profile_and_is_in_the_new_one() -> None:
    iccp = b"iCCP", b"x\0\0" + zlib.compress(colour.rgb_profile(colour.SRGB, colour.SRGB_CURVE))
    profile = profile_of(png("RGB", [(b"cICP", bytes([12, 13, 0, 1])), iccp]))
    assert profile is not None
    assert b"cicp\0\0\0\0\x0c\x0d\0\1" in profile
    assert profile == colour.of_cicp((12, 13, 0, 1), grey=False)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_shown_with_white_where_it_belongs(transfer: int) -> None:
    profile = colour.of_cicp((9, transfer, 0, 1), grey=False)
    assert profile is not None
    shown = in_srgb(RAMP.convert("RGB"), profile)[..., 1].ravel()
    assert (np.diff(shown) >= 0).all()
    white = {16: 0.58, 18: 0.75}[transfer]  # diffuse white of ITU-R BT.2408
    assert shown[int(255 * white) + 4] > 250
    assert 100 < shown[int(255 * white * 0.7)] < 240


def test_nclx_of_an_avif_becomes_a_profile() -> None:
    out = io.BytesIO()
    RAMP.convert("RGB").save(out, "AVIF", quality=90)
    source = out.getvalue()
    at = source.index(b"colrnclx")
    told = source[: at + 8] + struct.pack(">HH", 12, 13) + source[at + 12 :]
    assert profile_of(source) is None
    assert profile_of(told) == colour.of_cicp((12, 13, 0, 1), grey=False)


@pytest.mark.parametrize(
    "chunk", [gama(0), chrm(0.3, 0.3, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3), chrm(*[0] * 8), (b"cICP", bytes([77, 13, 0, 1]))]
)
def test_impossible_colour_spaces_are_named(chunk: tuple[bytes, bytes]) -> None:
    source = png("RGB", [chunk])
    image = pillow.open_image(source)
    assert any("colour space" in note for note in pillow.unsupported(image, source))
    assert b"iccp" not in pillow.from_pil(image)[1]


LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
RGB = ImageCms.ImageCmsProfile(SRGB).tobytes()
GREY = colour.grey_profile(colour.power_curve(1.8))


@pytest.mark.parametrize(
    ("mode", "given", "expected"),
    [("RGB", RGB, "same"), ("L", GREY, "same"), ("RGB", LAB, None), ("L", LAB, None), ("L", RGB, b"GRAY"),
     ("RGB", GREY, b"RGB "), ("RGB", b"no profile at all", "same")],
)  # fmt: skip
def test_a_profile_of_another_space_is_converted_or_dropped_with_a_word(
    mode: str, given: bytes, expected: bytes | str | None
) -> None:
    image = RAMP.convert(mode)
    image.info["icc_profile"] = given
    profile = pillow.from_pil(image)[1].get(b"iccp")
    notes = pillow.unsupported(image)
    if expected == "same":
        assert (profile, notes) == (given, [])
        return
    assert [note for note in notes if "profile" in note]
    assert (profile and profile[16:20]) == expected
    if profile:
        curve = 1.8 if given is GREY else None
        plain = np.asarray(RAMP) / 255
        wanted = srgb(plain**curve) if curve else 255 * plain
        assert np.abs(in_srgb(image, profile)[..., 1] - wanted).max() < 2


def cmyk() -> Image.Image:
    """A ramp whose profile says that every ink, but none on white paper, is mid grey: no plain conversion does that."""
    inks = 4
    lut = b"mft1" + bytes(4) + bytes([inks, 3, 2, 0]) + struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    lut += bytes(range(256)) * inks + bytes([137, 128, 128]) * 2**inks + bytes(range(256)) * 3
    tags = {b"A2B0": lut, b"A2B1": lut}
    profile = bytearray(colour._profile(b"CMYK", tags))
    profile[12:16], profile[20:24], profile[8:12] = b"prtr", b"Lab ", b"\2\x40\0\0"
    image = RAMP.convert("RGB").convert("CMYK")
    image.info["icc_profile"] = bytes(profile)
    return image


def test_cmyk_is_converted_by_its_profile() -> None:
    image = cmyk()
    pixels, chunks = pillow.from_pil(image)
    assert b"iccp" not in chunks
    assert "CMYK becomes RGB" in pillow.unsupported(image)
    assert pixels[:8].std() < 1  # of the ramp's dark half nothing is left
    for without in (pillow.stripped(image), metadata.with_replaced(image, {"icc_profile": b""})):
        assert np.array_equal(pillow.from_pil(without)[0], pixels)
        assert not pillow.from_pil(without)[1]
    image.info["icc_profile"] = b"\0" * 16 + b"CMYK damaged"
    assert pillow.from_pil(image)[0][:8].std() > 20
