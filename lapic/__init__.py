"""lapic, the Laplacian pyramid image codec.

data = lapic.encode(image, quality=50)     # PIL.Image.Image -> bytes of a .lapic file
image = lapic.decode(data)                 # and back; lapic.salvage(data) for a damaged file
lapic.info(data)["bytes"]                  # what each part costs
image = lapic.restore(image, "jpeg")       # repair what another codec or a camera damaged
lapic.register_pillow()                    # from here on Pillow knows the format
"""

import os

if not os.path.isdir(os.path.join(__path__[0], "codec")):  # a clone without symbolic links, as on Windows
    __path__.append(os.path.dirname(__path__[0]))

from lapic.codec import __version__
from lapic.codec.api import (
    Error,
    Info,
    ModelInfo,
    Progress,
    RegionsInfo,
    Salvaged,
    decode,
    encode,
    info,
    restore,
    salvage,
    translate,
)

__all__ = [
    "Error",
    "Info",
    "ModelInfo",
    "Progress",
    "RegionsInfo",
    "Salvaged",
    "__version__",
    "decode",
    "encode",
    "info",
    "register_pillow",
    "restore",
    "salvage",
    "translate",
]


def register_pillow() -> None:
    """Let Pillow, and all that reads through it, open and save .lapic files."""
    import lapic.codec.pillow_plugin  # noqa: F401
