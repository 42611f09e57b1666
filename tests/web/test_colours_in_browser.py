"""Colours with an ICC profile in a page: converted to sRGB as LittleCMS does, or left as they are."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

import lapic
from lapic.codec.picture.colour import PRIMARIES, SRGB_CURVE, grey_profile, power_curve, rgb_profile
from lapic.codec.selftest import GOLDEN
from tests.web.pages import Browser, pixels, to_text

DECODE = "async ([data, options]) => shown(await lapic.decode(fromBase64(data), options))"
RAW = {"colorSpaceConversion": "none"}
DISPLAY_P3 = rgb_profile(PRIMARIES[12], SRGB_CURVE)
PHOTO = Image.open(GOLDEN / "photo-q10.lapic.png").convert("RGB")


def in_srgb(image: Image.Image, profile: bytes) -> np.ndarray:
    """The colours of a picture by LittleCMS, (h, w, 3)."""
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert made is not None
    return np.asarray(made).astype(int)


def file_of(image: Image.Image, profile: bytes) -> str:
    image = image.copy()
    image.info["icc_profile"] = profile
    return to_text(lapic.encode(image, effort=0))


def test_colours_of_display_p3_become_srgb(browser: Browser) -> None:
    data = file_of(PHOTO, DISPLAY_P3)
    raw = pixels(browser.call(DECODE, data, RAW))[..., :3]
    shown = pixels(browser.call(DECODE, data, {}))[..., :3]
    expected = in_srgb(Image.fromarray(raw.astype(np.uint8)), DISPLAY_P3)
    assert np.abs(expected - raw).max() > 10, "the profile has to matter"
    assert np.abs(shown - expected).max() <= 2
    small = pixels(browser.call(DECODE, data, {"scale": 8}))[..., :3]
    small_raw = pixels(browser.call(DECODE, data, {"scale": 8, **RAW}))[..., :3]
    assert np.abs(small - in_srgb(Image.fromarray(small_raw.astype(np.uint8)), DISPLAY_P3)).max() <= 2


@pytest.mark.parametrize("size", [(70_000, 16), (16, 70_000)])
def test_pictures_that_no_canvas_holds_are_converted(size: tuple[int, int], browser: Browser) -> None:
    data = file_of(Image.new("RGB", size, (200, 30, 60)), DISPLAY_P3)
    script = """async ([data, options]) => {
        const image = await lapic.decode(fromBase64(data), options);
        return [0, image.data.length / 2, image.data.length - 4].map(at => [...image.data.slice(at, at + 4)]);
    }"""
    raw = np.array(browser.call(script, data, RAW), np.uint8)[:, :3]
    shown = np.array(browser.call(script, data, {}))[:, :3]
    assert np.abs(shown - in_srgb(Image.fromarray(raw[None]), DISPLAY_P3)[0]).max() <= 2


def test_a_grey_picture_with_a_profile_of_colours_is_converted(browser: Browser) -> None:
    data = file_of(PHOTO.convert("L").convert("RGB"), rgb_profile(PRIMARIES[12], power_curve(1.0)))
    raw = pixels(browser.call(DECODE, data, RAW))[..., :3]
    shown = pixels(browser.call(DECODE, data, {}))[..., :3]
    assert np.abs(shown - raw).max() > 10


def test_the_first_look_is_converted_too(browser: Browser) -> None:
    script = """async ([data]) => {
        let look;
        await lapic.decode(fromBase64(data), { preview: image => { look = shown(image); } });
        return [look, shown(await lapic.decode(fromBase64(data), { scale: 8 }))];
    }"""
    look, eighth = browser.call(script, file_of(PHOTO, DISPLAY_P3))
    assert look == eighth


def test_grey_profiles_count_and_alpha_stays(browser: Browser) -> None:
    profile = grey_profile(power_curve(1.8))
    grey = PHOTO.convert("L")
    data = file_of(grey, profile)
    raw = pixels(browser.call(DECODE, data, RAW))[..., 0]
    shown = pixels(browser.call(DECODE, data, {}))[..., :3]
    assert np.abs(shown - in_srgb(Image.fromarray(raw.astype(np.uint8)), profile)).max() <= 2

    alpha = Image.linear_gradient("L").resize(PHOTO.size)
    both = PHOTO.copy()
    both.putalpha(alpha)
    seen = pixels(browser.call(DECODE, file_of(both, DISPLAY_P3), {}))
    assert np.array_equal(seen[..., 3], np.asarray(alpha))


@pytest.mark.parametrize("profile", [b"no profile at all", DISPLAY_P3[:150]])
def test_a_profile_that_is_none_counts_as_srgb(browser: Browser, profile: bytes) -> None:
    bare = lapic.encode(PHOTO, effort=0)
    data = browser.call(
        """async ([data, icc]) => {
            const image = await lapic.decode(fromBase64(data));
            return toBase64(await lapic.encode(image, { metadata: { icc: fromBase64(icc) } }));
        }""",
        to_text(bare),
        to_text(profile),
    )
    shown = pixels(browser.call(DECODE, data, {}))
    assert np.array_equal(shown, pixels(browser.call(DECODE, data, RAW)))


def test_another_conversion_is_refused(browser: Browser) -> None:
    script = """async ([data]) => lapic.decode(fromBase64(data), { colorSpaceConversion: "p3" })
        .then(() => "", error => error.message)"""
    assert browser.call(script, file_of(PHOTO, DISPLAY_P3)) == "colorSpaceConversion p3 is not default or none"
