"""The shipped reader and the second decoder, written from docs/FORMAT.md, accept and refuse the same files."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lapic import bitstream
from lapic.bitstream import (
    Error,
    Tables,
    TileDecoder,
    decode_values,
    encode_tile,
    encode_values,
    read_payload,
    symbols_crc,
)
from lapic.bitstream.container import SIGNATURE
from lapic.bitstream.varint import write_varint
from tests import reference
from tests.bitstream.test_entropy import random_tables

LARGEST = 16 * 2**20  # bytes of inflated metadata


def file(
    flags: int = 0xF0,
    quality: int = 12800,
    size: tuple[int, int] = (5, 5),
    version: int = 0,
    chunks: list[tuple[bytes, bytes]] | None = None,
    count: int | None = None,
    lengths: bytes = b"\x05",
    payloads: bytes = b"\0abcd",
    after: bytes = b"",
) -> bytes:
    """A file of one tile, with the right checksum whatever is in it."""
    head = bytes([version]) + b"abcd" + bytes([flags | (4 if chunks is not None else 0)])
    head += quality.to_bytes(2, "little") + b"".join(map(write_varint, size))
    if chunks is not None:
        head += write_varint(len(chunks) if count is None else count)
        head += b"".join(kind + write_varint(len(body)) + body for kind, body in chunks)
    head += lengths + bytes(4)
    return SIGNATURE + head + zlib.crc32(head).to_bytes(4, "little") + payloads + after


def both(shipped: Callable[[], object], second: Callable[[], object]) -> bool:
    """Whether both accept; that they agree on it is asserted."""
    accepted = []
    for read, refusal in ((shipped, Error), (second, reference.Invalid)):
        try:
            read()
            accepted.append(True)
        except refusal:
            accepted.append(False)
    assert accepted[0] == accepted[1], f"shipped reader accepts: {accepted[0]}, second: {accepted[1]}"
    return accepted[0]


def both_read(data: bytes) -> bool:
    return both(lambda: bitstream.read(data), lambda: reference.read_file(data))


small, exact, beyond = (zlib.compress(bytes(size), 9) for size in (9, LARGEST, LARGEST + 1))
GOOD = {
    "plain": file(),
    "grey": file(0xF1),
    "no chunks, but a count of them": file(chunks=[]),
    "1024 chunks": file(chunks=[(b"a%03d" % number, b"") for number in range(1000)]
                        + [(b"b%03d" % number, b"") for number in range(24)]),
    "an unknown chunk": file(chunks=[(b"note", b"x")]),
    "metadata": file(chunks=[(b"xmpd", small), (b"iccp", small), (b"exif", small)]),
    "metadata of the largest size": file(chunks=[(b"exif", exact)]),
    "the largest tile": file(size=(4096, 4096)),
    "the longest tile": file(size=(2**20, 16)),
    "lowest quality": file(quality=256),
    "highest quality": file(quality=25600),
}  # fmt: skip
HOSTILE = {
    "pixel format 2": file(0xF2),
    "pixel format 3": file(0xF3),
    "flag bit 3": file(0xF8),
    "version 1": file(version=1),
    "quality under 1": file(quality=255),
    "quality over 100": file(quality=25601),
    "no columns": file(size=(0, 5)),
    "too many columns": file(0, size=(2**24 + 1, 1)),
    "a tile that is too large": file(size=(4097, 4096)),
    "a tile of too many places": file(size=(1, 2**20 + 1)),
    "tiles that are too large": file(0x70, size=(8192, 8192)),
    "1025 chunks": file(chunks=[(number.to_bytes(2, "big").hex().encode(), b"") for number in range(1025)]),
    "a known chunk twice": file(chunks=[(b"xmpd", small)] * 2),
    "an unknown chunk twice": file(chunks=[(b"note", b"x"), (b"xmpd", small), (b"note", b"x")]),
    "a critical chunk": file(chunks=[(b"Note", b"x")]),
    "more chunks declared than there are": file(chunks=[(b"note", b"x")], count=2),
    "bytes after a zlib stream": file(chunks=[(b"xmpd", small + b"x")]),
    "two zlib streams": file(chunks=[(b"xmpd", small + small)]),
    "a truncated zlib stream": file(chunks=[(b"xmpd", small[:-1])]),
    "no zlib stream": file(chunks=[(b"xmpd", b"")]),
    "a zlib stream that is too large": file(chunks=[(b"xmpd", beyond)]),
    "a damaged zlib stream": file(chunks=[(b"xmpd", b"x" + small)]),
    "a number in a longer form": file(lengths=b"\x85\x00"),
    "a number beyond 32 bits": file(lengths=b"\xff\xff\xff\xff\x1f"),
    "a number without end": file(lengths=b"\xff" * 12),
    "a payload that is cut short": file(lengths=b"\x06"),
    "bytes after the payloads": file(after=b"x"),
    "a wrong checksum": file()[:-6] + b"x" + file()[-5:],
    "an empty file": b"",
    "a signature alone": SIGNATURE,
}


@pytest.mark.parametrize("name", GOOD)
def test_both_accept(name: str) -> None:
    assert both_read(GOOD[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_both_refuse(name: str) -> None:
    assert not both_read(HOSTILE[name])


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["plain", "grey", "metadata", "an unknown chunk"]), st.data())
def test_both_agree_on_changed_headers(name: str, data: st.DataObject) -> None:
    changed = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(8, len(changed) - 10))] = data.draw(st.integers(0, 255))
    changed[-9:-5] = zlib.crc32(changed[8:-9]).to_bytes(4, "little")
    both_read(bytes(changed))


TABLES = random_tables(4)
INDEX = np.arange(60, dtype=np.uint8).reshape(3, 20)
TENSORS = {
    "tables.hyper": TABLES.hyper,
    "tables.latent": np.concatenate(TABLES.latent),
    "tables.lengths": np.array([len(table) for table in TABLES.latent]),
    "integers.filter.scale": INDEX,
}
VALUES = np.random.default_rng(0).integers(-40, 41, INDEX.shape).astype(np.int16)


def both_decode(body: bytes) -> bool:
    """Of a filter's coefficients, behind its step."""
    return both(lambda: decode_values(TABLES, INDEX, body), lambda: reference.decode_filter(b"\x0c" + body, TENSORS))


WIDTH = len(TABLES.latent[9]) // 2 - 1
LIMIT = 2 * (32767 - WIDTH - 1)  # the escape of +32767


def with_escape(value: int) -> bytes:
    """A payload whose only escape has this number."""
    body = encode_values(TABLES, np.where(INDEX == 9, np.int16(1000), 0).astype(np.int16), INDEX)
    escapes = write_varint(value)
    return body[:1] + write_varint(len(escapes)) + escapes + body[2 + body[1] :]


def test_escapes_up_to_the_limit_are_accepted() -> None:
    assert both_decode(with_escape(LIMIT))
    assert both_decode(with_escape(LIMIT + 1))
    assert decode_values(TABLES, INDEX, with_escape(LIMIT))[INDEX == 9] == 32767
    assert decode_values(TABLES, INDEX, with_escape(LIMIT + 1))[INDEX == 9] == -32767


@pytest.mark.parametrize("value", [LIMIT + 2, LIMIT + 3, 65534, 65535, 2**32 - 1, 2**40])
def test_escapes_beyond_the_limit_are_refused(value: int) -> None:
    assert not both_decode(with_escape(value))


def test_damaged_values_are_refused() -> None:
    body = encode_values(TABLES, VALUES, INDEX)
    flags, length = body[0], body[1]
    assert flags == 3
    escapes, words = body[2 : 2 + length], body[2 + length :]
    assert both_decode(body)
    refused = {
        "nothing": b"",
        "unknown flags": b"\x0b" + body[1:],
        "lanes": encode_tile(TABLES, 0, np.zeros((3, 0, 0), np.int8), [(VALUES, INDEX)], lanes=2),
        "one lane": b"\x07" + body[1 : 2 + length] + b"\x01" + write_varint(len(words) // 4) + words,
        "an escape that is left": b"\x03" + write_varint(length + 1) + escapes + b"\0" + words,
        "an escape that is missing": b"\x03" + write_varint(length - 1) + escapes[:-1] + words,
        "a byte that follows": body + b"\x01",
        "a word that follows": body + b"\x01\0\0\0",
        "a word that is zero": body + bytes(4),
    }
    for name, damaged in refused.items():
        assert not both_decode(damaged), name


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40))
@example(b"\0")
@example(b"\x02\0")
def test_both_agree_on_any_values(body: bytes) -> None:
    both_decode(body)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_both_agree_on_changed_values(data: st.DataObject) -> None:
    body = bytearray(encode_values(TABLES, VALUES // 8, INDEX))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    both_decode(bytes(body))


def payload_both_decode(payload: bytes, z_shape: tuple[int, int], crc: int) -> bool:
    """Of a tile whose scale indices do not depend on z: one pass with those of INDEX."""

    def shipped() -> None:
        decoder = TileDecoder(TABLES, 1, read_payload(payload))
        decoder.hyper(*z_shape)
        decoder.finish(decoder.latent(INDEX), crc)

    def second() -> None:
        source = reference.Payload(payload, TENSORS)
        z = source.hyper(TABLES.hyper[1], *z_shape)
        values = source.latents(INDEX)
        source.finish()
        reference.check_crc(z, values, crc)

    return both(shipped, second)


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_tiles(lanes: int) -> None:
    z = np.random.default_rng(1).integers(-63, 64, (3, 2, 2)).astype(np.int8)
    crc = symbols_crc(z, VALUES)
    payload = encode_tile(TABLES, 1, z, [(VALUES, INDEX)], lanes)
    assert payload_both_decode(payload, (2, 2), crc)
    assert not payload_both_decode(payload, (2, 2), crc ^ 1)
    assert not payload_both_decode(payload + b"\x01\0\0\0", (2, 2), crc)
    assert not payload_both_decode(payload[:-4], (2, 2), crc)


def test_a_tile_whose_hyper_latent_takes_more_bits_than_it_has_is_refused() -> None:
    """A coder without words finds the first symbol of each table for ever, and ends as it should."""
    tables = Tables(np.full((2, 3, 127), 2**24 // 127 + 1, np.int32), TABLES.latent)
    tables.hyper[..., 0] += 2**24 - tables.hyper[0, 0].sum()
    tables.check()
    z = np.full((3, 9, 9), -63, np.int8)
    decoder = TileDecoder(tables, 0, read_payload(b"\0"))
    with pytest.raises(Error, match="checksum"):
        decoder.hyper(9, 9)
    with pytest.raises(reference.Invalid, match="more bits"):
        reference.Payload(b"\0", TENSORS).hyper(tables.hyper[0], 9, 9)
    assert encode_tile(tables, 0, z, [(np.zeros(3, np.int16), np.zeros(3, np.uint8))]) == b"\0"
