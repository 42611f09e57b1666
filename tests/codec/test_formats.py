"""What each format keeps: the table in codec.picture.formats against files, and docs/FORMATS.md against the table.

`python -m tests.codec.test_formats` writes the page anew.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lapic.bitstream import Error
from lapic.codec.picture import exif, heic, pillow, saving
from lapic.codec.picture.formats import ANY, FORMATS, NOT_WRITTEN, Format

PAGE = Path(__file__).parents[2] / "docs" / "FORMATS.md"
INTRODUCTION = """# Picture formats that lapic writes

What `decode`, `restore` and `translate` keep in each format. What a format does not keep is said in one line, or
refused with `--strict`; alpha is composed on `--background` where there is no place for it. Made from the table in
`codec/picture/formats.py`, which the commands themselves follow, by `python -m tests.codec.test_formats`; a test holds
both to files.

A .lapic file itself keeps ICC profile, EXIF and XMP of up to 16 MiB each and alpha without loss. The resolution is kept
in EXIF, which is made for it where a picture has none (72 dpi, which EXIF writes for an unknown one, is not). Text in
PNG, comments, IPTC and further frames are not kept, and 16 bits become 8: `encode` says so, or refuses with `--strict`.

With the extra `large`, pictures of 100 megapixels and more lose EXIF in TIFF, and can be written as PNG, TIFF and JPEG
only ([LIBRARY.md](LIBRARY.md#from-100-megapixels-on)).
"""
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
PIXELS = {"GIF": "256 colours", "ICO": "as they are, to 256 x 256", "ICNS": "in the sizes of icons"}
UNREAD = {"JXL", "PDF", "EPS"}  # Pillow needs a plugin or another program to write or to read these


def size(most: int) -> str:
    return "-" if not most else "yes" if most == ANY else f"to {most} bytes"


def page() -> str:
    lines = [
        "| format | names | alpha | grey | ICC profile | EXIF | XMP | resolution | text | pixels |",
        "|---|" + "---|" * 9,
    ]
    suffixes: dict[str, list[str]] = {}
    for suffix, kind in sorted(Image.registered_extensions().items()):
        if suffix not in NOT_WRITTEN:
            suffixes.setdefault(kind, []).append(suffix)
    plugins = {"JXL": [".jxl (in programs that import pillow_jxl)"],
               "HEIF": [".heic, .heics, .heif, .heifs, .hif (with the extra `heic`)"]}  # fmt: skip
    for form in FORMATS.values():
        names = ", ".join(plugins.get(form.name) or suffixes[form.name])
        alpha = "yes" if form.alpha else "-"
        alpha = "on or off" if form.name == "GIF" else alpha
        exif_data = "as tags" if form.name == "TIFF" else size(form.exif)
        lines.append(
            f"| {form.name} | {names} | {alpha} | {'yes' if 'L' in form.modes else 'as RGB'} | {size(form.icc)} | "
            f"{exif_data} | {size(form.xmp)} | {'yes' if form.resolution else '-'} | - | "
            f"{PIXELS.get(form.name) or ('as they are' if form.lossless else 'lossy')} |"
        )
    return INTRODUCTION + "\n" + "\n".join(lines) + "\n"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.codec.test_formats"


def sample(mode: str) -> Image.Image:
    grey = np.arange(64 * 48).reshape(48, 64) % 251
    image = Image.fromarray(np.stack([grey, grey[::-1], grey // 2, 255 - grey], 2).astype(np.uint8)).convert(mode)
    image.info = {"icc_profile": ICC, "exif": described(), "xmp": XMP}
    if mode in ("L", "LA"):
        del image.info["icc_profile"]
    return image


def described() -> bytes:
    data = Image.Exif()
    data[0x010E], data[0x011A], data[0x011B], data[0x0128] = "a cat", 300.0, 300.0, 2
    return data.tobytes()


@pytest.mark.filterwarnings("ignore:IM image")
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("form", [form for form in FORMATS.values() if form.name not in UNREAD], ids=lambda f: f.name)
def test_files_keep_what_the_table_says(form: Format, mode: str) -> None:
    if form.name == "HEIF" and not heic.register():
        pytest.skip("pillow-heif is missing")
    suffixes = [suffix for suffix, kind in Image.registered_extensions().items() if kind == form.name]
    suffix = ".ppm" if form.name == "PPM" else suffixes[0]
    image = sample(mode)
    data, notes = pillow.picture_bytes(image, suffix)
    with Image.open(io.BytesIO(data)) as found:
        found.load()
    said = " ".join(notes)
    assert ("icc_profile" in found.info) == (bool(form.icc) and "icc_profile" in image.info)
    assert ("ICC profile" in said) == (not form.icc and "icc_profile" in image.info)
    assert (found.getexif().get(0x010E) == "a cat") == bool(form.exif) != ("EXIF" in said)
    xmp = found.info.get("xmp") or found.info.get("XML:com.adobe.xmp")
    assert (xmp == XMP) == bool(form.xmp) != ("XMP" in said)
    assert (round(found.info.get("dpi", (0, 0))[0]) == 300) == form.resolution
    if mode.endswith("A"):
        assert found.has_transparency_data == form.alpha != ("no alpha" in said)
    if form.lossless and form.name != "ICNS":
        wanted = image if form.alpha or not mode.endswith("A") else pillow.compose(image, "white")
        assert np.array_equal(np.asarray(found.convert("RGBA")), np.asarray(wanted.convert("RGBA")))


@pytest.mark.parametrize(("suffix", "mode"), [(".pfm", "L"), (".pbm", "RGB"), (".pgm", "RGB")])
def test_files_are_what_their_names_say(suffix: str, mode: str) -> None:
    with pytest.raises(Error, match=rf"\{suffix}"):
        pillow.picture_bytes(sample(mode), suffix)
    assert pillow.picture_bytes(sample("L"), ".pgm")[0].startswith(b"P5")


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".ppm"])
@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("black", 0), ("#808080", 128)])
def test_alpha_is_composed_on_a_background(suffix: str, background: str, expected: int) -> None:
    for mode in ("RGBA", "LA"):
        image = Image.new("RGBA", (16, 16), (200, 0, 0, 0)).convert(mode)
        data, notes = pillow.picture_bytes(image, suffix, background)
        assert abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - expected).max() <= 2
        assert len(notes) == 1
        assert f"composed on {background}" in notes[0]
        image.putalpha(255)
        assert pillow.picture_bytes(image, suffix, background)[1] == []  # nothing is transparent


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 65533), (".png", 2**31), (".webp", 2**31), (".tif", 2**31)])
def test_long_metadata_are_kept_or_named(suffix: str, most: int) -> None:
    long = Image.Exif()
    long[0x010E] = "a long story " * 8000
    image = sample("RGB")
    image.info |= {"exif": long.tobytes(), "xmp": XMP + b" " * 2_000_000, "icc_profile": ICC + bytes(300_000)}
    data, notes = pillow.picture_bytes(image, suffix)
    found = pillow.open_image(data)
    assert found.info["icc_profile"] == image.info["icc_profile"]
    if most < 2**20:
        assert [note.split()[0] for note in notes] == ["EXIF", "XMP"]
        assert not {"exif", "xmp"} & set(found.info)
    else:
        assert notes == []
        assert found.info["xmp"] == image.info["xmp"]
        assert len(found.getexif()[0x010E]) > 100_000


def test_metadata_that_a_writer_refuses_are_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Image.SAVE["WEBP"]

    def refuse(image: Image.Image, *rest: object) -> None:
        if image.encoderinfo.get("exif"):
            raise AttributeError("odd")
        plain(image, *rest)

    monkeypatch.setitem(Image.SAVE, "WEBP", refuse)
    data, notes = pillow.picture_bytes(sample("RGB"), ".webp")
    assert notes == ["EXIF cannot be written as WEBP and is left out"]
    assert Image.open(io.BytesIO(data)).info["xmp"] == XMP


def test_a_profile_is_not_said_to_be_in_a_jxl() -> None:
    kept, notes = saving.fitting_metadata({"icc_profile": ICC, "xmp": XMP}, FORMATS["JXL"], grey=False)
    assert kept == {"xmp": XMP}
    assert notes == ["the ICC profile is left out: JXL has no place for it"]


def test_a_pdf_holds_a_jpeg_of_the_same_quality(photo: Image.Image) -> None:
    small = photo.crop((0, 0, 64, 48))
    pdf, jpeg = (pillow.picture_bytes(small, suffix)[0] for suffix in (".pdf", ".jpg"))
    with Image.open(io.BytesIO(pdf[pdf.index(b"\xff\xd8\xff") :])) as inside, Image.open(io.BytesIO(jpeg)) as plain:
        assert np.array_equal(np.asarray(inside), np.asarray(plain))


def test_a_resolution_travels_in_exif() -> None:
    plain = Image.new("RGB", (8, 6))
    out = io.BytesIO()
    plain.save(out, "PNG", dpi=(300, 150))
    _, chunks = pillow.from_pil(pillow.open_image(out.getvalue()))
    assert [round(part) for part in exif.resolution(chunks[b"exif"]) or ()] == [300, 150]
    made = pillow.to_pil(np.zeros((4, 4, 3), np.uint8), None, chunks)
    for suffix in (".png", ".jpg", ".tif", ".bmp"):
        data, notes = pillow.picture_bytes(made, suffix)
        assert notes == []
        assert [round(part) for part in Image.open(io.BytesIO(data)).info["dpi"]] == [300, 150]
    assert pillow.picture_bytes(made, ".ppm")[1] == ["the resolution is left out: PPM has no place for it"]
    out = io.BytesIO()
    plain.save(out, "PNG", dpi=(72, 72))
    assert b"exif" not in pillow.from_pil(pillow.open_image(out.getvalue()))[1]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    PAGE.write_text(page())
