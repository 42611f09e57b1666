"""The container: everything in a .lapic file around the entropy-coded tiles. docs/FORMAT.md specifies it."""

import zlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from lapic.bitstream.error import Error
from lapic.bitstream.varint import Reader, write_varint

SIGNATURE = b"\x8cLAP\r\n\x1a\n"  # a high bit, a name, and line ends that text-mode transfers damage, as in PNG
VERSION = 0
MAX_EDGE = 2**24
MAX_TILE = 2**16  # places; bounds the memory that decoding one tile can take
MAX_METADATA = 16 * 2**20  # bytes of one inflated chunk
MAX_CHUNKS = 1024
WHOLE = 15  # tile code: the picture is one tile
TILES = [64 << code for code in range(WHOLE)]  # edges of tiles
QUALITY_ONE = 256  # fixed point of the quality in a file: 1..100 is 256..25600
HAS_CHUNKS = 4

ICC, EXIF, XMP, ALPHA, FILTER, MODE = b"iccp", b"exif", b"xmpd", b"alph", b"filt", b"mode"
QUALITY_MAP = b"QMAP"  # critical: a signed byte for each place, see `bitstream.quality_map`
PLACE = 16  # edge of a place, which has M latents, in pixels
AS_RGB = b"\1"  # contents of the mode chunk: a grey picture comes back as RGB
_DEFLATED = {ICC, EXIF, XMP, QUALITY_MAP}
_KNOWN = _DEFLATED | {ALPHA, FILTER, MODE}


class PixelFormat(IntEnum):
    """What is coded: three colour channels, or one."""

    RGB = 0
    GREY = 1


@dataclass(frozen=True)
class Header:
    """All that is known of a picture before its tiles are decoded.

    `quality` is 1..100 in steps of 1/256; `tile` the edge of the square tiles in pixels, a power of two times 64, or 0
    for a picture in one tile; `chunks` maps four-letter types to their (inflated) contents.
    """

    width: int
    height: int
    pixel_format: PixelFormat
    quality: float
    model: bytes
    tile: int = 1024
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    chunk_sizes: dict[bytes, int] = field(default_factory=dict, compare=False)  # bytes in the file, set by `read`

    def check(self) -> None:
        """Raise ValueError (for metadata that are too large `Error`) for values that the format cannot hold."""
        if not (1 <= self.width <= MAX_EDGE and 1 <= self.height <= MAX_EDGE):
            raise ValueError(f"a picture of {self.width} x {self.height} does not fit the format")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality {self.quality} is not in 1..100")
        if self.tile and self.tile not in TILES:
            raise ValueError(f"tile {self.tile} is not 64 times a power of two up to {TILES[-1]}, or 0")
        rows, columns = (min(self.tile or edge, edge) for edge in (self.height, self.width))
        if -(-rows // PLACE) * -(-columns // PLACE) > MAX_TILE:
            raise ValueError(f"a tile of {columns} x {rows} has more than {MAX_TILE} places of 16 x 16 pixels")
        if len(self.chunks) > MAX_CHUNKS or any(len(kind) != 4 for kind in self.chunks):
            raise ValueError(f"there are more than {MAX_CHUNKS} chunks, or a chunk's type has not four bytes")
        for kind in _DEFLATED & self.chunks.keys():
            if len(self.chunks[kind]) > MAX_METADATA:
                raise Error(f"{len(self.chunks[kind])} bytes of metadata {kind!r} are more than {MAX_METADATA}")
        rows, columns = self.places()
        if QUALITY_MAP in self.chunks and len(self.chunks[QUALITY_MAP]) != rows * columns:
            raise ValueError(f"the quality map has {len(self.chunks[QUALITY_MAP])} places, not {rows * columns}")

    @property
    def channels(self) -> int:
        """Channels of the decoded picture, alpha apart: 1 for a grey one without a mode chunk, else 3."""
        return 3 if self.pixel_format == PixelFormat.RGB or self.chunks.get(MODE) == AS_RGB else 1

    def places(self) -> tuple[int, int]:
        """Rows and columns of the places of latents."""
        return -(-self.height // PLACE), -(-self.width // PLACE)

    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        if not self.tile:
            return 1, 1
        return -(-self.height // self.tile), -(-self.width // self.tile)


@dataclass(frozen=True)
class Tile:
    """One entropy-coded tile: its bytes, and the CRC-32 of the symbols that they decode to."""

    payload: bytes
    crc: int


def _write_chunks(chunks: dict[bytes, bytes]) -> bytes:
    out = write_varint(len(chunks))
    for kind, content in chunks.items():
        body = zlib.compress(content, 9) if kind in _DEFLATED else content
        out += kind + write_varint(len(body)) + body
    return out


def _inflate(kind: bytes, body: bytes) -> bytes:
    """What a chunk's zlib stream holds, read no further than the limit."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(body, MAX_METADATA + 1)
    except zlib.error as error:
        raise Error(f"chunk {kind!r} is damaged: {error}") from None
    if len(content) > MAX_METADATA:
        raise Error(f"chunk {kind!r} is larger than {MAX_METADATA} bytes")
    if not inflater.eof:
        raise Error(f"chunk {kind!r} is truncated")
    if inflater.unused_data:
        raise Error(f"chunk {kind!r} is damaged: {len(inflater.unused_data)} bytes follow its zlib stream")
    return content


def _read_chunks(reader: Reader) -> tuple[dict[bytes, bytes], dict[bytes, int]]:
    """The known chunks' contents, and the bytes that each chunk takes in the file."""
    chunks: dict[bytes, bytes] = {}
    sizes: dict[bytes, int] = {}
    for _ in range(reader.varint(largest=MAX_CHUNKS)):
        begin = reader.position
        kind = reader.take(4)
        if kind in sizes:
            raise Error(f"chunk {kind!r} occurs twice")
        body = reader.take(reader.varint())
        sizes[kind] = reader.position - begin
        if kind not in _KNOWN:
            if kind[:1].isupper():
                raise Error(f"chunk {kind!r} is unknown and critical: a newer lapic may read this file")
            continue
        chunks[kind] = _inflate(kind, body) if kind in _DEFLATED else body
    return chunks, sizes


def write(header: Header, tiles: list[Tile]) -> bytes:
    """Put a file together. Raises ValueError for values the format cannot hold."""
    rows, columns = header.grid()
    if len(tiles) != rows * columns:
        raise ValueError(f"{rows} x {columns} tiles are needed, {len(tiles)} given")
    header.check()
    if len(header.model) != 4:
        raise ValueError("the model id takes four bytes")
    code = WHOLE if header.tile == 0 else TILES.index(header.tile)
    quality = round(header.quality * QUALITY_ONE)
    flags = header.pixel_format | (HAS_CHUNKS if header.chunks else 0) | code << 4
    head = bytes([VERSION]) + header.model + bytes([flags]) + quality.to_bytes(2, "little")
    head += write_varint(header.width) + write_varint(header.height)
    if header.chunks:
        head += _write_chunks(header.chunks)
    head += b"".join(write_varint(len(tile.payload)) + tile.crc.to_bytes(4, "little") for tile in tiles)
    check = zlib.crc32(head).to_bytes(4, "little")
    return b"".join([SIGNATURE, head, check, *(tile.payload for tile in tiles)])


def as_bytes(data: Any) -> bytes:
    """The contents of bytes, bytearray, memoryview or whatever else has a buffer. Raises TypeError for all else."""
    if isinstance(data, bytes):
        return data
    try:
        return memoryview(data).tobytes()
    except TypeError:
        raise TypeError(f"the bytes of a file are needed, not {type(data).__name__}: read it first") from None


def read(
    data: bytes | bytearray | memoryview, max_pixels: int | None = None, salvage: bool = False
) -> tuple[Header, list[Tile]]:
    """Take a file apart, checking everything but the payloads; nothing large is allocated before it is checked.

    Args:
        max_pixels: refuse pictures that declare more.
        salvage: accept a file that ends early or late: tiles that are cut short come with what is there of them.

    Raises:
        Error: not a lapic file, a newer version, damaged, or larger than `max_pixels`.
        TypeError: `data` are no bytes.
    """
    data = as_bytes(data)
    reader = Reader(data)
    header = _read_header(reader, max_pixels)
    rows, columns = header.grid()
    if rows * columns * 5 > reader.left:
        raise Error(f"truncated: {rows * columns} tiles cannot fit into {reader.left} bytes")
    table = [(reader.varint(), reader.uint(4)) for _ in range(rows * columns)]
    head = reader.data[len(SIGNATURE) : reader.position]
    if reader.uint(4) != zlib.crc32(head):
        raise Error("the header is damaged: its checksum does not match")
    tiles = [Tile(reader.take(min(length, reader.left) if salvage else length), crc) for length, crc in table]
    if reader.left and not salvage:
        raise Error(f"{reader.left} bytes follow the end of the picture")
    return header, tiles


def read_header(data: bytes | bytearray | memoryview) -> Header:
    """The header from the beginning of a file, without its checksum, for a quick look at size and metadata.

    Raises:
        Error: not a lapic file, a newer version, or visibly damaged.
        TypeError: `data` are no bytes.
    """
    return _read_header(Reader(as_bytes(data)), None)


def _read_header(reader: Reader, max_pixels: int | None) -> Header:
    """Everything before the tile table."""
    if reader.data[: len(SIGNATURE)] != SIGNATURE:
        raise Error("not a lapic file" if reader.data else "not a lapic file: it is empty")
    reader.take(len(SIGNATURE))
    version = reader.uint(1)
    if version > VERSION:
        raise Error(f"format version {version} is newer than this program's {VERSION}: update lapic")
    model, flags, quality = reader.take(4), reader.uint(1), reader.uint(2)
    width, height = reader.varint(MAX_EDGE), reader.varint(MAX_EDGE)
    if flags & 3 not in set(PixelFormat):
        raise Error(f"pixel format {flags & 3} is unknown: a newer lapic may read this file")
    if flags & 8:
        raise Error(f"header flags {flags:#04x} are unknown")
    if max_pixels is not None and width * height > max_pixels:
        raise Error(f"{width} x {height} is more than {max_pixels} pixels: raise the limit to decode it")
    chunks, sizes = _read_chunks(reader) if flags & HAS_CHUNKS else ({}, {})
    tile = 0 if flags >> 4 == WHOLE else TILES[flags >> 4]
    header = Header(width, height, PixelFormat(flags & 3), quality / QUALITY_ONE, model, tile, chunks, sizes)
    try:
        header.check()
    except ValueError as error:
        raise Error(f"the header is damaged: {error}") from None
    return header
