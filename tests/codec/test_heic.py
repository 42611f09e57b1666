"""HEIC, by the plugin pillow-heif."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms

from lapic.codec.cli import main

pillow_heif = pytest.importorskip("pillow_heif")
WITHOUT = "import sys; sys.modules['pillow_heif'] = None\nfrom lapic.codec.cli import main; main()"


@pytest.fixture(scope="module")
def photo_of_phone(tmp_path_factory: pytest.TempPathFactory, photo: Image.Image) -> Path:
    """A picture that is stored on its side, with its profile and a tag."""
    image = photo.crop((0, 0, 96, 64))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a phone"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out = tmp_path_factory.mktemp("phone") / "IMG_0001.HEIC"
    image.info |= {"exif": exif.tobytes(), "icc_profile": profile}
    pillow_heif.from_pillow(image).save(out, quality=90)
    return out


def lapic(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_photos_of_phones_are_encoded_upright_with_their_metadata(photo_of_phone: Path, tmp_path: Path) -> None:
    lapic("encode", "-e", 0, "-q", 90, photo_of_phone, tmp_path / "a.lapic")
    lapic("decode", tmp_path / "a.lapic", tmp_path / "a.png")
    found, source = Image.open(tmp_path / "a.png"), pillow_heif.open_heif(photo_of_phone).to_pillow()
    assert found.size == source.size
    assert np.abs(np.asarray(found.convert("RGB")).astype(int) - np.asarray(source)).mean() < 6
    assert found.getexif()[0x010F] == "a phone"
    assert found.getexif().get(0x0112, 1) == 1
    assert found.info["icc_profile"]


def test_a_tree_of_photos_of_phones(photo_of_phone: Path, tmp_path: Path) -> None:
    """In a process in which nothing else has added the format to Pillow."""
    command = ["encode", "-r", "-e", "0", str(photo_of_phone.parent), str(tmp_path)]
    subprocess.run([sys.executable, "-m", "lapic.codec", *command], check=True)
    assert (tmp_path / "IMG_0001.lapic").exists()


def test_heic_is_written(photo: Image.Image, tmp_path: Path) -> None:
    photo.crop((0, 0, 64, 48)).save(tmp_path / "a.png")
    lapic("encode", "-e", 0, tmp_path / "a.png", tmp_path / "a.lapic")
    for name in ("a.heic", "b.HIF"):
        lapic("decode", tmp_path / "a.lapic", tmp_path / name)
        assert pillow_heif.open_heif(tmp_path / name).size == (64, 48)


def test_a_damaged_file_is_one_line(photo_of_phone: Path, tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(photo_of_phone.read_bytes()[:400])
    result = CliRunner().invoke(main, ["encode", str(tmp_path / "a.heic"), str(tmp_path / "a.lapic")])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "a.lapic").exists()


def test_too_many_pixels_are_refused_before_they_are_read(photo_of_phone: Path, tmp_path: Path) -> None:
    command = ["encode", "--max-pixels", "1000", str(photo_of_phone), str(tmp_path / "a.lapic")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "more than 1000 pixels" in result.output


def test_without_the_plugin_the_extra_is_named(photo_of_phone: Path, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    encode = ["encode", "-r", "-e", "0", str(photo_of_phone.parent), str(tmp_path / "out")]
    decode = ["decode", str(tmp_path / "a.lapic"), str(tmp_path / "a.heic")]
    lapic("encode", "-e", 0, tmp_path / "a.png", tmp_path / "a.lapic")
    for command in (encode, decode):
        ended = subprocess.run([sys.executable, "-c", WITHOUT, *command], capture_output=True, text=True)
        assert ended.returncode == 1
        assert "HEIC needs pillow-heif: pip install 'lapic[heic]'" in ended.stderr
        assert "Traceback" not in ended.stderr
