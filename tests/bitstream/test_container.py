import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapic import bitstream
from lapic.bitstream import Error, Header, PixelFormat, Tile
from lapic.bitstream.container import ALPHA, EXIF, ICC, MODE, SIGNATURE, XMP
from lapic.bitstream.varint import Reader, write_varint
from tests.reference import read_file

metadata = st.dictionaries(st.sampled_from([ICC, EXIF, XMP, ALPHA, MODE]), st.binary(max_size=200))


@st.composite
def files(draw: st.DrawFn) -> tuple[Header, list[Tile]]:
    tile = draw(st.sampled_from([0, 64, 128, 1024]))
    header = Header(
        width=draw(st.integers(1, 400)),
        height=draw(st.integers(1, 400)),
        pixel_format=draw(st.sampled_from(PixelFormat)),
        quality=draw(st.integers(256, 25600)) / 256,
        model=draw(st.binary(min_size=4, max_size=4)),
        tile=tile,
        chunks=draw(metadata),
    )
    rows, columns = header.grid()
    crc = st.integers(0, 2**32 - 1)
    tiles = [Tile(draw(st.binary(max_size=20)), draw(crc)) for _ in range(rows * columns)]
    return header, tiles


@given(files())
def test_what_was_written_is_read(file: tuple[Header, list[Tile]]) -> None:
    assert bitstream.read(bitstream.write(*file)) == (file[0], file[1])


@given(files())
def test_the_reference_reads_the_same(file: tuple[Header, list[Tile]]) -> None:
    header, tiles = file
    found = read_file(bitstream.write(header, tiles))
    assert (found.width, found.height, found.tile) == (header.width, header.height, header.tile)
    assert (found.model, found.quality, found.grey) == (header.model, header.quality * 256, bool(header.pixel_format))
    assert found.chunks == header.chunks
    assert [Tile(*pair) for pair in zip(found.payloads, found.crcs, strict=True)] == tiles


@given(files(), st.data())
def test_every_flipped_bit_outside_the_payload_is_noticed(file: tuple[Header, list[Tile]], data: st.DataObject) -> None:
    whole = bytearray(bitstream.write(*file))
    payload = sum(len(tile.payload) for tile in file[1])
    place = data.draw(st.integers(0, 8 * (len(whole) - payload) - 1))
    whole[place // 8] ^= 1 << place % 8
    with pytest.raises(Error):
        bitstream.read(bytes(whole))


@given(files(), st.data())
def test_every_truncation_is_noticed(file: tuple[Header, list[Tile]], data: st.DataObject) -> None:
    whole = bitstream.write(*file)
    with pytest.raises(Error):
        bitstream.read(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_errors(junk: bytes) -> None:
    for data in (junk, SIGNATURE + b"\0" + junk):
        with pytest.raises(Error):
            bitstream.read(data)


@pytest.mark.parametrize(("size", "most"), [(100_000, 32), (2**22, 33)])
def test_the_overhead_of_one_tile_is_at_most_33_bytes(size: int, most: int) -> None:
    payload = b"\0" + bytes(size)  # the payload's own flag byte counts as overhead
    header = Header(16383, 1024, PixelFormat.RGB, 50, b"abcd", tile=0)
    assert len(bitstream.write(header, [Tile(payload, 2**32 - 1)])) - size <= most


@pytest.mark.parametrize(
    "changed",
    [{"width": 0}, {"height": 2**24 + 1}, {"quality": 0.9}, {"quality": 100.1}, {"quality": float("nan")}, {"tile": 96},
     {"tile": -64}, {"tile": 64 << 15}, {"tile": 0, "width": 4097, "height": 4096}, {"tile": 8192, "width": 9000,
     "height": 9000}, {"tile": 0, "width": 2**20 + 1, "height": 1}, {"tile": 64 << 14, "width": 17, "height": 2**20}],
)  # fmt: skip
def test_headers_that_cannot_be(changed: dict[str, Any]) -> None:
    good = {"width": 5, "height": 5, "pixel_format": PixelFormat.RGB, "quality": 50, "model": b"abcd", "tile": 64}
    header = Header(**good)
    header.check()
    with pytest.raises(ValueError):
        Header(**good | changed).check()


@pytest.mark.parametrize("quality", [1, 100])
def test_the_ends_of_the_qualities_are_written_and_read(quality: float) -> None:
    header = Header(5, 5, PixelFormat.RGB, quality, b"abcd", 0)
    assert bitstream.read(bitstream.write(header, [Tile(b"", 0)]))[0] == header


def test_a_file_has_as_many_tiles_as_its_grid_and_an_id_of_four_bytes() -> None:
    for model, tiles, message in [(b"abcd", 0, "1 x 2 tiles"), (b"abcd", 3, "1 x 2 tiles"), (b"abc", 2, "four bytes")]:
        with pytest.raises(ValueError, match=message):
            bitstream.write(Header(65, 5, PixelFormat.RGB, 50, model, 64), tiles * [Tile(b"", 0)])


def test_a_header_with_a_huge_tile_is_refused() -> None:
    head = bytes([0]) + b"abcd" + bytes([15 << 4]) + (256).to_bytes(2, "little") + 2 * write_varint(4097)
    head += write_varint(5) + bytes(4)
    with pytest.raises(Error, match=r"a tile of 4097 x 4097 has more than 65536 places"):
        bitstream.read(SIGNATURE + head + zlib.crc32(head).to_bytes(4, "little") + bytes(5))


@pytest.mark.parametrize(("width", "height"), [(4096, 4096), (2**20, 1), (16, 2**20)])
def test_a_tile_has_65536_places_at_most(width: int, height: int) -> None:
    data = bitstream.write(Header(width, height, PixelFormat.RGB, 50, b"abcd", 0), [Tile(b"", 0)])
    assert bitstream.read(data)[0].grid() == (1, 1)


def test_unknown_chunks() -> None:
    data = bitstream.write(Header(5, 5, PixelFormat.RGB, 50, b"abcd", 0, {XMP: b"x"}), [Tile(b"", 0)])

    def with_type(kind: bytes) -> bytes:
        changed = data.replace(b"xmpd", kind)
        return changed[:-4] + zlib.crc32(changed[8:-4]).to_bytes(4, "little")

    assert bitstream.read(with_type(b"xmpd"))[0].chunks == {XMP: b"x"}
    assert bitstream.read(with_type(b"zzzz"))[0].chunks == {}
    with pytest.raises(Error, match="critical"):
        bitstream.read(with_type(b"Zzzz"))


@pytest.mark.parametrize("kind", [XMP, ALPHA])
def test_a_chunk_occurs_once(kind: bytes) -> None:
    chunks = {kind: b"x", b"zzzz": b"y"}
    data = bitstream.write(Header(5, 5, PixelFormat.RGB, 50, b"abcd", 0, chunks), [Tile(b"", 0)])
    body = zlib.compress(b"y", 9) if kind == XMP else b"y"
    data = data.replace(b"zzzz\x01y", kind + write_varint(len(body)) + body)
    data = data[:-4] + zlib.crc32(data[8:-4]).to_bytes(4, "little")
    for read in (bitstream.read, bitstream.read_header):
        with pytest.raises(Error, match="twice"):
            read(data)


def test_a_small_file_cannot_inflate_to_gigabytes() -> None:
    body = zlib.compress(bytes(17 * 2**20), 9)
    head = bytes([0]) + b"abcd" + bytes([15 << 4 | 4]) + (256).to_bytes(2, "little") + b"\5\5"
    head += b"\1" + XMP + write_varint(len(body)) + body + bytes(5)
    with pytest.raises(Error, match="larger than"):
        bitstream.read(SIGNATURE + head + zlib.crc32(head).to_bytes(4, "little"))


def test_what_no_reader_would_take_is_not_written() -> None:
    def write(chunks: dict[bytes, bytes]) -> None:
        bitstream.write(Header(5, 5, PixelFormat.RGB, 50, b"abcd", 0, chunks), [Tile(b"", 0)])

    write({XMP: bytes(16 * 2**20)})
    with pytest.raises(Error, match="metadata b'xmpd'"):
        write({XMP: bytes(16 * 2**20 + 1)})
    write({number.to_bytes(4, "big"): b"" for number in range(1024)})
    for chunks in ({number.to_bytes(4, "big"): b"" for number in range(1025)}, {b"abc": b""}):
        with pytest.raises(ValueError, match="chunk"):
            write(chunks)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_are_read(kind: type) -> None:
    data = bitstream.write(Header(5, 5, PixelFormat.RGB, 50, b"abcd", 0, {XMP: b"x"}), [Tile(b"abc", 0)])
    assert bitstream.read(kind(data)) == bitstream.read(data)
    assert bitstream.read_header(kind(data)) == bitstream.read_header(data)


def test_messages() -> None:
    good = bitstream.write(Header(5, 5, PixelFormat.RGB, 50, b"abcd", 0), [Tile(b"", 0)])
    for data, message in (
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + good, "not a lapic file"),
        (good[:8] + b"\1" + good[9:], "newer"),
        (good + b"x", "follow the end"),
    ):
        with pytest.raises(Error, match=message):
            bitstream.read(data)
    with pytest.raises(Error, match="raise the limit"):
        bitstream.read(good, max_pixels=24)


def test_many_tiles_are_refused_before_they_are_listed() -> None:
    head = bytes([0]) + b"abcd" + bytes([0]) + (256).to_bytes(2, "little") + 2 * write_varint(2**24)
    with pytest.raises(Error, match="tiles cannot fit"):
        bitstream.read(SIGNATURE + head + bytes(1000))


@given(st.integers(0, 2**32 - 1))
def test_varints(value: int) -> None:
    reader = Reader(write_varint(value))
    assert reader.varint() == value
    assert not reader.left
    with pytest.raises(Error):
        Reader(write_varint(value)).varint(largest=value - 1)


def test_a_varint_is_refused_as_soon_as_it_is_too_large() -> None:
    with pytest.raises(Error, match="larger than 4294967295"):
        Reader(write_varint(2**32)).varint()
    reader = Reader(b"\x80" * 1000 + b"\x00")
    with pytest.raises(Error, match="larger"):
        reader.varint()
    assert reader.position <= 11


def test_longer_forms_of_a_varint_are_refused() -> None:
    with pytest.raises(Error, match="shortest"):
        Reader(b"\x80\x00").varint()
