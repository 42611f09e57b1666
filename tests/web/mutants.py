"""Damaged files: golden ones with changes at random, the same in every run, many of them with a right checksum."""

import random
from collections.abc import Iterator

from lapic import bitstream
from lapic.bitstream import Header, Tile
from lapic.codec.selftest import GOLDEN

SMALL = ("pixel-q1", "dots-q100", "grey-as-rgb-q60", "noise-q100", "metadata-q30")
LARGER = ("photo-q10", "alpha-q70", "photo-q95-lanes")


def mutants(count: int, seed: int = 0) -> Iterator[bytes]:
    """So many damaged files."""
    draw = random.Random(seed)
    files = {name: (GOLDEN / f"{name}.lapic").read_bytes() for name in (*SMALL, *LARGER)}
    for number in range(count):
        data = files[draw.choice(SMALL if number % 8 else LARGER)]
        yield draw.choice([changed, cut, with_a_changed_payload, with_a_changed_payload, with_a_changed_header])(
            data, draw
        )


def changed(data: bytes, draw: random.Random) -> bytes:
    """Up to four bytes are others."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        out[draw.randrange(len(out))] = draw.randrange(256)
    return bytes(out)


def cut(data: bytes, draw: random.Random) -> bytes:
    """A part is missing at the end, or in between."""
    begin = draw.randrange(len(data))
    return data[:begin] + draw.choice([b"", data[begin + draw.randint(1, 9) :]])


def with_a_changed_payload(data: bytes, draw: random.Random) -> bytes:
    """A tile's payload is another one, and the header is right."""
    header, tiles = bitstream.read(data)
    at = draw.randrange(len(tiles))
    payload = bytearray(tiles[at].payload)
    for _ in range(draw.randint(1, 3)):
        payload[draw.choice([0, draw.randrange(len(payload))])] = draw.randrange(256)
    kept = payload[: draw.choice([len(payload), draw.randint(0, len(payload))])]
    tiles[at] = Tile(bytes(kept), tiles[at].crc)
    return bitstream.write(bare(header), tiles)


def with_a_changed_header(data: bytes, draw: random.Random) -> bytes:
    """Sizes, quality or chunks are others, and the checksum is right."""
    header, tiles = bitstream.read(data)
    fields = vars(bare(header))
    name = draw.choice(["width", "height", "quality", "chunks"])
    size = draw.choice([1, 15, 17, 64, 300, 4000])
    chunks = {draw.choice([b"alph", b"filt", b"exif", b"Evil", b"meek"]): draw.randbytes(draw.randint(0, 40))}
    fields[name] = {"quality": draw.choice([1.0, 50.0, 100.0]), "chunks": chunks}.get(name, size)
    fields["tile"] = draw.choice([header.tile, 0])
    new = Header(**fields)
    rows, columns = new.grid()
    return bitstream.write(new, [draw.choice(tiles) for _ in range(rows * columns)])


def bare(header: Header) -> Header:
    """A header as it is written."""
    return Header(**{**vars(header), "chunk_sizes": {}})


def is_zlib(message: str) -> bool:
    """Whether a message ends with what an inflater says, which differs between programs."""
    damaged = "is damaged" in message or "is truncated" in message
    return damaged and ("chunk" in message or "alpha" in message)
