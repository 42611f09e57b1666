"""What pictures keep through the commands, and what is said of the rest."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin

import lapic
from lapic import bitstream
from lapic.bitstream.container import ALPHA
from lapic.codec.cli import main
from lapic.codec.picture import colour, metadata, pillow, reading

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def encoded(source: Path, *options: object) -> tuple[list[str], bytes]:
    """What `encode` says of a picture, and the file it makes. With --strict it has to refuse what it says."""
    target = source.with_suffix(".lapic")
    result = run_lapic("encode", source, target, "-e", 0, "-q", 95, "--force", *options)
    assert result.exit_code == 0, result.output
    notes = [line.removeprefix(f"{source}: ") for line in result.stderr.splitlines()[:-1]]
    strict = run_lapic("encode", source, source.with_suffix(".strict"), "-e", 0, "--strict", *options)
    assert strict.exit_code == bool(notes), strict.output
    assert source.with_suffix(".strict").exists() != bool(notes)
    return notes, target.read_bytes()


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, chunks: list[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG with chunks behind its header."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    parts = [(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def plain_png(*chunks: tuple[bytes, bytes]) -> bytes:
    return png((64, 48), 8, 0, b"".join(b"\0" + row.tobytes() for row in RAMP), list(chunks))


def tiff(values: np.ndarray, sample_format: int) -> bytes:
    """A TIFF of (H, W) or (H, W, 3) values of any type."""
    height, width = values.shape[:2]
    channels = values.size // (height * width)
    bits = 8 * values.dtype.itemsize
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    colour = 2 if channels == 3 else 1
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, colour),
            (273, 4, 0), (277, 3, channels), (278, 4, height), (279, 4, len(data)),
            (339, 3, sample_format)]  # fmt: skip
    behind = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, kind, value in tags:
        if tag in (258, 339) and channels == 3:
            entries += struct.pack("<HHII", tag, 3, 3, behind + (0 if tag == 258 else 6))
        else:
            entries += struct.pack("<HHII", tag, kind, 1, behind + 12 if tag == 273 else value)
    three = struct.pack("<6H", *[bits] * 3, *[sample_format] * 3)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + three + data


@pytest.mark.parametrize(
    ("values", "sample_format", "note", "expected"),
    [
        (RAMP.astype(np.float32) / 255, 3, "32-bit floating point becomes 8 bits: 0..1 becomes 0..255", RAMP),
        (RAMP.astype(np.float32), 3, "32-bit floating point becomes 8 bits", RAMP),
        (RAMP * np.float32(4) - 9, 3, "32-bit floating point becomes 8 bits: clipped to 0..255",
         (RAMP * 4.0 - 9).clip(0, 255)),
        (RAMP.astype(np.uint16) * 257, 1, "16-bit depth becomes 8 bits", RAMP),
        (RAMP.astype(np.int32) * 257, 2, "32-bit depth becomes 8 bits", RAMP),
        ((RAMP.astype(np.int32) * 257 - 32768).astype(np.int16), 2,
         "16-bit depth becomes 8 bits: -32768..32767 becomes 0..255", RAMP),
        (RAMP.astype(np.int32) * 10**6 - 10**6, 2, "32-bit depth becomes 8 bits: -1000000..251000000 becomes 0..255",
         RAMP * (255 / 252)),
        (np.stack([RAMP.astype(np.uint16) * 257] * 3, 2), 1, "16-bit depth becomes 8 bits", RAMP),
    ],
)  # fmt: skip
def test_deep_pixels_are_shown_as_expected_and_said(
    values: np.ndarray, sample_format: int, note: str, expected: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(values, sample_format))
    notes, data = encoded(tmp_path / "a.tif")
    assert notes == [note]
    difference = np.abs(np.asarray(lapic.decode(data).convert("L")).astype(float) - expected)
    assert difference.mean() < 2
    assert difference.max() < 12


def test_nan_is_black() -> None:
    values = RAMP.astype(np.float32) / 255
    values[0, 0] = np.nan
    pixels, _ = pillow.from_pil(Image.fromarray(values))
    assert pixels[0, 0] == 0
    assert np.abs(pixels[1:].astype(int) - RAMP[1:]).max() <= 1


def test_infinities_are_black_and_white() -> None:
    values = RAMP.astype(np.float32) / 255
    values[0, :2] = np.inf, -np.inf
    image = Image.fromarray(values)
    pixels, _ = pillow.from_pil(image)
    assert pixels[0, :2].tolist() == [255, 0]
    assert np.abs(pixels[1:].astype(int) - RAMP[1:]).max() <= 1
    assert pillow.unsupported(image) == ["32-bit floating point becomes 8 bits: 0..1 becomes 0..255"]


def twelve_bits() -> bytes:
    """A TIFF of two rows of eight values from 0 to 4095."""
    values = "".join(f"{value:012b}" for value in np.linspace(0, 4095, 16).astype(int))
    tags = [(256, 4, 8), (257, 4, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1),
            (278, 4, 2), (279, 4, 24)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, 9) + entries + bytes(4) + int(values, 2).to_bytes(24, "big")


def test_twelve_bits_stay_bright_without_or_with_other_metadata() -> None:
    expected, _ = pillow.from_pil(pillow.open_image(twelve_bits()))
    assert (expected.min(), expected.max()) == (0, 255)
    stripped = pillow.stripped(pillow.open_image(twelve_bits()))
    replaced = metadata.with_replaced(pillow.open_image(twelve_bits()), {"xmp": XMP})
    for image, chunks in ((stripped, {}), (replaced, {b"xmpd": XMP})):
        pixels, found = pillow.from_pil(image)
        assert np.array_equal(pixels, expected)
        assert found == chunks


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_what_is_replaced_changes_nothing_else(mode: str) -> None:
    image = Image.new(mode, (2, 2))
    image.info = before = {"icc_profile": b"profile", "exif": b"exif", "xmp": XMP, "dpi": (300, 300)}
    converted = mode == "CMYK"  # by its profile
    for given, expected in (
        ({"icc_profile": b"other"}, {**before, "icc_profile": b"other"}),
        ({"icc_profile": b""}, before if converted else {**before, "icc_profile": b""}),
        ({"exif": b"other"}, {**before, "exif": b"other"}),
        ({"exif": b""}, {"icc_profile": b"profile", "exif": b"", "xmp": XMP}),
        ({"xmp": b""}, {**before, "xmp": b""}),
    ):
        assert metadata.with_replaced(image, given).info == expected


@pytest.mark.parametrize(("bits", "key"), [(1, 1), (2, 1), (4, 5)])
def test_one_transparent_grey_of_few_bits(bits: int, key: int) -> None:
    source = png((8 // bits, 1), bits, 0, bytes([0, 0b01011011]), [(b"tRNS", struct.pack(">H", key))])
    values = [0b01011011 >> shift & 2**bits - 1 for shift in range(8 - bits, -1, -bits)]
    pixels, chunks = pillow.from_pil(pillow.open_image(source))
    assert pixels[0].tolist() == [value * 255 // (2**bits - 1) for value in values]
    alpha = np.asarray(pillow.read_alpha(chunks, (8 // bits, 1)))
    assert alpha[0].tolist() == [0 if value == key else 255 for value in values]


@pytest.mark.parametrize("colour", [0, 2])
def test_one_transparent_colour_of_16_bits(colour: int, tmp_path: Path) -> None:
    values = np.tile(np.arange(64, dtype=np.uint16), (48, 1)) + 0x1200  # they differ in their low bytes alone
    rows = np.repeat(values[..., None], 1 if colour == 0 else 3, 2).astype(">u2")
    key = struct.pack(">H", 0x1207) * (1 if colour == 0 else 3)
    source = png((64, 48), 16, colour, b"".join(b"\0" + row.tobytes() for row in rows), [(b"tRNS", key)])
    (tmp_path / "a.png").write_bytes(source)
    notes, data = encoded(tmp_path / "a.png")
    assert notes == ["16-bit depth becomes 8 bits"]
    assert np.array_equal(np.asarray(lapic.decode(data).getchannel("A")) == 0, values == 0x1207)


@pytest.mark.parametrize(
    ("header", "depth"),
    [
        (b"P5 #\r64 48 65535 ", 16),
        (b"P5\n# one\n#two\r64 48#\n #\n65535\n", 16),
        (b"P5 64 48 65#\n535\n", 16),
        (b"P5 #" + b"x" * 70_000 + b"\n64 48 65535 ", 16),
        (b"P5 #\r64 48 255 \n64 48 65535 ", 8),
    ],
)
def test_the_depth_of_a_pnm_is_read_as_pillow_reads_it(header: bytes, depth: int, tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(header + bytes(64 * 48 * 2))
    assert encoded(tmp_path / "a.pgm")[0] == ["16-bit depth becomes 8 bits"] * (depth == 16)


def test_of_metadata_that_occur_twice_the_last_count_with_long_text_too(tmp_path: Path) -> None:
    blocks = []
    for orientation in (6, 3):
        data = Image.Exif()
        data[0x0112] = orientation
        blocks.append((b"eXIf", data.tobytes()))
    too_long = b"Title\0\0" + zlib.compress(bytes(2 * 2**20))  # Pillow refuses the file because of it
    for order, height in ((blocks, 48), (blocks[::-1], 64)):
        short, long = (tmp_path / f"{name}-{height}.png" for name in ("short", "long"))
        short.write_bytes(plain_png(*order))
        assert bitstream.read_header(encoded(short)[1]).height == height
        long.write_bytes(plain_png(*order, (b"zTXt", too_long)))
        notes, data = encoded(long)
        assert notes == ["text is not kept: Title"]
        assert bitstream.read_header(data).height == height


def test_text_and_comments_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(plain_png((b"tEXt", b"Title\0x"), (b"zTXt", b"Steps\0\0" + zlib.compress(b"20"))))
    assert encoded(tmp_path / "a.png")[0] == ["text is not kept: Title, Steps"]
    assert encoded(tmp_path / "a.png", "--strip")[0] == []
    Image.fromarray(RAMP).save(tmp_path / "b.jpg", comment=b"a comment")
    assert encoded(tmp_path / "b.jpg")[0] == ["the comment is not kept"]
    Image.fromarray(RAMP).save(tmp_path / "c.jpg", extra=b"\xff\xed\0\x12Photoshop 3.0\0\0\0")
    assert encoded(tmp_path / "c.jpg")[0] == ["Photoshop and IPTC data are not kept"]


def test_metadata_that_imagemagick_wrote_as_text_are_kept(tmp_path: Path) -> None:
    data = Image.Exif()
    data[0x0112] = 6
    text = f"\nexif\n{len(data.tobytes()):8}\n{data.tobytes().hex()}\n".encode()
    (tmp_path / "a.png").write_bytes(plain_png((b"tEXt", b"Raw profile type exif\0" + text)))
    notes, made = encoded(tmp_path / "a.png")
    assert notes == []
    assert lapic.decode(made).size == (48, 64)
    assert "exif" in lapic.decode(made).info
    too_long = b"Title\0\0" + zlib.compress(bytes(2 * 2**20))  # Pillow refuses the file because of it
    for kind, body in ((b"tEXt", text), (b"zTXt", b"\0" + zlib.compress(text)), (b"iTXt", bytes(4) + text)):
        source = plain_png((kind, b"Raw profile type exif\0" + body), (b"zTXt", too_long))
        image = pillow.open_image(source)
        assert pillow.unsupported(image, source) == ["text is not kept: Title"]
        pixels, chunks = pillow.from_pil(image)
        assert pixels.shape == (64, 48)
        assert b"exif" in chunks
    for kind, note in ((b"8bim", "text is not kept: Raw profile type 8bim"), (b"iptc", "IPTC data are not kept")):
        source = plain_png((b"tEXt", b"Raw profile type " + kind + b"\0" + text))
        assert pillow.unsupported(pillow.open_image(source), source) == [note]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("command", ["decode", "restore"])
def test_xmp_reaches_every_format_that_holds_it(command: str, suffix: str, tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", xmp=XMP)
    source = tmp_path / "a.jpg"
    if command == "decode":
        encoded(source)
        source = tmp_path / "a.lapic"
    result = run_lapic(command, source, tmp_path / f"b{suffix}", "--strict")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / f"b{suffix}") as found:
        xmp = found.info.get("xmp") or found.info["XML:com.adobe.xmp"]
    assert xmp == XMP


@pytest.mark.parametrize("command", ["decode", "restore"])
def test_what_an_output_loses_is_said_or_refused(command: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (32, 24), (200, 0, 0, 0))
    image.save(tmp_path / "a.png", icc_profile=b"profile")
    source = tmp_path / "a.png"
    if command == "decode":
        source = tmp_path / "a.lapic"
        source.write_bytes(lapic.encode(Image.open(tmp_path / "a.png"), effort=0))
    result = run_lapic(command, source, tmp_path / "a.ppm", "--background", "black", "--json", "-")
    assert result.exit_code == 0, result.output
    said = [f"{source}: PPM has no alpha: composed on black",
            f"{source}: the ICC profile is left out: PPM has no place for it"]  # fmt: skip
    assert result.stderr.splitlines() == said
    assert [f"{source}: {note}" for note in json.loads(result.stdout)[0]["notes"]] == said
    assert np.asarray(Image.open(tmp_path / "a.ppm")).max() <= 2
    strict = run_lapic(command, source, tmp_path / "b.ppm", "--strict")
    assert strict.exit_code == 1
    assert strict.stderr.count("\n") == 1
    assert "PPM has no alpha" in strict.stderr
    assert not (tmp_path / "b.ppm").exists()
    assert run_lapic(command, source, tmp_path / "c.ppm", "--background", "nocolour").exit_code == 2


def test_the_reported_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    data = Image.Exif()
    data[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", exif=data)
    result = run_lapic("encode", tmp_path / "a.jpg", tmp_path / "a.lapic", "-e", 0, "--json", "-")
    told = json.loads(result.stdout)[0]
    assert (told["width"], told["height"]) == (48, 64)
    assert result.stderr.startswith("48 x 64")


def limits() -> tuple[object, ...]:
    return (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK,
            PngImagePlugin.MAX_TEXT_MEMORY)  # fmt: skip


def test_two_megabytes_of_xmp(tmp_path: Path) -> None:
    long = XMP + b" " * 2_000_000
    chunk = (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(long))
    bomb = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30_000_000)))
    (tmp_path / "a.png").write_bytes(plain_png(chunk, bomb))
    before = limits()
    notes, data = encoded(tmp_path / "a.png")
    assert limits() == before
    assert notes == ["text is not kept: Comment"]
    assert run_lapic("decode", tmp_path / "a.lapic", tmp_path / "b.png", "--strict").exit_code == 0
    with Image.open(tmp_path / "b.png") as found:
        assert found.info["xmp"] == long
    assert lapic.decode(data).info["xmp"] == long


def test_metadata_beyond_what_a_file_holds_are_left_out_with_a_note(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP)
    image.info["xmp"] = bytes(17 * 2**20)
    assert b"xmpd" not in pillow.from_pil(image)[1]
    assert pillow.unsupported(image) == [f"XMP of {17 * 2**20} bytes is too large and left out"]


def gif(count: int) -> bytes:
    out = io.BytesIO()
    first, *rest = [Image.fromarray(np.roll(RAMP, 9 * number, 1)) for number in range(count)]
    first.save(out, "GIF", save_all=True, append_images=rest)
    return out.getvalue()


def test_a_cut_animation_gives_its_whole_frames(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(gif(4)[:-900])
    result = run_lapic("encode", tmp_path / "a.gif", tmp_path / "frames", "--frames", "-e", 0)
    assert result.exit_code == 0, result.output
    made = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert made == [f"frame-{number:04}.lapic" for number in range(1, len(made) + 1)]
    assert 2 <= len(made) <= 3
    assert result.stderr.startswith(f"{tmp_path / 'a.gif'}: only the first {len(made)} frame(s) can be read")
    assert len(result.stderr.splitlines()) == 2
    strict = run_lapic("encode", tmp_path / "a.gif", tmp_path / "strict", "--frames", "--strict", "-e", 0)
    assert strict.exit_code == 1
    assert not (tmp_path / "strict").exists()


def test_pages_are_checked_before_they_are_decoded(tmp_path: Path) -> None:
    small, large = Image.new("L", (64, 48)), Image.new("L", (900, 800))
    small.save(tmp_path / "a.tif", save_all=True, append_images=[large], compression="tiff_deflate")
    result = run_lapic("encode", tmp_path / "a.tif", tmp_path / "pages", "--frames", "--max-pixels", 100_000)
    assert result.exit_code == 1
    assert result.stderr.endswith("a.tif: 900 x 800 is more than 100000 pixels: see --max-pixels\n")
    assert not (tmp_path / "pages").exists()
    assert run_lapic("encode", tmp_path / "a.tif", tmp_path / "pages", "--frames", "-e", 0).exit_code == 0
    assert lapic.info((tmp_path / "pages" / "frame-0002.lapic").read_bytes())["width"] == 900


def two_pages(form: str, profile: bytes, first: bool) -> bytes:
    """A file of two pages, of which one has a profile and 300 dpi."""
    out, image, more = io.BytesIO(), Image.fromarray(RAMP), {"icc_profile": profile, "dpi": (300, 300)}
    if form == "MPO":
        image.save(out, form, save_all=True, append_images=[image], **more)
        whole = out.getvalue()
        at = whole.rindex(b"ICC_PROFILE")  # of the second page
        whole = whole[:at] + b"no" + whole[at + 2 :]
        at = whole.rindex(b"JFIF")
        return whole[:at] + b"no" + whole[at + 2 :]
    writer = TiffImagePlugin.AppendingTiffWriter(out, True)
    for has in (first, not first):
        image.encoderinfo, image.encoderconfig = more if has else {}, ()
        TiffImagePlugin._save(image, writer, "")
        writer.newFrame()
    return out.getvalue()


@pytest.mark.parametrize(("form", "first"), [("TIFF", True), ("TIFF", False), ("MPO", True)])
def test_each_page_has_its_own_metadata(form: str, first: bool) -> None:
    profile = colour.grey_profile(colour.power_curve(1.8))
    source = two_pages(form, profile, first)
    image = pillow.open_image(source)
    assert pillow.unsupported(image, source) == ["only the first of 2 frames is kept: see --frames"]
    kept = {b"iccp", b"exif"}
    assert set(pillow.from_pil(image)[1]) == (kept if first else set())
    found = [set(pillow.from_pil(page)[1]) for page in reading.frames(image, None, [])]
    assert found == ([kept, set()] if first else [set(), kept])


@pytest.mark.filterwarnings("ignore")
def test_pages_that_cannot_be_counted_are_one_line(tmp_path: Path) -> None:
    first = tiff(RAMP, 1)
    at = 8 + 2 + 12 * 10
    (tmp_path / "a.tif").write_bytes(first[:at] + struct.pack("<I", len(first)) + first[at + 4 :] + b"\1")
    result = run_lapic("encode", tmp_path / "a.tif", tmp_path / "a.lapic")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "damaged" in result.stderr.splitlines()[-1]


def with_alpha(width: int, height: int, declared: tuple[int, int]) -> bytes:
    """A file of one size with an alpha channel that declares another."""
    data = lapic.encode(Image.new("LA", (width, height), (90, 9)), effort=0)
    header, tiles = bitstream.read(data)
    header.chunks[ALPHA] = png(declared, 8, 0, bytes(declared[1] * (declared[0] + 1)))
    return bitstream.write(header, tiles)


def test_an_alpha_channel_that_declares_too_much_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.lapic").write_bytes(with_alpha(64, 48, (14_000, 14_000)))
    before = limits()
    for arguments in (
        ("decode", tmp_path / "a.lapic", tmp_path / "a.png"),
        ("verify", tmp_path / "a.lapic"),
        ("decode", "--crop", "0,0,10,10", "--max-pixels", 1000, tmp_path / "a.lapic", tmp_path / "a.png"),
    ):
        result = run_lapic(*arguments)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert result.stderr.count("\n") == 1
    assert limits() == before


def test_our_limit_decides_and_not_that_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    image = Image.new("RGBA", (64, 48), (90, 20, 30, 99))
    data = lapic.encode(image, effort=0)
    assert lapic.decode(data).mode == "RGBA"
    with pytest.raises(lapic.Error, match="pixels"):
        lapic.decode(data, crop=(0, 0, 4, 4), max_pixels=1000)
    for suffix in (".png", ".tif", ".gif", ".jpg"):
        image.convert("RGB").save(tmp_path / f"a{suffix}")
        result = run_lapic("encode", tmp_path / f"a{suffix}", tmp_path / "a.lapic", "--force", "-e", 0)
        assert result.exit_code == 0, result.output
        assert run_lapic("encode", tmp_path / f"a{suffix}", tmp_path / "b.lapic", "--max-pixels", 1000).exit_code == 1
    assert Image.MAX_IMAGE_PIXELS == 100
