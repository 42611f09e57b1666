import inspect
import io
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

import lapic
import lapic.codec.pillow_plugin
from lapic.codec import api
from lapic.codec.compat import import_torchvision


@pytest.fixture(scope="module")
def file(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "photo.lapic"
    photo.save(path, quality=40)
    return path


def test_save_is_encode_and_open_is_decode(file: Path, photo: Image.Image) -> None:
    assert file.read_bytes() == lapic.encode(photo, 40)
    with Image.open(file) as image:
        assert (image.format, image.mode, image.size) == ("LAPIC", "RGB", photo.size)
        assert image.get_format_mimetype() == "image/x-lapic"
        assert image.info["quality"] == 40
        assert np.array_equal(np.asarray(image), np.asarray(lapic.decode(file.read_bytes())))


def test_open_reads_the_header_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_early(*_: object, **__: object) -> None:
        raise AssertionError("decoded too early")

    monkeypatch.setattr(api, "decode", too_early)
    damaged = file.read_bytes()[:-500]
    with Image.open(io.BytesIO(damaged)) as image:
        assert image.size == (451, 300)


def test_a_damaged_file_raises_oserror_on_load(file: Path) -> None:
    with Image.open(io.BytesIO(file.read_bytes()[:-500])) as image, pytest.raises(OSError, match="truncated"):
        image.load()


@pytest.mark.parametrize("chunk", [7, 1000, 10**6])
def test_a_parser_takes_it_in_chunks(file: Path, chunk: int) -> None:
    parser, data = ImageFile.Parser(), file.read_bytes()
    for begin in range(0, len(data), chunk):
        parser.feed(data[begin : begin + chunk])
    image = parser.close()
    assert (image.format, image.mode, image.size) == ("LAPIC", "RGB", (451, 300))
    assert np.array_equal(np.asarray(image), np.asarray(lapic.decode(data)))


def test_a_parser_says_when_bytes_are_missing(file: Path) -> None:
    for end in (0, 5, 20, -500):
        parser = ImageFile.Parser()
        parser.feed(file.read_bytes()[:end])
        with pytest.raises(OSError, match=r"cannot parse|truncated"):
            parser.close()


def test_files_cut_in_the_header_are_not_identified(file: Path) -> None:
    for end in (0, 3, 8, 14, 17):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(file.read_bytes()[:end]))


def test_truncated_files_load_where_pillow_allows_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(file.read_bytes()[:-500])) as image:
        assert np.asarray(image).shape == (300, 451, 3)


def test_verify_finds_damage_without_decoding(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(api, "decode", decoded)
    data = file.read_bytes()
    Image.open(file).verify()
    header = bytearray(data)
    header[13] ^= 1  # the quality
    for damaged in (data[:-500], bytes(header), data + b"!"):
        with pytest.raises(OSError, match=r"truncated|checksum|follow"):
            Image.open(io.BytesIO(damaged)).verify()


def test_after_the_file_is_closed(file: Path) -> None:
    expected = np.asarray(lapic.decode(file.read_bytes()))
    with file.open("rb") as opened:
        image = Image.open(opened)
        image.load()
        image.load()
    assert np.array_equal(np.asarray(image.copy()), expected)
    assert image.crop((0, 0, 9, 9)).size == (9, 9)
    image.verify()
    with Image.open(file) as image:
        image.load()
    assert np.array_equal(np.asarray(image), expected)
    for use in (
        lambda image: image.load(),
        lambda image: image.copy(),
        lambda image: image.resize((5, 5)),
        lambda image: image.verify(),
    ):
        with file.open("rb") as opened:
            never_loaded = Image.open(opened)
        with pytest.raises(ValueError, match="Operation on closed image"):
            use(never_loaded)
        with Image.open(file) as never_loaded:
            pass
        with pytest.raises(ValueError, match="Operation on closed image"):
            use(never_loaded)


def test_draft_decodes_a_smaller_picture(file: Path) -> None:
    with Image.open(file) as image:
        image.draft("RGB", (100, 70))
        assert image.size == (113, 75)
        assert np.array_equal(np.asarray(image), np.asarray(lapic.decode(file.read_bytes(), scale=4)))
    with Image.open(file) as image:
        image.draft("RGB", (30, 20))
        image.draft("RGB", (100, 70))
        assert image.size == (113, 75)
        assert image.draft("RGB", (400, 250)) is None
        assert (image.size, np.asarray(image).shape) == ((451, 300), (300, 451, 3))
    with Image.open(file) as image:
        image.thumbnail((60, 60))  # which uses draft
        assert image.size == (60, 40)
        image.load()
        assert image.draft("RGB", (10, 10)) is None
        assert np.asarray(image).shape == (40, 60, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_the_pixels_of_an_opened_file_can_be_changed(photo: Image.Image, mode: str) -> None:
    out = io.BytesIO()
    photo.crop((100, 60, 120, 80)).convert(mode).save(out, "LAPIC", effort=0)
    with Image.open(out) as image:
        pixels = image.load()
        value = tuple(range(1, 1 + len(mode)))
        pixels[3, 4] = value if len(mode) > 1 else value[0]
        assert np.asarray(image)[4, 3].tolist() == (list(value) if len(mode) > 1 else value[0])


def test_modes_and_metadata(photo: Image.Image) -> None:
    grey = photo.convert("LA")
    grey.info["icc_profile"] = b"profile of some kind"
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    out = io.BytesIO()
    grey.save(out, "LAPIC", exif=exif, xmp=b"<x/>")
    with Image.open(out) as image:
        assert image.mode == "LA"
        assert image.info["icc_profile"] == b"profile of some kind"
        assert image.info["xmp"] == b"<x/>"
        assert image.getexif()[0x010E] == "a cat"
        image.load()
        assert image.getchannel("A").getextrema() == (255, 255)
        again = io.BytesIO()
        image.save(again, "LAPIC", icc_profile=None)
    assert "icc_profile" not in Image.open(again).info
    assert "exif" in Image.open(again).info


def test_bad_quality_is_a_value_error(photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="quality"):
        photo.save(io.BytesIO(), "LAPIC", quality=101)


def test_effort_and_tune_are_options_too(photo: Image.Image) -> None:
    small, out = photo.crop((100, 60, 228, 156)), io.BytesIO()
    small.save(out, "LAPIC", quality=50, effort=1, tune="psnr")
    assert out.getvalue() == lapic.encode(small, 50, effort=1, tune="psnr")
    assert out.getvalue() != lapic.encode(small, 50, effort=1)


def test_every_argument_of_encode_is_an_option(photo: Image.Image) -> None:
    small, calls = photo.crop((100, 60, 164, 108)), []
    assert {"image", *lapic.codec.pillow_plugin.OPTIONS} == set(inspect.signature(lapic.encode).parameters)
    for settings in ({"size": 900}, {"bpp": 1.0}, {"psnr": 30.0}, {"lanes": True, "tile": 0, "device": "cpu"}):
        out = io.BytesIO()
        small.save(out, "LAPIC", effort=0, progress=lambda done, total: calls.append(done), **settings)
        assert out.getvalue() == lapic.encode(small, effort=0, **settings)
        assert calls
        calls.clear()
    for settings, error in (({"size": "900"}, TypeError), ({"device": "gpu"}, ValueError)):
        with pytest.raises(error):
            small.save(io.BytesIO(), "LAPIC", effort=0, **settings)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_metadata_are_anything_with_bytes(photo: Image.Image, kind: type) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    given = {"icc_profile": b"profile of some kind", "exif": exif.tobytes(), "xmp": b"<x/>"}
    small, out = photo.crop((0, 0, 20, 20)), io.BytesIO()
    small.save(out, "LAPIC", effort=0, **{key: kind(value) for key, value in given.items()})
    assert given.items() <= Image.open(out).info.items()
    small.info |= {key: kind(value) for key, value in given.items()}
    assert given.items() <= lapic.decode(lapic.encode(small, effort=0)).info.items()


def test_metadata_of_a_wrong_type_are_refused(photo: Image.Image) -> None:
    small, out = photo.crop((0, 0, 20, 20)), io.BytesIO()
    for key in ("icc_profile", "exif", "xmp"):
        for wrong in (7, 0, False, ["a"], *(["text"] if key != "xmp" else [Image.Exif()])):
            with pytest.raises(TypeError, match=f"^{key} is given as bytes, not as {type(wrong).__name__}$"):
                small.save(out, "LAPIC", effort=0, **{key: wrong})
    small.save(out, "LAPIC", effort=0, xmp="<ä/>")
    assert Image.open(out).info["xmp"] == "<ä/>".encode()


def test_an_exif_without_entries_is_left_out(photo: Image.Image) -> None:
    small, gps = photo.crop((0, 0, 20, 20)), Image.Exif()
    gps.get_ifd(0x8825)[1] = "N"
    for given, kept in ((small.getexif(), False), (Image.Exif(), False), (gps, True)):
        out = io.BytesIO()
        small.save(out, "LAPIC", effort=0, exif=given)
        assert ("exif" in Image.open(out).info) is kept


def test_metadata_left_out_are_left_out_of_each_place(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    texts, png = PngInfo(), io.BytesIO()
    texts.add_itxt("XML:com.adobe.xmp", "<x/>")
    texts.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes())}\n{exif.tobytes().hex()}\n")
    texts.add(b"gAMA", (50_000).to_bytes(4, "big"))
    photo.crop((0, 0, 20, 20)).save(png, "PNG", pnginfo=texts, dpi=(300, 300))
    names = {"icc_profile", "exif", "xmp"}
    for left_out in ({}, *({name: None} for name in names), *({name: ""} for name in names)):
        out = io.BytesIO()
        with Image.open(png) as image:
            image.save(out, "LAPIC", effort=0, **left_out)
        assert names & set(Image.open(out).info) == names - set(left_out)


@pytest.mark.parametrize("options", [{}, {"xmp": b"<x/>"}])
def test_the_tags_of_a_tiff_are_kept(photo: Image.Image, options: dict[str, bytes]) -> None:
    exif, tiff, out = Image.Exif(), io.BytesIO(), io.BytesIO()
    exif[0x010E] = "a cat"
    photo.crop((0, 0, 20, 20)).save(tiff, "TIFF", exif=exif)
    with Image.open(tiff) as image:
        image.save(out, "LAPIC", effort=0, **options)
    assert Image.open(out).getexif()[0x010E] == "a cat"


def test_large_metadata_before_the_size_is_known(photo: Image.Image) -> None:
    small = photo.crop((0, 0, 20, 20))
    small.info["icc_profile"] = np.random.default_rng(0).bytes(300_000)
    out = io.BytesIO()
    small.save(out, "LAPIC")
    assert Image.open(out).info["icc_profile"] == small.info["icc_profile"]


def test_imageio_reads_and_writes_through_pillow(file: Path, photo: Image.Image, tmp_path: Path) -> None:
    pixels = imageio.imread(file, plugin="pillow")
    assert np.array_equal(pixels, np.asarray(lapic.decode(file.read_bytes())))
    imageio.imwrite(tmp_path / "new.lapic", np.asarray(photo), plugin="pillow", quality=40)
    assert (tmp_path / "new.lapic").read_bytes() == file.read_bytes()


def test_torchvision_datasets_load_it(file: Path, tmp_path: Path) -> None:
    import_torchvision()
    from torchvision.datasets import ImageFolder

    (tmp_path / "set" / "cats").mkdir(parents=True)
    (tmp_path / "set" / "cats" / "one.lapic").write_bytes(file.read_bytes())
    dataset = ImageFolder(tmp_path / "set", is_valid_file=lambda name: name.endswith(".lapic"))
    image, label = dataset[0]
    assert (image.size, label) == ((451, 300), 0)
