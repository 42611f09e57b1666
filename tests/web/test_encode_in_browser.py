"""Pictures encoded in a page: the bytes of effort 0, which decode in Python to what the page shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lapic
from lapic.bitstream import read
from tests.web import reference
from tests.web.pages import Browser, pixels, to_text

COFFEE = Path(__file__).parents[2] / "examples" / "coffee.png"
ENCODE = """async ([data, width, height, options]) => {
    const image = new ImageData(new Uint8ClampedArray(fromBase64(data)), width, height);
    const file = await lapic.encode(image, options);
    return { file: [...file], kept: toBase64(image.data) === data, image: shown(await lapic.decode(file)) };
}"""


def encoded(browser: Browser, image: Image.Image, **options: Any) -> tuple[bytes, np.ndarray]:
    """The file that the page makes of an image, and what the page decodes it to."""
    found = browser.call(ENCODE, to_text(image.convert("RGBA").tobytes()), *image.size, options)
    assert found["kept"]
    return bytes(found["file"]), pixels(found["image"])


def payload_of(data: bytes) -> int:
    """The bytes of a file's tiles."""
    return sum(len(tile.payload) for tile in read(data)[1])


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(COFFEE) as image:
        image.load()
    image.info = {}
    return image.convert("RGB")


@pytest.mark.parametrize(
    ("size", "quality"), [((200, 150), 50), ((133, 77), 20.5), ((64, 64), 1), ((90, 75), 60.25), ((17, 300), 100)]
)
def test_a_photo_decodes_in_python_to_what_the_page_shows(
    browser: Browser, photo: Image.Image, size: tuple[int, int], quality: float
) -> None:
    part = photo.crop((100, 100, 100 + size[0], 100 + size[1]))
    file, shown = encoded(browser, part, quality=quality)
    assert np.abs(reference.decode(file) - shown[..., :3]).max() <= 1
    assert (shown[..., 3] == 255).all()
    expected = reference.encode(part, quality)
    assert read(file)[0] == read(expected)[0]
    assert abs(len(file) - len(expected)) <= 0.01 * len(expected) + 8  # rounding may differ between machines


@pytest.mark.parametrize(("name", "quality", "used"), [("fast", 40, "fast"), ("photo", 70, "photo-high")])
def test_a_model_may_be_named(browser: Browser, photo: Image.Image, name: str, quality: float, used: str) -> None:
    part = photo.crop((100, 100, 260, 212))
    file, shown = encoded(browser, part, quality=quality, model=name)
    expected = reference.encode(part, quality, used)
    assert read(file)[0] == read(expected)[0]
    assert abs(len(file) - len(expected)) <= 0.01 * len(expected) + 8
    assert np.abs(reference.decode(file) - shown[..., :3]).max() <= 1


def test_a_quality_between_two_steps_is_rounded_as_in_python(browser: Browser, photo: Image.Image) -> None:
    part = photo.crop((100, 100, 132, 132))
    for quality in (50 + 0.5 / 256, 50 + 1.5 / 256):
        file, _ = encoded(browser, part, quality=quality)
        assert read(file)[0].quality == read(reference.encode(part, quality))[0].quality


def test_grey_is_coded_as_grey_and_comes_back_in_colour(browser: Browser, photo: Image.Image) -> None:
    grey = photo.crop((50, 50, 150, 140)).convert("L").convert("RGB")
    file, shown = encoded(browser, grey, quality=40)
    assert (lapic.info(file)["bytes"]["mode"], lapic.info(file)["mode"]) == (6, "RGB")
    assert np.abs(reference.decode(file) - shown[..., :3]).max() <= 1


@pytest.mark.parametrize("quality", [30, 80])
@pytest.mark.parametrize("form", ["RGB", "RGBA"])
def test_a_drawn_picture_is_coded_as_by_the_command(browser: Browser, quality: float, form: str) -> None:
    rows, columns = np.indices((1200, 500)) // 2  # its rows are seen in steps
    drawn = Image.fromarray(((rows + columns) % 2 * 200).astype(np.uint8)).convert(form)
    if form == "RGBA":
        drawn.putalpha(Image.fromarray(((5 * rows + 7 * columns) % 201 + 55).astype(np.uint8)))
    file, shown = encoded(browser, drawn, quality=quality)
    expected = lapic.encode(drawn, quality, effort=0)
    assert read(file)[0].model == read(expected)[0].model
    assert lapic.info(file)["model"]["name"] == ("photo" if quality < 60 else "photo-high")
    assert abs(payload_of(file) - payload_of(expected)) <= 0.01 * payload_of(expected) + 8
    assert np.abs(reference.decode(file) - shown[..., :3]).max() <= 1


def test_alpha_is_kept_and_hidden_colours_cost_nothing(browser: Browser, photo: Image.Image) -> None:
    image = photo.crop((100, 100, 230, 210)).convert("RGBA")
    alpha = np.zeros(image.size[::-1], np.uint8)
    alpha[20:90, 30:] = 200
    alpha[40:60, 40:60] = 255
    image.putalpha(Image.fromarray(alpha))
    file, shown = encoded(browser, image)
    assert np.array_equal(shown[..., 3], alpha)
    assert np.array_equal(np.asarray(lapic.decode(file).getchannel("A")), alpha)
    expected = payload_of(reference.encode(image, 50))
    assert abs(payload_of(file) - expected) <= 0.01 * expected + 8


def test_metadata_are_kept(browser: Browser, photo: Image.Image) -> None:
    script = """async ([data]) => {
        const metadata = { icc: new Uint8Array([1, 2]), exif: new Uint8Array([3]), xmp: new Uint8Array([4, 5, 6]) };
        return [...await lapic.encode(new ImageData(new Uint8ClampedArray(fromBase64(data)), 20, 10), { metadata })];
    }"""
    file = bytes(browser.call(script, to_text(photo.crop((0, 0, 20, 10)).convert("RGBA").tobytes())))
    assert read(file)[0].chunks == {b"iccp": b"\1\2", b"exif": b"\3", b"xmpd": b"\4\5\6"}


def test_metadata_in_any_form_of_bytes_are_kept(browser: Browser) -> None:
    script = """async () => {
        const image = new ImageData(16, 16);
        const bytes = await lapic.encode(image, { metadata: { exif: new Uint8Array([1, 2, 3]).buffer } });
        return (await lapic.info(bytes)).metadata.exif.length;
    }"""
    assert browser.call(script) == 3


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            "lapic.encode(new ImageData(16, 16), { metadata: { icc: 'sRGB' } })",
            "the bytes of the metadata icc are needed",
        ),
        ("lapic.encode({ data: new Uint8ClampedArray(4), width: 100, height: 100 })", "4 bytes are no RGBA picture"),
        ("lapic.encode({ data: new Uint8ClampedArray(0), width: 0, height: 0 })", "0 bytes are no RGBA picture"),
        ("lapic.configure({ base: 'http://[' })", "the base http://[ is no address"),
        (
            "lapic.encode(new ImageData(16, 16), { model: 'slow' })",
            "there is no model slow to encode with (shipped: eye, ",
        ),
        (
            "lapic.encode(new ImageData(16, 16), { model: 'fast', quality: 75 })",
            "the model fast is for qualities 1 to 60: quality 75 needs another",
        ),
    ],
)
def test_what_cannot_be_encoded_is_refused(call: str, sentence: str, browser: Browser) -> None:
    script = f"async () => {{ try {{ await {call}; }} catch (error) {{ return [error.name, error.message]; }} }}"
    name, message = browser.call(script)
    assert name == "LapicError"
    assert message.startswith(sentence)


def test_the_base_may_be_relative_to_the_page(browser: Browser) -> None:
    script = """async () => {
        lapic.configure({ base: "./" });
        return (await lapic.encode(new ImageData(16, 16))).length;
    }"""
    assert browser.call(script) > 0


def test_a_cancelled_encode_ends_with_the_reason(browser: Browser) -> None:
    script = """async () => {
        const stop = new AbortController();
        const call = lapic.encode(new ImageData(300, 300), { signal: stop.signal });
        setTimeout(() => stop.abort("enough"), 0);
        return call.then(() => "done", String);
    }"""
    assert browser.call(script) == "enough"
