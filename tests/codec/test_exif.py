"""Odd EXIF data: what can be read of them turns the picture, and they never stop one."""

import io
import random
import struct
import warnings

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from lapic.codec.picture import exif, metadata, pillow, reading

SMALL = Image.new("RGB", (8, 6), (90, 20, 30))


def block(entries: list[tuple[int, int, int, bytes]], order: str = "<", values: bytes = b"", after: int = 0) -> bytes:
    """EXIF data of (tag, type, count, four bytes); `values` lie behind the directory."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return (
        b"Exif\0\0"
        + head
        + struct.pack(order + "IH", 8, len(entries))
        + body
        + struct.pack(order + "I", after)
        + values
    )


def oriented(kind: str, order: str = "<") -> bytes:
    """An orientation of 6 as different types have it."""
    outside = struct.pack(order + "I", 8 + 2 + 12 + 4)
    return {
        "short": block([(0x0112, 3, 1, struct.pack(order + "HH", 6, 0))], order),
        "byte": block([(0x0112, 1, 1, b"\6\0\0\0")], order),
        "long": block([(0x0112, 4, 1, struct.pack(order + "I", 6))], order),
        "two shorts": block([(0x0112, 3, 2, struct.pack(order + "HH", 6, 6))], order),
        "text": block([(0x0112, 2, 2, b"6\0\0\0")], order),
        "long text": block([(0x0112, 2, 5, outside)], order, b"6\0\0\0\0"),
        "rational": block([(0x0112, 5, 1, outside)], order, struct.pack(order + "II", 12, 2)),
        "double": block([(0x0112, 12, 1, outside)], order, struct.pack(order + "d", 6)),
    }[kind]


def jpeg(exif_data: bytes) -> bytes:
    out = io.BytesIO()
    SMALL.save(out, "JPEG", exif=exif_data)
    return out.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["short", "byte", "long", "two shorts", "text", "long text", "rational", "double"])
def test_an_orientation_of_any_type_turns_the_picture(kind: str, order: str) -> None:
    data = oriented(kind, order)
    pixels, chunks = pillow.from_pil(pillow.open_image(jpeg(data)))
    assert pixels.shape == (8, 6, 3)
    assert exif.orientation(chunks[b"exif"]) == 1
    assert len(chunks[b"exif"]) == len(data)
    assert sum(a != b for a, b in zip(data, chunks[b"exif"], strict=True)) <= 8  # of one value


@pytest.mark.parametrize(
    "data",
    [b"Exif\0\0", b"Exif\0\0garbage that is none", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
     block([(0x0112, 99, 1, b"6666")]), block([(0x0112, 3, 0, b"\6\0\0\0")]), block([(0x0112, 5, 1, b"\xff\xff\0\0")]),
     block([(0x010E, 5, 1, b"\x1a\0\0\0")], values=b"\1\0\0\0\3\0\0\0")],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_read_is_kept_or_named(data: bytes, suffix: str) -> None:
    pixels, chunks = pillow.from_pil(pillow.open_image(jpeg(data)))
    assert chunks.get(b"exif", data) == data
    image = pillow.to_pil(pixels, None, chunks)
    made, notes = pillow.picture_bytes(image, suffix)
    found = reading.identify(io.BytesIO(made))
    assert found.size == (8, 6)
    if chunks and suffix != ".tif":
        assert (found.info.get("exif", b"").endswith(data[6:]) and not notes) or any("EXIF" in note for note in notes)
    elif chunks:
        assert any("EXIF" in note for note in notes)


def test_thumbnail_and_makers_note_of_a_turned_picture_stay_byte_for_byte() -> None:
    thumbnail = bytes(range(256)) * 3
    entries = [(0x010E, 2, 4, b"cat\0"), (0x0112, 3, 1, struct.pack("<HH", 8, 0))]
    data = block(entries, values=struct.pack("<HHHII", 1, 0x0201, 4, 1, 56) + bytes(4) + thumbnail, after=38)
    _, chunks = pillow.from_pil(pillow.open_image(jpeg(data)))
    assert chunks[b"exif"] == data.replace(struct.pack("<IHH", 1, 8, 0), struct.pack("<IHH", 1, 1, 0))
    image = pillow.to_pil(np.zeros((6, 8, 3), np.uint8), None, chunks)
    for suffix in (".jpg", ".png", ".webp", ".avif"):
        made, notes = pillow.picture_bytes(image, suffix)
        assert chunks[b"exif"][6:] in made, suffix
        assert notes == []
    _, notes = pillow.picture_bytes(image, ".tif")
    assert notes == ["EXIF becomes tags of TIFF: thumbnail, maker's note and unusual tags are not kept whole"]


def test_an_orientation_in_xmp_is_applied_once() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    out = io.BytesIO()
    SMALL.save(out, "JPEG", xmp=xmp)
    pixels, chunks = pillow.from_pil(pillow.open_image(out.getvalue()))
    assert pixels.shape == (8, 6, 3)
    assert chunks[b"xmpd"] == xmp.replace(b'"6"', b'"1"')


@pytest.mark.parametrize("tag", [None, 1, 6])
def test_a_tiff_is_turned_alike_before_and_after_it_is_read(tag: int | None) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    tags = ImageFileDirectory_v2()
    tags.tagtype[700] = 1
    tags[700] = xmp
    if tag:
        tags[0x0112] = tag
    out = io.BytesIO()
    SMALL.save(out, "TIFF", tiffinfo=tags)
    turned = pillow.open_image(out.getvalue()).size == SMALL.size[::-1]
    collected = metadata.collect(reading.identify(io.BytesIO(out.getvalue())), loaded=False)
    assert (collected.orientation == 6) == turned == (tag != 1)
    assert (collected.chunks[b"xmpd"] == xmp) == (not turned)


def test_mutated_exif_never_stops_a_picture() -> None:
    whole = Image.Exif()
    whole[0x010E], whole[0x0112], whole[0x011A], whole[0x0128] = "a cat", 6, 300.0, 2
    whole[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x829A: (1, 50), 0x927C: b"a maker's note"}
    whole[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    chance = random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(200):
            data = bytearray(whole.tobytes())
            for _ in range(chance.choice([1, 2, 8])):
                data[chance.randrange(6, len(data))] = chance.choice([0, 1, 2, 5, 7, 12, 255])
            if number % 4 == 0:
                del data[chance.randrange(8, len(data)) :]
            source = jpeg(bytes(data))
            image = pillow.open_image(source)
            pillow.unsupported(image, source)
            pixels, chunks = pillow.from_pil(image)
            made = pillow.to_pil(pixels, None, chunks)
            for suffix in (".tif", ".jpg", ".png", ".webp"):
                found = pillow.open_image(pillow.picture_bytes(made, suffix)[0])
                assert found.size == made.size


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_block_of_no_byte_order_holds_nothing(order: str) -> None:
    data = block([(0x0112, 3, 1, struct.pack(order + "HH", 6, 6))], order, after=38)
    assert (exif.orientation(data), exif.has_thumbnail(data)) == (6, True)
    data = data.replace(b"II*", b"XX*").replace(b"MM\0*", b"XX\0*")
    assert (exif.is_readable(data), exif.orientation(data), exif.has_thumbnail(data)) == (False, 0, False)
    assert exif.upright(data) == data


def test_the_prefix_may_be_there_twice() -> None:
    data = oriented("short")
    assert exif.orientation(exif.PREFIX + data) == exif.orientation(data.removeprefix(exif.PREFIX)) == 6
    assert exif.with_prefix(exif.PREFIX + data) == exif.with_prefix(data.removeprefix(exif.PREFIX)) == data


@pytest.mark.parametrize(
    ("unit", "tags", "expected"),
    [
        (2, [0x011A, 0x011B], (100, 50)),
        (3, [0x011A, 0x011B], (254, 127)),
        (2, [0x011A], (100, 100)),
        (2, [0x011B], (50, 50)),
        (2, [], None),
    ],
)
def test_the_resolution_is_in_inches(unit: int, tags: list[int], expected: tuple[float, float] | None) -> None:
    places = {tag: struct.pack("<I", 8 + 2 + 12 * (len(tags) + 1) + 4 + 8 * (tag - 0x011A)) for tag in (0x011A, 0x011B)}
    entries = [(tag, 5, 1, places[tag]) for tag in tags] + [(0x0128, 3, 1, struct.pack("<HH", unit, 0))]
    assert exif.resolution(block(entries, values=struct.pack("<IIII", 100, 1, 100, 2))) == expected


def test_a_resolution_alone_makes_a_block_that_pillow_reads() -> None:
    made, data = Image.Exif(), exif.of_resolution((300, 150.5))
    made.load(data)
    assert struct.unpack_from(">H", data, 6 + 8) == (len(made),)  # tags in the directory
    assert dict(made) == {exif.X_RESOLUTION: 300, exif.Y_RESOLUTION: 150.5, exif.RESOLUTION_UNIT: 2}


def test_a_tiff_keeps_its_resolution_beside_other_tags() -> None:
    out = io.BytesIO()
    SMALL.save(out, "TIFF", dpi=(300, 200), description="a cat")
    collected = metadata.collect(pillow.open_image(out.getvalue()))
    assert exif.resolution(collected.chunks[b"exif"]) == (300, 200)
    assert not collected.notes


def test_a_resolution_of_a_type_that_is_no_number_is_ignored() -> None:
    out = io.BytesIO()
    SMALL.save(out, "TIFF", dpi=(200, 200), description="a cat")
    source = bytearray(out.getvalue())
    first = struct.unpack_from("<I", source, 4)[0]
    for at in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", source, first)[0], 12):
        tag = struct.unpack_from("<H", source, at)[0]
        if tag in (exif.X_RESOLUTION, exif.Y_RESOLUTION):
            struct.pack_into("<HI", source, at + 2, 7, 4)  # UNDEFINED, 4 bytes
    image = pillow.open_image(bytes(source))
    _, chunks = pillow.from_pil(image)
    kept = Image.Exif()
    kept.load(chunks[b"exif"])
    assert dict(kept) == {0x010E: "a cat"}


@pytest.mark.parametrize("form", ["AVIF", "TIFF"])
def test_exif_that_keep_pillow_from_the_pixels_are_left_out(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Image.Exif()
    data[0x010E] = "a cat"
    data[0x8769] = {0x9003: "2020:01:01 00:00:00"}
    out = io.BytesIO()
    SMALL.save(out, form, exif=data.tobytes())
    source = out.getvalue()
    plain = Image.Exif.load

    def odd(self: Image.Exif, block: bytes) -> None:
        raise AttributeError("odd")

    monkeypatch.setattr(Image.Exif, "load", odd)
    if form == "TIFF":
        monkeypatch.setattr(Image.Exif, "_get_ifd_dict", odd)
    image = pillow.open_image(source)
    assert image.size == SMALL.size
    assert any("EXIF cannot be read" in note for note in pillow.unsupported(image, source))
    monkeypatch.setattr(Image.Exif, "load", plain)


def test_a_block_without_a_directory_is_no_exif() -> None:
    image = SMALL.copy()
    image.info["exif"] = exif.PREFIX
    assert not pillow.from_pil(image)[1]
