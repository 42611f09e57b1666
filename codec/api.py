"""The functions that a program calls, as `import lapic` offers them."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from lapic.bitstream import Error
from lapic.codec.defaults import AUTO_MODEL, DEFAULT_EFFORT, DEFAULT_QUALITY, MAX_PIXELS, TUNES
from lapic.codec.host import isolated

if TYPE_CHECKING:
    from PIL import Image

ModelName = str | os.PathLike[str]  # the name of a model, or the path of its weights file

__all__ = ["Error", "decode", "encode", "info", "restore", "translate"]


@isolated
def encode(
    image: "Image.Image",
    quality: float = DEFAULT_QUALITY,
    *,
    model: ModelName = AUTO_MODEL,
    tile: int = 1024,
    device: str = "auto",
    size: int | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    effort: int = DEFAULT_EFFORT,
    tune: str = "psnr",
    lanes: bool = False,
    keep_hidden: bool = False,
    progress: Any = None,
) -> bytes:
    """Compress an image.

    Args:
        image: a Pillow image of any mode. 16-bit channels become 8-bit, CMYK becomes RGB; alpha is kept losslessly, and
            ICC profile, EXIF and XMP are kept. RGB whose channels are equal is coded as grey and comes back as RGB.
        quality: 1 (smallest) to 100 (best).
        model: "auto" (the shipped model that was trained for the quality), name of a shipped model, path of a weights
            file, or name of an own model in one of `codec.model.shipped.model_folders`. A decoder needs that model too.
        tile: edge of the independently coded tiles in pixels, 64 times a power of two up to 4096, or 0 for one tile
            (pictures of at most 2^24 pixels).
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        size, bpp, psnr: instead of a quality, one target that is searched for: at most so many bytes, about so many
            bits per pixel of the whole file, or about so many dB.
        effort: 0 (one pass) to 9, how long to search for a smaller file of the same quality; decoding takes no longer.
        tune: what the search tries to keep: "psnr" (the least square error) or "ssim", which weighs errors by how much
            they are seen (less in texture and colour) and so looks better by MS-SSIM and SSIMULACRA2 at the same size.
        lanes: cut large tiles' data into lanes of about 1.5 KiB, which a decoder on a GPU can decode all at once; files
            grow by 0.4 %.
        keep_hidden: code the colours of fully transparent pixels as they are; else they are replaced by a smooth
            continuation of the colours around them, which takes fewer bytes.
        progress: called as progress(done, total): with tiles, or with the steps of the search for a target.

    Returns:
        The bytes of a .lapic file.

    Raises:
        ValueError: quality, target, tile, effort, tune or device is out of range, or more than one target is given.
        TypeError: an argument is of a wrong type.
        Error: the image or the model cannot be read, or no quality reaches the target.
    """
    from lapic.bitstream.container import MAX_EDGE
    from lapic.codec import arguments
    from lapic.codec.encode import encoder
    from lapic.codec.model.codec_weights import load, load_for, pick_device
    from lapic.codec.picture import pillow, planes, tensors

    quality = arguments.number("quality", quality, 1, 100)
    targets = [arguments.target(name, value) for name, value in (("size", size), ("bpp", bpp), ("psnr", psnr))]
    effort, tile = arguments.whole("effort", effort, 0, 9), arguments.whole("tile", tile, 0, MAX_EDGE)
    arguments.one_of("tune", tune, TUNES)
    arguments.check_image(image)
    pixels, chunks = planes.simplify(*pillow.from_pil(image), keep_hidden)
    where = pick_device(device)
    report = progress or tensors.no_progress
    if any(value is not None for value in targets):
        from lapic.codec.encode.target import Stretch, encode_to_target
        from lapic.codec.encode.trials import Target
        from lapic.codec.model.shipped import QUALITY_RANGES

        served = QUALITY_RANGES if model == AUTO_MODEL else {model: load(model, where).qualities}
        stretches = [Stretch(partial(load, name, where), *qualities) for name, qualities in served.items()]
        return encode_to_target(stretches, pixels, Target(*targets), tile, chunks, effort, lanes, tune, report)
    loaded = load_for(model, quality, where)
    return encoder.encode_pixels(loaded, pixels, quality, tile, chunks, report, effort, lanes=lanes, tune=tune)


@isolated
def decode(
    data: bytes | bytearray | memoryview,
    *,
    model: ModelName | None = None,
    scale: int = 1,
    crop: tuple[int, int, int, int] | None = None,
    device: str = "auto",
    max_pixels: int | None = MAX_PIXELS,
    progress: Any = None,
    missing: list[Any] | None = None,
    realism: float = 0.0,
) -> "Image.Image":
    """Decompress a .lapic file.

    Args:
        data: all bytes of the file.
        model: name or weights file of the model that the file needs; None looks for it by its id among the shipped ones
            and in the folders of own models, see `codec.model.shipped.model_folders`.
        scale: 1, 2, 4 or 8 for a picture of 1/scale of the size, rounded up; smaller is faster.
        crop: (x, y, width, height), a part of the full-size picture in its pixels; only what it needs is decoded.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        max_pixels: refuse files that declare more, or larger crops; None for no limit.
        progress: called as progress(done, total).
        missing: a list, for salvage: damaged or missing tiles are filled from their surroundings instead of raising
            `Error`, and their rectangles, (left, top, right, bottom) in pixels of the full-size picture, are added to
            the list.
        realism: 0 for the picture nearest to the original, to 1 for the one that looks most like a photo: texture that
            the file could not afford is invented; at quality under about 30 more than texture may be.

    Returns:
        An image of mode L, LA, RGB or RGBA; ICC profile, EXIF and XMP are in its `info`.

    Raises:
        Error: not a lapic file, damaged, too large, or made for a model that is not installed, is not the given one or,
            with `realism`, has no realistic decoder.
        ValueError: scale, crop, realism or device is not possible.
        TypeError: an argument is of a wrong type.
    """
    from lapic import bitstream
    from lapic.codec import arguments
    from lapic.codec.decode import decoder
    from lapic.codec.model.codec_weights import load_by_id, pick_device
    from lapic.codec.picture import pillow
    from lapic.codec.picture.tensors import no_progress

    scale, realism = arguments.one_of("scale", scale, (1, 2, 4, 8)), arguments.number("realism", realism, 0, 1)
    crop = None if crop is None else arguments.rectangle("crop", crop)
    if max_pixels is not None:
        max_pixels = arguments.number("max_pixels", max_pixels, 0, float("inf"))
    if crop and max_pixels is not None and crop[2] * crop[3] > max_pixels:
        raise Error(f"{crop[2]} x {crop[3]} is more than {max_pixels} pixels: raise the limit to decode it")
    header, tiles = bitstream.read(data, None if crop else max_pixels, salvage=missing is not None)
    loaded = load_by_id(header.model, pick_device(device), given=model)
    alpha = pillow.read_alpha(header.chunks, (header.width, header.height), max_pixels)
    holes: list[Any] | None = None if missing is None else []
    watch = progress or no_progress
    view = decoder.View(scale, crop, realism=realism)
    pixels = decoder.decode_pixels(loaded, header, tiles, view, watch, holes)
    if missing is not None:
        missing += [(hole.left, hole.top, hole.right, hole.bottom) for hole in holes or []]
    if alpha is not None:
        alpha = pillow.crop_alpha(alpha, crop, pixels.shape[1::-1])
    return pillow.to_pil(pixels, alpha, header.chunks)


def info(data: bytes | bytearray | memoryview, *, model: ModelName | None = None) -> dict[str, Any]:
    """What is in a .lapic file, without decoding it.

    Args:
        data: all bytes of the file.
        model: as for `decode`; nothing but its name and id is read.

    Returns:
        width, height, mode, quality, model (id and name, the latter None if it is not installed), format_version,
        tile, tiles, bpp, and `bytes`: total, header (with checksums and tile table), metadata by kind, payload.

    Raises:
        Error: not a lapic file, damaged, or `model` is not the one that it needs.
        TypeError: `data` are no bytes.
    """
    from lapic import bitstream
    from lapic.bitstream.container import ALPHA, VERSION
    from lapic.codec.model.shipped import check_model, installed_name

    data = bitstream.as_bytes(data)
    header, tiles = bitstream.read(data)
    name = installed_name(header.model) if model is None else check_model(model, header.model).stem
    payload = sum(len(tile.payload) for tile in tiles)
    metadata = {kind.decode("latin-1"): size for kind, size in header.chunk_sizes.items()}
    colour = "RGB" if header.channels == 3 else "L"
    return {
        "width": header.width,
        "height": header.height,
        "mode": colour + ("A" if ALPHA in header.chunks else ""),
        "quality": header.quality,
        "model": {"id": header.model.hex(), "name": name},
        "format_version": VERSION,
        "tile": header.tile,
        "tiles": len(tiles),
        "bpp": 8 * len(data) / (header.width * header.height),
        "bytes": {
            "total": len(data),
            "header": len(data) - payload - sum(metadata.values()),
            **metadata,
            "payload": payload,
        },
    }


@isolated
def restore(
    image: "Image.Image",
    task: str = "auto",
    *,
    strength: float = 1.0,
    scale: int = 2,
    look: str = "faithful",
    device: str = "auto",
    progress: Any = None,
) -> "Image.Image":
    """Repair a damaged image.

    Args:
        image: a Pillow image of any mode; 16-bit channels become 8-bit, alpha and metadata are kept.
        task: "jpeg" (traces of lossy compression), "denoise", "deblur", "upscale" (bicubic doubling, then the detail
            that it lacks) or "auto": jpeg for images read from lossy files, denoise where noise is visible, else jpeg.
        strength: 0 (change nothing) to 1.
        scale: 2 or 4, for upscale.
        look: "faithful" (the least error) or "realistic" (sharper, with texture that is likely but invented).
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        progress: called as progress(done, total).

    Returns:
        An image of mode L, LA, RGB or RGBA.

    Raises:
        ValueError: task, strength, scale, look or device is not possible.
        TypeError: an argument is of a wrong type.
        Error: the image cannot be read.
    """
    from lapic.codec import arguments
    from lapic.codec.model.codec_weights import pick_device
    from lapic.codec.picture.tensors import no_progress
    from lapic.codec.restore import restoration

    arguments.one_of("task", task, ("auto", *restoration.RESTORERS))
    scale = arguments.one_of("scale", scale, (2, 4))
    arguments.one_of("look", look, tuple(restoration.LOOKS))
    strength = arguments.number("strength", strength, 0, 1)
    arguments.check_image(image)
    where = pick_device(device)

    def repair(pixels: Any) -> Any:
        chosen = restoration.pick_task(image, pixels) if task == "auto" else task
        return restoration.restore_pixels(pixels, chosen, where, strength, scale, look, progress or no_progress)

    return restoration.map_pixels(image, repair)


@isolated
def translate(
    image: "Image.Image", model: ModelName, *, strength: float = 1.0, device: str = "auto", progress: Any = None
) -> "Image.Image":
    """Translate an image into the style that a model has learned.

    Args:
        image: a Pillow image of any mode; alpha and metadata are kept.
        model: weights file of a translator or of an LPTN (`lapic-train translator` makes them), or "grey:FACTOR": the
            mean of the channels times a factor, clipped.
        strength: 0 (change nothing) to 1.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        progress: called as progress(done, total).

    Raises:
        Error: the image or the model cannot be read, or the image is too small for it.
        ValueError: strength, factor or device is not possible.
        TypeError: an argument is of a wrong type.
    """
    from lapic.codec import arguments
    from lapic.codec.model import translator_weights
    from lapic.codec.model.codec_weights import pick_device
    from lapic.codec.picture.tensors import no_progress
    from lapic.codec.restore import restoration, translation

    strength = arguments.number("strength", strength, 0, 1)
    arguments.check_image(image)
    if isinstance(model, str) and model.startswith("grey:"):
        factor = translation.read_factor(model)
        return restoration.map_pixels(image, lambda pixels: translation.grey_density(pixels, factor))
    loaded = translator_weights.load(model, pick_device(device))
    watch = progress or no_progress
    return restoration.map_pixels(
        image, lambda pixels: translation.translate_pixels(loaded, pixels, "", strength, watch)
    )
