"""What each picture format that lapic writes can keep: docs/FORMATS.md prints this table."""

from dataclasses import dataclass

from PIL import Image

from lapic.bitstream import Error
from lapic.codec.files import HEIC_SUFFIXES
from lapic.codec.picture import heic


@dataclass(frozen=True)
class Format:
    """A format by Pillow's name for it.

    `modes`: of L (grey), LA (with alpha), RGB and RGBA, those that can be written. `icc`, `exif`, `xmp`: the most bytes
    of each that it holds, 0 for none. `resolution`: whether pixels per inch are kept outside of EXIF. `lossless`:
    whether the pixels are kept exactly.
    """

    name: str
    modes: tuple[str, ...] = ("L", "RGB")
    icc: int = 0
    exif: int = 0
    xmp: int = 0
    resolution: bool = False
    lossless: bool = True

    @property
    def alpha(self) -> bool:
        """Whether it has an alpha channel."""
        return "RGBA" in self.modes


ANY = 2**31 - 1
NOT_WRITTEN = {".pbm", ".pfm"}  # bitmaps and floating point, under whose names Pillow writes 8 bits a channel
ALL = ("L", "LA", "RGB", "RGBA")
JPEG_SEGMENT = 65533  # bytes in one segment of a JPEG
_JPEG = {"icc": 255 * (JPEG_SEGMENT - 14), "exif": JPEG_SEGMENT, "xmp": JPEG_SEGMENT - 29, "resolution": True}
_WHOLE = {"icc": ANY, "exif": ANY, "xmp": ANY}

FORMATS = {
    form.name: form
    for form in (
        Format("PNG", ALL, **_WHOLE, resolution=True),
        Format("TIFF", ALL, **_WHOLE, resolution=True),
        Format("JPEG", **_JPEG, lossless=False),
        Format("MPO", **_JPEG, lossless=False),
        Format("WEBP", ("RGB", "RGBA"), **_WHOLE, lossless=False),
        Format("AVIF", ("L", "RGB", "RGBA"), **_WHOLE, lossless=False),
        Format("JXL", ALL, exif=ANY, xmp=ANY, lossless=False),  # its plugin writes sRGB, whatever the profile
        Format("HEIF", ("L", "RGB", "RGBA"), **_WHOLE, lossless=False),
        Format("JPEG2000", ALL),
        Format("BMP", resolution=True),
        Format("DIB", resolution=True),
        Format("PPM"),
        Format("PCX"),
        Format("SGI", ("L", "RGB", "RGBA")),
        Format("TGA", ALL),
        Format("QOI", ("RGB", "RGBA")),
        Format("DDS", ALL),
        Format("IM", ALL),
        Format("ICO", ALL),
        Format("ICNS", ALL),
        Format("GIF", ("L", "RGB", "RGBA"), lossless=False),
        Format("PDF", lossless=False),
        Format("EPS"),
    )
}


def by_suffix(suffix: str) -> Format:
    """The format of a file name suffix such as ".png"; one that is not in FORMATS keeps no metadata. Raises `Error` if
    Pillow cannot write it."""
    if suffix.lower() in HEIC_SUFFIXES and not heic.register():
        raise Error(heic.MISSING)
    name = Image.registered_extensions().get(suffix.lower())
    if name is None or name not in Image.SAVE or suffix.lower() in NOT_WRITTEN:
        raise Error(f"{suffix or 'a name without a suffix'}: no known picture format, use .png, .ppm, .jpg ...")
    return FORMATS.get(name, Format(name, lossless=False))
