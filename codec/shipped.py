"""The weights files in the package, by their ids; reads their metadata only and needs no torch."""

from functools import lru_cache
from pathlib import Path

from safetensors import safe_open

from bitstream import Error

WEIGHTS = Path(__file__).parent / "weights"
HIGH_QUALITY = 60  # beyond it "photo-high" takes over, which learned nothing else; at it "photo" needs fewer bits still
SERVED = {"photo": (1.0, HIGH_QUALITY), "photo-high": (HIGH_QUALITY + 1 / 256, 100.0)}  # qualities, in steps of 1/256


@lru_cache(maxsize=1)
def shipped() -> dict[bytes, str]:
    """Model id -> name of every weights file in the package."""
    found = {}
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            found[bytes.fromhex(file.metadata()["id"])] = path.stem
    return found


def model_for(quality: float) -> str:
    """Name of the shipped model that photos are encoded with at a quality 1..100."""
    return "photo-high" if quality > HIGH_QUALITY else "photo"


def name_of(model_id: bytes) -> str:
    """Name of the shipped model with this id. Raises `Error` when there is none."""
    try:
        return shipped()[model_id]
    except KeyError:
        have = ", ".join(key.hex() for key in shipped())
        raise Error(f"model {model_id.hex()} is needed and not installed (installed: {have}): update lapic") from None
