"""lapic's file format: bytes <-> symbols. NumPy and constriction only; docs/FORMAT.md is the specification."""

from bitstream.container import Header, PixelFormat, Tile, read, read_header, write
from bitstream.entropy import Tables, TileDecoder, encode_tile, symbols_crc
from bitstream.error import Error

__all__ = [
    "Error",
    "Header",
    "PixelFormat",
    "Tables",
    "Tile",
    "TileDecoder",
    "encode_tile",
    "read",
    "read_header",
    "symbols_crc",
    "write",
]
