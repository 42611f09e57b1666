"""encode, decode, salvage and info: images to the bytes of a .lapic file and back."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lapic.codec.api.types import Info, ModelName, RegionsInfo, Roi, Salvaged
from lapic.codec.arguments import Progress
from lapic.codec.defaults import AUTO_MODEL, DEFAULT_EFFORT, DEFAULT_QUALITY, DEFAULT_TUNE, MAX_PIXELS, TUNES
from lapic.codec.host import isolated

if TYPE_CHECKING:
    from PIL import Image

    from lapic.bitstream import Header


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
    tune: str = DEFAULT_TUNE,
    lanes: bool = False,
    keep_hidden: bool = False,
    roi: Roi | Sequence[Roi] | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Compress an image.

    Args:
        image: a Pillow image of any mode. 16-bit channels become 8-bit, CMYK becomes RGB; alpha is kept losslessly, and
            ICC profile, EXIF and XMP are kept. RGB whose channels are equal is coded as grey and comes back as RGB.
        quality: 1 (smallest) to 100 (best).
        model: "auto" (the shipped model that was trained for the quality and the tune; of drawn pictures, such as text,
            screenshots and patterns, those of the tune "psnr"), name of a shipped model ("eye" and "photo" mean
            "eye-high" and "photo-high" above quality 60), path of a weights file, or name of an own model in one of
            `lapic.codec.model.shipped.model_folders`. A decoder needs that model too.
        tile: edge of the independently coded tiles in pixels, 64 times a power of two up to 2^20, or 0 for one tile; a
            tile, cut at the picture's border, has at most 2^16 places of 16 x 16 pixels.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        size, bpp, psnr: instead of a quality, one target that is searched for: at most so many bytes, about so many
            bits per pixel of the whole file, or about so many dB. A UserWarning says what was found where nothing comes
            within 2 % of the bits or 0.1 dB, as it happens between two models.
        effort: 0 (one pass) to 9, how long to search for a smaller file of the same quality; decoding takes no longer.
        tune: what the file is to be best by: "eye", how it looks (model and search lower square error mixed with
            SSIMULACRA2's terms), or "psnr", square error alone.
        lanes: cut large tiles' data into lanes of about 1.5 KiB, which a decoder on a GPU can decode all at once; files
            grow by 0.4 %.
        keep_hidden: code the colours of fully transparent pixels as they are; else they are replaced by a smooth
            continuation of the colours around them, which takes fewer bytes.
        roi: regions that matter: bits move there from the rest, and the file stays as large as it would be without.
            A mask (an image, or the path of its file, of the picture's size: errors count 4 times as much where it is
            white, less so where it is grey, and as usual where it is black or transparent); a rectangle (x, y, width,
            height) or (x, y, width, height, weight), the weight being how many times as much errors count there, 1 to
            100; "faces", "text" or "auto" (both, or what draws the eye), which need the extra `roi`; or a list of
            these. Weights are lowered where the rest alone cannot pay for the regions.
        progress: called as progress(done, total): with tiles, with pieces of the search if effort is above 0, or with
            the steps of the search for a target.

    Returns:
        The bytes of a .lapic file.

    Raises:
        ValueError: quality, target, tile, effort, tune or device is out of range, more than one target is given, or
            a region does not fit the image.
        TypeError: an argument is of a wrong type.
        Error: the image, a mask or the model cannot be read, no quality reaches the target, or OpenCV or the device is
            missing.
    """
    from lapic.bitstream.container import MAX_EDGE
    from lapic.codec import arguments
    from lapic.codec.encode import encoder
    from lapic.codec.model.codec_weights import load, load_for, pick_device
    from lapic.codec.picture import pillow, planes
    from lapic.codec.picture.drawn import is_drawn
    from lapic.codec.picture.roi import weights_of

    quality = arguments.number("quality", quality, 1, 100)
    targets = [arguments.target(name, value) for name, value in (("size", size), ("bpp", bpp), ("psnr", psnr))]
    effort, tile = arguments.whole("effort", effort, 0, 9), arguments.whole("tile", tile, 0, MAX_EDGE)
    arguments.one_of("tune", tune, TUNES)
    report = arguments.reporter(progress)
    arguments.check_image(image)
    pixels, chunks = pillow.from_pil(image)
    if model == AUTO_MODEL and tune != "psnr" and is_drawn(pixels):
        tune = "psnr"
    pixels, chunks = planes.simplify(pixels, chunks, keep_hidden)
    where = pick_device(device)
    weights = weights_of(roi, pixels)
    if any(value is not None for value in targets):
        from lapic.codec.encode.target import Stretch, encode_to_target
        from lapic.codec.encode.trials import Target
        from lapic.codec.model.shipped import pair_for

        served = pair_for(model, tune) or {str(model): load(model, where).qualities}
        stretches = [Stretch(partial(load, name, where), *qualities) for name, qualities in served.items()]
        return encode_to_target(stretches, pixels, Target(*targets), tile, chunks, effort, lanes, tune, report, weights)
    loaded = load_for(model, quality, where, tune)
    if weights is not None:
        from lapic.codec.encode.target import encode_emphasised

        return encode_emphasised(loaded, pixels, quality, weights, tile, chunks, effort, lanes, tune, report)
    data: bytes = encoder.encode_pixels(loaded, pixels, quality, tile, chunks, report, effort, lanes=lanes, tune=tune)
    return data


@isolated
def decode(
    data: bytes | bytearray | memoryview,
    *,
    model: ModelName | None = None,
    scale: int = 1,
    crop: tuple[int, int, int, int] | None = None,
    device: str = "auto",
    max_pixels: int | None = MAX_PIXELS,
    progress: Progress | None = None,
    realism: float = 0.0,
) -> "Image.Image":
    """Decompress a .lapic file.

    Args:
        data: all bytes of the file.
        model: name or weights file of the model that the file needs; None looks for it by its id among the shipped ones
            and in the folders of own models, see `lapic.codec.model.shipped.model_folders`.
        scale: 1, 2, 4 or 8 for a picture of 1/scale of the size, rounded up; smaller is faster.
        crop: (x, y, width, height), a part of the full-size picture in its pixels; only what it needs is decoded.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        max_pixels: refuse files that declare more, or larger crops; None for no limit.
        progress: called as progress(done, total).
        realism: 0 for the picture nearest to the original, to 1 for the one that looks most like a photo: texture that
            the file could not afford is invented; at quality under about 30 more than texture may be.

    Returns:
        An image of mode L, LA, RGB or RGBA; ICC profile, EXIF and XMP are in its `info`.

    Raises:
        Error: not a lapic file, damaged (see `salvage`), too large, or made for a model that is not installed, is not
            the given one or, with `realism`, has no realistic decoder, or the device is missing.
        ValueError: scale, crop, realism or device is not possible.
        TypeError: an argument is of a wrong type.
    """
    return _decode(data, model, scale, crop, device, max_pixels, progress, realism, damaged=False).image


@isolated
def salvage(
    data: bytes | bytearray | memoryview,
    *,
    model: ModelName | None = None,
    scale: int = 1,
    crop: tuple[int, int, int, int] | None = None,
    device: str = "auto",
    max_pixels: int | None = MAX_PIXELS,
    progress: Progress | None = None,
    realism: float = 0.0,
) -> Salvaged:
    """Decompress what is whole of a damaged or truncated .lapic file: each tile that is not is filled from its
    surroundings.

    Args:
        data, model, scale, crop, device, max_pixels, progress, realism: as for `decode`.

    Returns:
        The image, and which tiles of it were filled.

    Raises:
        Error: as `decode` does, but for damaged tiles; a damaged header cannot be salvaged.
        ValueError, TypeError: as `decode` does.
    """
    return _decode(data, model, scale, crop, device, max_pixels, progress, realism, damaged=True)


def _decode(
    data: bytes | bytearray | memoryview,
    model: ModelName | None,
    scale: int,
    crop: tuple[int, int, int, int] | None,
    device: str,
    max_pixels: int | None,
    progress: Progress | None,
    realism: float,
    damaged: bool,
) -> Salvaged:
    """Decode; `damaged` is whether damaged tiles are filled instead of raising `Error`."""
    import numpy as np
    from PIL import Image

    from lapic.codec import arguments
    from lapic.codec.decode import decoder
    from lapic.codec.decode.alpha import alpha_of
    from lapic.codec.model.codec_weights import load_by_id, pick_device
    from lapic.codec.picture import pillow

    scale, realism = arguments.one_of("scale", scale, (1, 2, 4, 8)), arguments.number("realism", realism, 0, 1)
    crop = None if crop is None else arguments.rectangle("crop", crop)
    if max_pixels is not None:
        limit = arguments.number("max_pixels", max_pixels, 0, float("inf"))
        max_pixels = None if limit == float("inf") else int(limit)
    report = arguments.reporter(progress)
    header, tiles = decoder.read(data, crop, max_pixels, salvage=damaged)
    loaded = load_by_id(header.model, pick_device(device), given=model)
    alpha = pillow.read_alpha(header.chunks, (header.width, header.height), max_pixels)
    holes: list[Any] = []
    view = decoder.View(scale, crop, realism=realism)
    pixels = decoder.decode_pixels(loaded, header, tiles, view, report, holes if damaged else None)
    if alpha is not None:
        alpha = Image.fromarray(alpha_of(np.asarray(alpha), view, header))
    missing = [(hole.left, hole.top, hole.right, hole.bottom) for hole in holes]
    return Salvaged(pillow.to_pil(pixels, alpha, header.chunks), missing)


def _regions(header: "Header") -> RegionsInfo | None:
    """What `info` says of a quality map."""
    from lapic.bitstream.container import QUALITY_MAP, QUALITY_ONE
    from lapic.bitstream.quality_map import read_map

    if QUALITY_MAP not in header.chunks:
        return None
    qualities = read_map(header) / QUALITY_ONE
    return {"share": float((qualities > header.quality).mean()), "quality": float(qualities.max())}


def info(data: bytes | bytearray | memoryview, *, model: ModelName | None = None) -> Info:
    """What is in a .lapic file, without decoding it.

    Args:
        data: all bytes of the file.
        model: as for `decode`; nothing but its name and id is read.

    Returns:
        A dict of the form of `Info`.

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
        "regions": _regions(header),
        "bpp": 8 * len(data) / (header.width * header.height),
        "bytes": {
            "total": len(data),
            "header": len(data) - payload - sum(metadata.values()),
            **metadata,
            "payload": payload,
        },
    }
