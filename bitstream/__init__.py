"""lapic's file format: bytes <-> symbols. NumPy and constriction only; docs/FORMAT.md is the specification."""

from bitstream.container import Header, PixelFormat, Tile, as_bytes, read, read_header, write
from bitstream.entropy import (
    LANE_SYMBOLS,
    MISMATCH,
    PRECISION,
    Payload,
    Tables,
    TileDecoder,
    decode_values,
    encode_tile,
    encode_values,
    lanes_for,
    read_payload,
    symbols_crc,
    write_payload,
)
from bitstream.error import Error

__all__ = [
    "LANE_SYMBOLS",
    "MISMATCH",
    "PRECISION",
    "Error",
    "Header",
    "Payload",
    "PixelFormat",
    "Tables",
    "Tile",
    "TileDecoder",
    "as_bytes",
    "decode_values",
    "encode_tile",
    "encode_values",
    "lanes_for",
    "read",
    "read_header",
    "read_payload",
    "symbols_crc",
    "write",
    "write_payload",
]
