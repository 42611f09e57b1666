"""lapic's file format: bytes <-> symbols. NumPy and constriction only; docs/FORMAT.md is the specification."""

from bitstream.container import Header, PixelFormat, Tile, read, read_header, write
from bitstream.entropy import Tables, TileDecoder, decode_values, encode_tile, encode_values, symbols_crc
from bitstream.error import Error

__all__ = [
    "Error",
    "Header",
    "PixelFormat",
    "Tables",
    "Tile",
    "TileDecoder",
    "decode_values",
    "encode_tile",
    "encode_values",
    "read",
    "read_header",
    "symbols_crc",
    "write",
]
