"""The functions that a program calls, as `import lapic` offers them."""

from lapic.bitstream import Error
from lapic.codec.api.coding import decode, encode, info, salvage
from lapic.codec.api.images import restore, translate
from lapic.codec.api.types import Info, ModelInfo, RegionsInfo, Salvaged
from lapic.codec.arguments import Progress

__all__ = [
    "Error",
    "Info",
    "ModelInfo",
    "Progress",
    "RegionsInfo",
    "Salvaged",
    "decode",
    "encode",
    "info",
    "restore",
    "salvage",
    "translate",
]
