"""Pixels of more than 8 bits as 8 bits: what range of numbers means black to white."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEEP_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_INT16 = 2**15


def scale(mode: str, low: float, high: float, bits: int = 16) -> tuple[float, float, str]:
    """The values that become 0 and 255 in an image of one of DEEP_MODES with values from `low` to `high`.

    Args:
        bits: how many bits of a 16-bit mode are used.

    Returns:
        The two values, and the rule as text, empty for the usual rule.
    """
    if mode == "F":
        if low >= 0 and high <= 1:
            return 0, 1, "0..1 becomes 0..255"
        return 0, 255, "clipped to 0..255" if low < 0 or high > 255 else ""
    if mode != "I":
        return 0, 2**bits - 1, ""
    if low >= 0 and high < 2 * _INT16:
        return 0, 2 * _INT16 - 1, ""
    if low >= -_INT16 and high < _INT16:
        return -_INT16, _INT16 - 1, "-32768..32767 becomes 0..255"
    return low, high, f"{low:.0f}..{high:.0f} becomes 0..255"


def _scale_of(image: Image.Image, values: NDArray) -> tuple[float, float, str]:
    finite = values[np.isfinite(values)] if image.mode == "F" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    bits = getattr(image, "tag_v2", {}).get(258)
    deepest = bits[0] if isinstance(bits, tuple) and bits and bits[0] in range(9, 17) else 16
    return scale(image.mode, low, high, deepest)


def note(mode: str, rule: str, bits: int = 32) -> str:
    """What is lost of an image of one of DEEP_MODES, as a short note with the rule that `scale` returned. `bits` are
    those of each number in the file: Pillow has mode "I" for signed numbers of 16 bits too."""
    integers = f"{16 if bits == 16 else 32}-bit depth becomes 8 bits"
    lost = {"F": "32-bit floating point becomes 8 bits", "I": integers}.get(mode, "16-bit depth becomes 8 bits")
    return f"{lost}: {rule}" if rule else lost


def note_of(image: Image.Image, bits: int = 32) -> str:
    """What is lost of an image of one of DEEP_MODES, as a short note; `bits` as for `note`."""
    return note(image.mode, _scale_of(image, _values(image))[2] if image.mode in "FI" else "", bits)


def _values(image: Image.Image) -> NDArray:
    values = np.asarray(image)
    return np.nan_to_num(values, posinf=np.inf, neginf=-np.inf) if image.mode == "F" else values


def to_eight_bits(image: Image.Image) -> Image.Image:
    """An image of one of DEEP_MODES as mode L, or LA where one of its values means transparent.

    16 bits: 0..65535 becomes 0..255. Floats: 0..1 becomes 0..255 if all finite ones lie there, else they are clipped to
    0..255; NaN becomes 0.
    32-bit integers: as 16 bits if they fit, with a sign around mid grey; else their own range becomes 0..255.
    """
    values = _values(image)
    low, high, _ = _scale_of(image, values)
    if image.mode == "F":
        scaled = ((values.astype(np.float64) - low) * (255 / (high - low))).clip(0, 255).round()
    else:
        span = max(int(high - low), 1)
        scaled = ((values.astype(np.int64) - int(low)).clip(0, span) * 255 + (span - 1) // 2) // span
    grey = Image.fromarray(scaled.astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)))
    return grey


def transparent_where(image: Image.Image, low: Image.Image | None = None) -> Image.Image:
    """The alpha channel, mode L, of an RGB image of which one colour of 16 bits is transparent.

    Args:
        image: the high bytes. low: the low bytes; without them all colours with the same high bytes are meant.
    """
    key = np.array(image.info["transparency"])
    clear = (np.asarray(image) == key >> 8).all(axis=2)
    if low is not None:
        clear &= (np.asarray(low) == (key & 255)).all(axis=2)
    return Image.fromarray(np.where(clear, 0, 255).astype(np.uint8))
