"""Pillow reads and writes .lapic files once this module is imported.

import lapic.codec.pillow_plugin
image = Image.open("photo.lapic")     # reads the header only; decodes when pixels are needed
image.save("copy.lapic", quality=60)  # keeps the image's ICC profile, EXIF and XMP
"""

from typing import IO, Any

from PIL import Image, ImageFile

from lapic import bitstream
from lapic.bitstream.container import ALPHA, EXIF, ICC, SIGNATURE, XMP
from lapic.codec import api
from lapic.codec.picture import metadata

FORMAT, SUFFIX, MIME = "LAPIC", ".lapic", "image/x-lapic"
METADATA = ("icc_profile", "exif", "xmp")
OPTIONS = (  # what `lapic.encode` takes
    "quality", "model", "tile", "device", "size", "bpp", "psnr", "effort", "tune", "lanes", "keep_hidden", "roi",
    "progress",
)  # fmt: skip
_FIRST = 65536  # bytes that hold most headers


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE[: len(prefix)])


class LapicImageFile(ImageFile.ImageFile):
    """A .lapic file. `draft(mode, size)` before the first use of its pixels chooses a decode at 1/2, 1/4 or 1/8."""

    format = FORMAT
    format_description = "lapic, the Laplacian pyramid image codec"

    def _open(self) -> None:
        header = self._header()
        self._mode = "RGB" if header.channels == 3 else "L"
        if ALPHA in header.chunks:
            self._mode = {"RGB": "RGBA", "L": "LA"}[self._mode]
        self._size = self._full = header.width, header.height
        self._scale = 1
        for kind, key in ((ICC, "icc_profile"), (EXIF, "exif"), (XMP, "xmp")):
            if kind in header.chunks:
                self.info[key] = header.chunks[kind]
        self.info["quality"] = header.quality
        self.tile = [ImageFile._Tile("lapic", (0, 0, *self._size), 0, None)]

    def _header(self) -> bitstream.Header:
        """The header, from as much of the file as it takes."""
        file, data = self._file(), b""
        while True:
            more = file.read(max(_FIRST, len(data)))
            data += more
            try:
                return bitstream.read_header(data)
            except bitstream.Error as error:
                if not more:
                    raise SyntaxError(str(error)) from None

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Choose the smallest scaled decode that is at least `size`, or the whole picture; its mode stays as it is."""
        if not self.tile or size is None:
            return None
        self._scale, self._size = 1, self._full
        for scale in (8, 4, 2):
            small = -(-self._full[0] // scale), -(-self._full[1] // scale)
            if small[0] >= size[0] and small[1] >= size[1]:
                self._scale, self._size = scale, small
                return self.mode, (0, 0, self._full[0] / scale, self._full[1] / scale)
        return None

    def load(self) -> Any:
        """Decode, the first time. The model is found by the file's id, see `codec.model.shipped.model_folders`. With
        `ImageFile.LOAD_TRUNCATED_IMAGES` what is missing is filled from its surroundings.

        Raises:
            OSError: the file is damaged, or needs a model that is not installed.
            ValueError: it was closed.
        """
        if self.tile:
            data = self.load_read(-1)
            try:
                if ImageFile.LOAD_TRUNCATED_IMAGES:
                    decoded = api.salvage(data, scale=self._scale, max_pixels=None).image
                else:
                    decoded = api.decode(data, scale=self._scale, max_pixels=None)
            except bitstream.Error as error:
                raise OSError(str(error)) from None
            self.im = decoded.im
            self.readonly = 0
            self._mode, self._size = decoded.mode, decoded.size
            self.tile = []
            if self.fp and self._exclusive_fp and self._close_exclusive_fp_after_loading:
                self.fp.close()
            self.fp = None
        return super().load()

    def load_read(self, count: int) -> bytes:
        """Bytes of the file from its beginning, all for -1. That there is this method tells `ImageFile.Parser` to wait
        for the whole file."""
        file = self._file()
        file.seek(0)
        return file.read(count)

    def verify(self) -> None:
        """Check the file but for its pixels: header, metadata and the tiles' lengths. Raises OSError if damaged."""
        if self.tile:
            try:
                bitstream.read(self.load_read(-1))
            except bitstream.Error as error:
                raise OSError(str(error)) from None
        super().verify()

    def _file(self) -> IO[bytes]:
        """The file that is read. Raises ValueError if it was closed, as Pillow does."""
        if self.fp is None or getattr(self.fp, "closed", False):
            raise ValueError("Operation on closed image")
        return self.fp


def _save(image: Image.Image, target: IO[bytes], _: str | bytes) -> None:
    """Save with the options of `lapic.encode` and icc_profile, exif and xmp, which are bytes, exif also an
    `Image.Exif`, xmp also a str; metadata are the image's own if absent, and left out if given as None or empty.

    Raises:
        TypeError: metadata, or an argument of `lapic.encode`, are of a wrong type.
        ValueError, Error: as `lapic.encode` does.
    """
    options = image.encoderinfo
    contents = {key: _content(key, options[key]) for key in METADATA if key in options}
    if contents:
        image = metadata.with_replaced(image, contents)
    target.write(api.encode(image, **{key: options[key] for key in OPTIONS if key in options}))


def _content(key: str, value: Any) -> bytes:
    """The bytes of metadata that are given as an option."""
    if value is None:
        return b""
    if key == "exif" and isinstance(value, Image.Exif):
        block = value.tobytes()
        return block if len(block) > len(Image.Exif().tobytes()) else b""
    if isinstance(value, str) and (key == "xmp" or not value):
        return value.encode()
    try:
        return bitstream.as_bytes(value)
    except TypeError:
        raise TypeError(f"{key} is given as bytes, not as {type(value).__name__}") from None


def register() -> None:
    """Make Pillow know .lapic files; importing this module has done it."""
    Image.register_open(FORMAT, LapicImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME)


register()
