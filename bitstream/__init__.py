"""lapic's file format: bytes <-> symbols. NumPy and constriction only; docs/FORMAT.md is the specification.

The names are imported when they are first used: NumPy and constriction take most of the time in which a command starts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lapic.bitstream.container import Header, PixelFormat, Tile, as_bytes, read, read_header, write
    from lapic.bitstream.entropy import (
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
    from lapic.bitstream.error import Error

_CONTAINER = {"Header", "PixelFormat", "Tile", "as_bytes", "read", "read_header", "write"}
_MODULES = {"container", "entropy", "error", "varint"}

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


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "error" if name == "Error" else "container" if name in _CONTAINER else "entropy"
    found = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = found
    return found
