"""Drawn pictures are told from photos, and coded by the models that keep them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

import lapic
from lapic.codec.picture.drawn import is_drawn


def text() -> Image.Image:
    """A page of text with smoothed letters."""
    page = Image.new("RGB", (160, 128), "#fffdf0")
    for top in range(4, 120, 16):
        ImageDraw.Draw(page).text((4, top), "small files, exact on every device", fill="#203050", font_size=12)
    return page


def checks(cell: int) -> Image.Image:
    """A checkerboard of 96 x 96 pixels."""
    rows, columns = np.indices((96, 96)) // cell
    return Image.fromarray(((rows + columns) % 2 * 255).astype(np.uint8))


DRAWN = {"text": text(), "one": checks(1), "two": checks(2), "ten": checks(10), "plain": Image.new("RGB", (64, 64))}


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_pictures_are_told(name: str) -> None:
    assert is_drawn(np.asarray(DRAWN[name]))
    assert is_drawn(np.asarray(DRAWN[name].convert("L")))


def test_photos_are_not_drawn(photo: Image.Image) -> None:
    pixels = np.asarray(photo)
    assert not is_drawn(pixels)
    assert not is_drawn(np.asarray(photo.convert("L")))
    assert not is_drawn(pixels // 8 * 8), "a photo of few levels has gentle slopes too"
    assert not is_drawn(np.asarray(photo.quantize(256).convert("RGB"))), "nor is one of dithered colours drawn"


def test_a_gradient_and_noise_are_not_drawn() -> None:
    slope = np.arange(64)[:, None] + np.arange(64)[None] // 2
    assert not is_drawn(slope.astype(np.uint8))
    assert not is_drawn(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))))
def test_any_size_is_judged(pixels: np.ndarray) -> None:
    assert is_drawn(pixels) in (True, False)


def test_a_drawn_picture_is_coded_for_square_error() -> None:
    drawn = DRAWN["text"]
    made = lapic.encode(drawn, 40, effort=0)
    assert made == lapic.encode(drawn, 40, effort=0, tune="psnr")
    assert lapic.info(made)["model"]["name"] == "photo"
    assert lapic.info(lapic.encode(drawn, 40, effort=0, model="eye"))["model"]["name"] == "eye"
    assert lapic.info(lapic.encode(drawn, effort=0, bpp=1.0))["model"]["name"] == "photo"


def test_hidden_pixels_do_not_hide_a_drawing() -> None:
    logo = Image.new("RGBA", (96, 64), (0, 0, 0, 0))
    ImageDraw.Draw(logo).rectangle((8, 8, 40, 50), fill="#d04010")
    ImageDraw.Draw(logo).rectangle((60, 20, 90, 60), fill="#1040d0")
    assert lapic.info(lapic.encode(logo, effort=0))["model"]["name"] == "photo"
