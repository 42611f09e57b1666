"""The codecs that can be measured, each a few lines over a maintained package, lapic first."""

import importlib
import io
import re
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image, features

from lapic.bitstream import Error
from lapic.codec.compat import import_compressai
from lapic.codec.evaluation import own
from lapic.codec.evaluation.codec import Codec, Pixels, Unavailable

AVIF_SPEED = 6  # Pillow's default
JXL_EFFORT = 7  # cjxl's default


def _save(pixels: Pixels, form: str, **settings: Any) -> bytes:
    """Encode with Pillow (and the plugins that are imported)."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **settings)
    return out.getvalue()


def _open(data: bytes) -> Pixels:
    """Decode with Pillow (and the plugins that are imported) to (H, W, 3)."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def _open_on(threads: int, settings: Any, name: str) -> Callable[[bytes], Pixels]:
    """`_open` on so many threads, for a plugin that takes their number from a variable of the module `settings`."""

    def decode(data: bytes) -> Pixels:
        before = getattr(settings, name)
        setattr(settings, name, threads)
        try:
            return _open(data)
        finally:
            setattr(settings, name, before)

    return decode


def _pillow(form: str, feature: str) -> str:
    """Version text of a library inside Pillow, or `Unavailable`."""
    if not features.check(feature):
        raise Unavailable(f"this Pillow was built without {form}")
    return f"Pillow {Image.__version__}, {features.version(feature) or form}"


def _plugin(module: str, package: str) -> str:
    """Import a Pillow plugin and give its version text, or `Unavailable`."""
    try:
        importlib.import_module(module)
    except ImportError:
        raise Unavailable(f"pip install {package}") from None
    return f"{package} {version(package)}"


def _by_pillow(
    name: str, label: str, suffix: str, ladder: tuple[float, ...], span: tuple[float, float], text: str, form: str,
    decode: Callable[[bytes], Pixels] = _open, **settings: Any,
) -> Codec:  # fmt: skip
    """A codec that Pillow writes as `form` at an integer `quality`, with fixed further settings."""

    def encode(pixels: Pixels, quality: float) -> bytes:
        return _save(pixels, form, quality=round(quality), **settings)

    return Codec(name, label, suffix, ladder, span, 1, text, encode, decode)


def _jpeg(threads: int) -> Codec:
    ladder, span, text = (5, 12, 25, 50, 75, 92), (1, 95), _pillow("JPEG", "jpg")
    return _by_pillow("jpeg", "JPEG (4:2:0)", ".jpg", ladder, span, text, "JPEG", subsampling="4:2:0")


def _jpeg2000(threads: int) -> Codec:
    settings = {"irreversible": True, "mct": 1, "quality_mode": "dB"}
    return Codec(
        name="jpeg2000",
        label="JPEG 2000",
        suffix=".jp2",
        ladder=(25, 28, 31, 34, 37, 41),
        span=(18, 60),
        step=0.25,
        version=_pillow("JPEG 2000", "jpg_2000"),
        encode=lambda pixels, quality: _save(pixels, "JPEG2000", quality_layers=[quality], **settings),
        decode=_open,
    )


def _webp(threads: int) -> Codec:
    ladder, span, text = (1, 15, 40, 65, 85, 95), (0, 100), _pillow("WebP", "webp")
    return _by_pillow("webp", "WebP (4:2:0)", ".webp", ladder, span, text, "WEBP")


def _avif(threads: int, variant: str = "") -> Codec:
    """AVIF 4:4:4 at speed 6, or with `variant` "s3" at speed 3."""
    if variant and not re.fullmatch(r"s\d|s10", variant):
        raise Error(f"avif@{variant} is not like avif@s3 (speed 0 to 10)")
    speed = int(variant[1:] or AVIF_SPEED)
    ladder, span, text = (15, 30, 45, 60, 75, 90), (0, 99), _pillow("AVIF", "avif")
    from PIL import AvifImagePlugin

    library, tune = _libaom(), "tune=iq" if _still_tune_is_iq() else "default tune"
    settings = {"subsampling": "4:4:4", "max_threads": threads, "speed": speed}
    label = f"AVIF, speed {speed} ({library}, {tune})"
    text = f"{text.replace(', ', ', libavif ')}, {library}, 4:4:4, speed {speed}, {tune} by default"
    name, decode = f"avif@{variant}" if variant else "avif", _open_on(threads, AvifImagePlugin, "DEFAULT_MAX_THREADS")
    return _by_pillow(name, label, ".avif", ladder, span, text, "AVIF", decode, **settings)


def _libaom() -> str:
    """Name and version of the encoder inside Pillow's libavif."""
    from PIL import _avif as library

    found = re.search(r"aom \[enc\]:v?([\w.-]+)", library.codec_versions())
    return f"libaom {found[1]}" if found else library.codec_versions()


@lru_cache(maxsize=1)
def _still_tune_is_iq() -> bool:
    """Whether the encoder's default for still pictures is `tune=iq`: it then makes the same file of a picture."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    try:
        return _save(pixels, "AVIF", quality=50) == _save(pixels, "AVIF", quality=50, advanced={"tune": "iq"})
    except (ValueError, OSError):  # an encoder that has no such tune
        return False


def _jpegli(threads: int) -> Codec:
    """JPEG as Google's encoder jpegli writes it."""
    try:
        import pyjpegli
    except ImportError:
        raise Unavailable("pip install pyjpegli") from None

    def encode(pixels: Pixels, quality: float) -> bytes:
        height, width = pixels.shape[:2]
        return pyjpegli.encode(np.ascontiguousarray(pixels), width, height, quality=round(quality))

    ladder, text = (5, 12, 25, 50, 75, 92), f"pyjpegli {version('pyjpegli')}, 4:2:0"
    return Codec("jpegli", "JPEG by jpegli (4:2:0)", ".jpg", ladder, (1, 100), 1, text, encode, _open)


def _jxl(threads: int) -> Codec:
    ladder, span, text = (10, 30, 50, 70, 85, 94), (1, 99), _plugin("pillow_jxl", "pillow-jxl-plugin")
    from pillow_jxl import JpegXLImagePlugin

    settings = {"effort": JXL_EFFORT, "num_threads": threads}
    text, decode = f"{text}, effort {JXL_EFFORT}", _open_on(threads, JpegXLImagePlugin, "DECODE_THREADS")
    return _by_pillow("jxl", f"JPEG XL, effort {JXL_EFFORT}", ".jxl", ladder, span, text, "JXL", decode, **settings)


def _heic(threads: int) -> Codec:
    ladder, span, text = (10, 25, 40, 55, 70, 85), (0, 99), _plugin("pillow_heif", "pillow-heif")
    import pillow_heif

    pillow_heif.register_heif_opener()
    decode = _open_on(threads, pillow_heif.options, "DECODE_THREADS")
    return _by_pillow("heic", "HEIC (4:2:0)", ".heic", ladder, span, text, "HEIF", decode)


@lru_cache(maxsize=8)
def _zoo_model(name: str, quality: int, pretrained: bool) -> Any:
    """A model of CompressAI's zoo, ready to code."""
    import_compressai()
    from compressai.zoo import image_models

    try:
        model = image_models[name](quality=quality, metric="mse", pretrained=pretrained).eval()
    except OSError as error:
        raise Unavailable(f"CompressAI's weights cannot be downloaded ({error})") from None
    model.update()
    return model


def _zoo(name: str, threads: int, pretrained: bool = True) -> Codec:
    """A model of CompressAI's zoo. Its file: the strings, each after its length, and two numbers for the size."""
    import torch
    from torch.nn import functional as F

    try:
        import_compressai()
    except ModuleNotFoundError:
        raise Unavailable("pip install compressai") from None
    _zoo_model(name, 1, pretrained)

    def encode(pixels: Pixels, quality: float) -> bytes:
        height, width = pixels.shape[:2]
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        x = F.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")
        with torch.inference_mode():
            found = _zoo_model(name, round(quality), pretrained).compress(x)
        head = np.array([height, width, round(quality), *found["shape"]], "<u2").tobytes()
        strings = [group[0] for group in found["strings"]]
        return head + b"".join(len(string).to_bytes(4, "little") + string for string in strings)

    def decode(data: bytes) -> Pixels:
        height, width, quality, *shape = np.frombuffer(data, "<u2", 5).tolist()
        strings, at = [], 10
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            strings.append([data[at + 4 : at + 4 + size]])
            at += 4 + size
        with torch.inference_mode():
            x = _zoo_model(name, quality, pretrained).decompress(strings, tuple(shape))["x_hat"]
        x = x[0, :, :height, :width].clamp(0, 1) * 255
        return x.round().to(torch.uint8).permute(1, 2, 0).numpy()

    text = f"CompressAI {version('compressai')}"
    return Codec(name, name, ".bin", (1, 2, 3, 4, 6, 8), (1, 8), 1, text, encode, decode)


MAKERS: dict[str, Callable[[int], Codec]] = {
    "lapic": own.lapic,
    "jpeg": _jpeg,
    "jpegli": _jpegli,
    "jpeg2000": _jpeg2000,
    "webp": _webp,
    "avif": _avif,
    "jxl": _jxl,
    "heic": _heic,
    "bmshj2018-hyperprior": partial(_zoo, "bmshj2018-hyperprior"),
    "mbt2018-mean": partial(_zoo, "mbt2018-mean"),
}
VARIANTS: dict[str, Callable[[int, str], Codec]] = {"lapic": own.lapic, "avif": _avif}
DEFAULT = ("lapic", "jpeg", "webp", "avif", "jxl")


@lru_cache(maxsize=32)
def make(name: str, threads: int = 1) -> Codec:
    """The codec of this name, told to use so many threads where it can be told.

    Raises:
        Unavailable: its package or weights are missing.
        Error: there is no codec of this name.
    """
    base, _, variant = name.partition("@")
    if variant and base in VARIANTS:
        return VARIANTS[base](threads, variant)
    if name not in MAKERS:
        raise Error(f"there is no codec {name!r}: choose from {', '.join(MAKERS)}")
    return MAKERS[name](threads)
