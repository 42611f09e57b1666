"""ICC profiles: whether one fits the pixels, and one for a colour space that a file gives in numbers.

Numbers are those of PNG's gAMA and cHRM and of ITU-T H.273 (PNG's cICP, AVIF's and HEIF's nclx). The profiles are of
three primaries, or none for grey, and a curve: ICC.1:2022, section 8.3.
"""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

D50 = (0.9642, 1.0, 0.8249)
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
# white, red, green, blue as x and y, by the numbers of H.273, table 2
PRIMARIES = {
    1: (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    4: (_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: (_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
SRGB, UNSPECIFIED = PRIMARIES[1], 2
PQ, HLG = 16, 18
WHITE_NITS = 203.0  # of diffuse white in HDR, ITU-R BT.2408
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SPACE_NAMES = {b"GRAY": "grey", b"RGB ": "RGB", b"CMYK": "CMYK", b"Lab ": "Lab", b"XYZ ": "XYZ"}
Chromaticities = tuple[tuple[float, float], ...]


def _fixed(*values: float) -> bytes:
    """Numbers as s15Fixed16. Raises struct.error if one is too large."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def power_curve(exponent: float) -> bytes:
    """The tag of the curve light = value ** exponent."""
    return b"para" + bytes(8) + _fixed(exponent)


def _broken_curve(exponent: float, offset: float, slope: float, knee: float) -> bytes:
    """The tag of light = ((value + offset) / (1 + offset)) ** exponent, below the knee value / slope."""
    scale = 1 / (1 + offset)
    return b"para" + bytes(4) + b"\0\3\0\0" + _fixed(exponent, scale, offset * scale, 1 / slope, knee)


def _table(light: NDArray[np.float64]) -> bytes:
    values = (light.clip(0, 1) * 65535).round().astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + values.tobytes()


def _pq(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of SMPTE ST 2084, 1.0 for diffuse white."""
    root = value ** (1 / 78.84375)
    return 10_000 / WHITE_NITS * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578)


def _hlg(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of ARIB STD-B67 on a display of 1000 nits, 1.0 for diffuse white."""
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 / WHITE_NITS * scene**1.2


SRGB_CURVE = _broken_curve(2.4, 0.055, 12.92, 0.04045)
_BT709_CURVE = _broken_curve(1 / 0.45, 0.099, 4.5, 0.081)
_STEPS = np.linspace(0, 1, 4096)
# by the numbers of H.273, table 3
CURVES = {
    1: _BT709_CURVE, 6: _BT709_CURVE, 11: _BT709_CURVE, 12: _BT709_CURVE, 14: _BT709_CURVE, 15: _BT709_CURVE,
    4: power_curve(2.2), 5: power_curve(2.8), 7: _broken_curve(1 / 0.45, 0.1115, 4, 0.0912), 8: power_curve(1.0),
    9: _table(10 ** (2 * (_STEPS - 1))), 10: _table(10 ** (2.5 * (_STEPS - 1))), 13: SRGB_CURVE,
    PQ: _table(_pq(_STEPS)), 17: power_curve(2.6), HLG: _table(_hlg(_STEPS)),
}  # fmt: skip


def _xyz(xy: tuple[float, float]) -> NDArray[np.float64]:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _colorants(chromaticities: Chromaticities) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """XYZ of the primaries under D50 as columns (3, 3), and the matrix (3, 3) that adapts their white to it.

    Raises ValueError if there are no such primaries.
    """
    if any(y <= 0 for _, y in chromaticities):
        raise ValueError("chromaticities that no light has")
    white, *primaries = (_xyz(xy) for xy in chromaticities)
    matrix = np.stack(primaries, 1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError("primaries on one line")
    cones = (_BRADFORD @ np.array(D50)) / (_BRADFORD @ white)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    return adapt @ (matrix * np.linalg.solve(matrix, white)), adapt


def _text(text: str) -> bytes:
    body = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(body), 28) + body


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 4.4 for a display."""
    white = b"XYZ " + bytes(4) + _fixed(*D50)
    tags = {b"desc": _text("told by the picture"), b"cprt": _text("public domain"), b"wtpt": white, **tags}
    table, data = struct.pack(">I", len(tags)), b""
    placed: dict[bytes, int] = {}
    first = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        if tag not in placed:
            placed[tag] = first + len(data)
            data += tag + bytes(-len(tag) % 4)
        table += name + struct.pack(">II", placed[tag], len(tag))
    head = struct.pack(">I4xI4s4s4s6H4s", first + len(data), 0x04400000, b"mntr", space, b"XYZ ", 2026, 1, 1, 0, 0, 0,
                       b"acsp")  # fmt: skip
    return (head + bytes(28) + _fixed(*D50)).ljust(128, b"\0") + table + data


def rgb_profile(chromaticities: Chromaticities, curve: bytes, cicp: tuple[int, ...] | None = None) -> bytes:
    """The ICC profile of an RGB space.

    Args:
        chromaticities: white, red, green, blue as x and y. curve: the tag of all three channels' curve.
        cicp: colour primaries, transfer characteristics, matrix coefficients and full-range flag of H.273 for the
            profile's tag cicp.

    Raises:
        ValueError: there is no such space.
    """
    try:
        colorants, adapt = _colorants(chromaticities)
        tags = {b"chad": b"sf32" + bytes(4) + _fixed(*adapt.ravel())}
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants.T, strict=True):
            tags[name] = b"XYZ " + bytes(4) + _fixed(*column)
    except (struct.error, OverflowError, np.linalg.LinAlgError):
        raise ValueError("chromaticities that no profile can hold") from None
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    if cicp:
        tags[b"cicp"] = b"cicp" + bytes(4) + bytes(cicp)
    return _profile(b"RGB ", tags)


def grey_profile(curve: bytes) -> bytes:
    """The ICC profile of a grey channel with this curve."""
    return _profile(b"GRAY", {b"kTRC": curve})


def of_cicp(cicp: tuple[int, int, int, int], grey: bool) -> bytes | None:
    """The ICC profile for H.273's colour primaries, transfer characteristics, matrix coefficients and full-range flag;
    None for sRGB and for unspecified ones. The curve of HDR ends at diffuse white, and the profile has the numbers too.

    Raises:
        ValueError: the numbers are unknown.
    """
    primaries = 1 if cicp[0] == UNSPECIFIED else cicp[0]
    transfer = 13 if cicp[1] == UNSPECIFIED else cicp[1]
    if transfer not in CURVES or primaries not in PRIMARIES:
        raise ValueError(f"colour primaries {cicp[0]} and transfer characteristics {cicp[1]} are unknown")
    if transfer == 13 and (primaries == 1 or grey):
        return None
    if grey:
        return grey_profile(CURVES[transfer])
    full_range_rgb = (primaries, transfer, 0, 1)
    return rgb_profile(PRIMARIES[primaries], CURVES[transfer], full_range_rgb)


def of_gamma(gamma: float | None, chromaticity: tuple[float, ...] | None, grey: bool) -> bytes | None:
    """The ICC profile for PNG's gAMA (the exponent of encoding, 0.45455 for most) and cHRM (white, red, green, blue as
    x and y); None for nearly sRGB, by the limit of libpng: a gamma within 5 % of 1/2.2.

    Raises:
        ValueError: there is no such space.
    """
    if gamma is not None and not 0.01 <= gamma <= 100:
        raise ValueError(f"a gamma of {gamma}")
    points = SRGB
    if chromaticity and not grey:
        points = tuple(zip(chromaticity[::2], chromaticity[1::2], strict=True))
    differences = [
        abs(a - b) for pair, other in zip(points, SRGB, strict=True) for a, b in zip(pair, other, strict=True)
    ]
    if (gamma is None or abs(gamma * 2.2 - 1) < 0.05) and max(differences) < 0.005:
        return None
    curve = SRGB_CURVE if gamma is None else power_curve(1 / gamma)
    return grey_profile(curve) if grey else rgb_profile(points, curve)


def _tag(profile: bytes, name: bytes) -> bytes | None:
    """A tag's data, None if the profile has none or not all of it."""
    count = min(struct.unpack_from(">I", profile, 128)[0], 1000) if len(profile) >= 132 else 0
    for position in range(132, min(132 + 12 * count, len(profile) - 11), 12):
        tag, at, size = struct.unpack_from(">4sII", profile, position)
        if tag == name and size and at + size <= len(profile):
            return profile[at : at + size]
    return None


def fit(profile: bytes, grey: bool) -> tuple[bytes | None, str | None]:
    """A profile for pixels that are grey or RGB: the same, one of the same curve, or None.

    Returns:
        The profile, and a short note if it is not the same.
    """
    space = profile[16:20] if profile[36:40] == b"acsp" else b""
    needed = b"GRAY" if grey else b"RGB "
    if space in (b"", needed):
        return profile, None
    name, pixels = _SPACE_NAMES.get(space, "foreign"), "grey" if grey else "RGB"
    curves = {_tag(profile, tag) for tag in ([b"kTRC"] if space == b"GRAY" else [b"rTRC", b"gTRC", b"bTRC"])}
    curve = curves.pop() if len(curves) == 1 else None
    if curve and {space, needed} == {b"GRAY", b"RGB "}:
        replacement = grey_profile(curve) if grey else rgb_profile(SRGB, curve)
        return replacement, f"the {name} profile of {pixels} pixels is replaced by one of the same curve"
    return None, f"the {name} profile does not fit {pixels} pixels and is left out"


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of mode CMYK or LAB as RGB in sRGB; CMYK by its own profile if that is one of CMYK."""
    profile = image.info.get("icc_profile") or b""
    if image.mode == "CMYK" and profile[16:20] == b"CMYK":
        try:
            return ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(ImageCms.core.profile_frombytes(profile)),
                ImageCms.createProfile("sRGB"),
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )  # type: ignore[return-value]
        except Exception:  # ImageCms raises many types for a damaged profile
            pass
    return image.convert("RGB")
