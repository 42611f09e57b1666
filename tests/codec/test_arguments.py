"""What callers may give to the public functions: it works, or one sentence says why not."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import lapic
import lapic.codec.pillow_plugin
from lapic import bitstream
from lapic.codec.cli import main
from tests.conftest import EXAMPLES

NO_NUMBERS = [True, False, "50", b"50", None, [50], np.array([50]), np.bool_(True), 1j, object()]
NO_TARGETS = [float("nan"), float("inf"), -float("inf"), 0, -1, 0.0, np.float64("nan"), np.float32("inf"), np.int64(0)]


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.crop((100, 60, 148, 96))


@pytest.fixture(scope="module")
def data(small: Image.Image) -> bytes:
    return lapic.encode(small, effort=0)


def refused(kinds: Any, function: Any, *given: Any, **settings: Any) -> str:
    """The one sentence of the error that a call raises."""
    with pytest.raises(kinds) as raised:
        function(*given, **settings)
    text = str(raised.value)
    assert text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_bytes_of_every_kind(kind: Any, data: bytes) -> None:
    assert np.array_equal(np.asarray(lapic.decode(kind(data))), np.asarray(lapic.decode(data)))
    assert lapic.info(kind(data)) == lapic.info(data)
    assert bitstream.read_header(kind(data)) == bitstream.read_header(data)
    assert refused(lapic.Error, lapic.decode, kind(data[:-1])).startswith("truncated")
    assert lapic.salvage(kind(data[:-1])).missing


def test_a_view_of_wider_items_counts_in_bytes(data: bytes) -> None:
    padded = data + bytes(-len(data) % 4)
    wide = memoryview(padded).cast("I")
    if len(data) % 4:
        assert "follow" in refused(lapic.Error, lapic.info, wide)
    else:
        assert lapic.info(wide) == lapic.info(data)


@pytest.mark.parametrize("other", ["photo.lapic", Path("photo.lapic"), 7, None, io.BytesIO(b"x"), ["a"]])
def test_what_is_no_bytes(other: Any) -> None:
    for read in (lapic.decode, lapic.info, bitstream.read, bitstream.read_header):
        assert type(other).__name__ in refused(TypeError, read, other)


@pytest.mark.parametrize("value", [50, 50.0, np.int64(50), np.uint8(50), np.float32(50), np.float64(50), Fraction(50)])
def test_numbers_of_every_kind(value: Any, small: Image.Image, data: bytes) -> None:
    assert lapic.encode(small, value, effort=0) == data
    assert lapic.encode(small, 50.0, effort=np.uint8(0), tile=np.int32(1024)) == data
    assert len(lapic.encode(small, size=10 * value, effort=0)) <= 500


@pytest.mark.parametrize("name", ["quality", "effort", "tile", "size", "bpp", "psnr"])
def test_what_is_no_number(name: str, small: Image.Image) -> None:
    for value in NO_NUMBERS:
        if value is None and name in ("size", "bpp", "psnr"):
            continue
        assert name in refused(TypeError, lapic.encode, small, **{name: value})


@pytest.mark.parametrize("name", ["size", "bpp", "psnr"])
def test_targets_out_of_all_range(name: str, small: Image.Image) -> None:
    for value in [*NO_TARGETS, 10**400]:
        refused(ValueError, lapic.encode, small, **{name: value})


def test_settings_out_of_range(small: Image.Image, data: bytes) -> None:
    for settings in ({"quality": float("nan")}, {"quality": float("inf")}, {"quality": 0}, {"effort": 2.5},
                     {"effort": 10}, {"effort": float("nan")}, {"tile": 64.5}, {"tile": float("inf")}, {"tune": "ssim"},
                     {"tune": None}, {"device": "abacus"}, {"device": "meta"}, {"device": None}):  # fmt: skip
        assert next(iter(settings)) in refused(ValueError, lapic.encode, small, **settings)
    for target in ({"size": 500}, {"psnr": 30}):
        assert "tile" in refused(ValueError, lapic.encode, small, tile=63, **target)
    for settings in ({"scale": "2"}, {"scale": True}, {"scale": 3}, {"scale": None}, {"realism": float("nan")},
                     {"realism": 2}, {"crop": (0, 0, 5)}, {"crop": (0, 0, 5.5, 5)}, {"crop": (0, 0, float("nan"), 1)},
                     {"crop": (0, 0, 99, 99)}, {"device": "abacus"}, {"max_pixels": float("nan")}):  # fmt: skip
        refused(ValueError, lapic.decode, data, **settings)
    for settings in (
        {"crop": 5},
        {"crop": "0,0,5,5"},
        {"crop": (0, 0, True, 5)},
        {"realism": "1"},
        {"max_pixels": "9"},
    ):
        refused(TypeError, lapic.decode, data, **settings)
    for settings in ({"strength": float("nan")}, {"scale": 3}, {"scale": "2"}, {"look": None}, {"task": 7}):
        refused(ValueError, lapic.restore, small, **settings)
    for function, given in ((lapic.restore, ["jpeg"]), (lapic.translate, ["grey:1"])):
        refused(TypeError, function, small, *given, strength="1")


def test_settings_of_other_numeric_types(data: bytes) -> None:
    expected = lapic.decode(data, scale=2, crop=(4, 4, 16, 16))
    found = lapic.decode(data, scale=np.int64(2), crop=np.array([4, 4, 16, 16]), max_pixels=np.int64(10**6))
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert np.array_equal(np.asarray(lapic.decode(data, scale=2.0, crop=[4.0, 4, 16, 16])), np.asarray(expected))


def test_choices_are_told_from_arrays_and_truth_values(small: Image.Image, data: bytes) -> None:
    grid = np.zeros((40, 4))
    for settings in ({"scale": np.array([2, 4])}, {"scale": np.bool_(True)}, {"scale": grid}):
        assert "scale" in refused(ValueError, lapic.decode, data, **settings)
    assert "crop" in refused(TypeError, lapic.decode, data, crop=grid)
    assert "tune" in refused(ValueError, lapic.encode, small, tune=grid)
    assert "task" in refused(ValueError, lapic.restore, small, np.array(["jpeg", "denoise"]))


def test_progress_is_any_callable(small: Image.Image, data: bytes) -> None:
    class Steps(list[tuple[int, int]]):
        """A list, which is false while it is empty, as a host's recorder may be."""

        def __call__(self, done: int, total: int) -> None:
            self.append((done, total))

    for function, given, settings in (
        (lapic.encode, small, {"effort": 0}),
        (lapic.decode, data, {}),
        (lapic.salvage, data, {}),
        (lapic.restore, small, {}),
        (lapic.translate, small, {"model": "jpeg"}),
    ):
        steps = Steps()
        function(given, **settings, progress=steps)
        assert steps == [(1, 1)]
        for wrong in (0, 7, "progress", [print]):
            text = refused(TypeError, function, given, **settings, progress=wrong)
            assert text == f"progress is a function progress(done, total), not {type(wrong).__name__}"


@pytest.mark.parametrize("other", ["photo.png", Path("photo.png"), None, b"", np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_image(other: Any) -> None:
    for function, given in ((lapic.encode, []), (lapic.restore, []), (lapic.translate, ["grey:1"])):
        assert "PIL.Image.Image" in refused(TypeError, function, other, *given)


def test_images_that_are_closed_or_damaged(tmp_path: Path, photo: Image.Image) -> None:
    for suffix in ("png", "jpg", "lapic"):
        photo.crop((100, 60, 228, 156)).save(tmp_path / f"a.{suffix}")

    def never_loaded(path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image

    def file_closed(path: Path) -> Image.Image:
        with path.open("rb") as file:
            return Image.open(file)

    def loaded(path: Path) -> Image.Image:
        with Image.open(path) as image:
            image.load()
        image.close()
        return image

    def cut(path: Path) -> Image.Image:
        return Image.open(io.BytesIO(path.read_bytes()[:-200]))

    for path in tmp_path.iterdir():
        for made in (never_loaded, file_closed, loaded, cut):
            for function, given in ((lapic.encode, []), (lapic.restore, []), (lapic.translate, ["grey:1"])):
                assert "cannot be read" in refused(lapic.Error, function, made(path), *given)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I;16B", "I", "F", "CMYK", "HSV", "LAB", "YCbCr"]
)
def test_images_of_every_mode(mode: str) -> None:
    found = lapic.decode(lapic.encode(Image.new(mode, (20, 12)), effort=0))
    assert found.size == (20, 12)
    for size in ((0, 0), (0, 5), (5, 0)):
        for target in ({}, {"size": 500}, {"psnr": 30}):
            refused(ValueError, lapic.encode, Image.new(mode, size), effort=0, **target)


def test_a_palette_with_transparency_in_bytes() -> None:
    image = Image.new("P", (20, 12))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.info["transparency"] = bytes([0, 128])
    assert lapic.decode(lapic.encode(image, effort=0)).mode == "RGBA"


@pytest.mark.parametrize("option", ["--size", "--bpp", "--psnr", "-q"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "0", "1e400", "1.5.2", "", "k", "0.0001", "1e-400"])
def test_numbers_on_the_command_line(option: str, value: str, tmp_path: Path) -> None:
    if value == "0.0001" and option in ("--bpp", "--psnr"):
        pytest.skip("a positive number")
    result = CliRunner().invoke(
        main, ["encode", str(EXAMPLES / "chelsea.png"), str(tmp_path / "a.lapic"), option, value]
    )
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("Error: Invalid value")


@pytest.mark.parametrize("arguments", [["decode", "--realism", "nan"], ["restore", "--strength", "nan"]])
def test_shares_on_the_command_line(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*arguments, str(EXAMPLES / "chelsea.png"), str(tmp_path / "a.png")])
    assert result.exit_code == 2, result.output
