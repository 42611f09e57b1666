"""HEIC, in which phones store photos: Pillow reads and writes it by the plugin pillow-heif (extra `heic`)."""

from functools import cache

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevm", b"hevs", b"hevx", b"mif1", b"msf1"}
MISSING = "HEIC needs pillow-heif: pip install 'lapic[heic]'"


def is_heic(start: bytes) -> bool:
    """Whether a file that begins so, by 12 bytes or more, says that it is HEIC (ISO/IEC 23008-12, section 10)."""
    return start[4:8] == b"ftyp" and start[8:12] in BRANDS


@cache
def register() -> bool:
    """Add the format to Pillow, for the whole process, if the plugin is installed. Returns whether it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
