"""The codecs that can be measured, each a few lines over a maintained package, lapic first."""

import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from lapic import codec
from lapic.bitstream import Error
from lapic.codec import api, defaults
from lapic.codec.compat import import_compressai

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Codec:
    """One codec at fixed settings.

    `encode(pixels, quality)` turns (H, W, 3) RGB into the bytes of a file, `decode` turns them back; a higher
    `quality` means a larger file. `ladder` are the qualities measured by default, `span` the lowest and the highest
    that there are, `step` their granularity. `encoder` names the codec whose files these are, if it is another.
    """

    name: str
    label: str
    suffix: str
    ladder: tuple[float, ...]
    span: tuple[float, float]
    step: float
    version: str
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    encoder: str | None = None

    @property
    def base(self) -> str:
        """The name without its variant: "lapic" for "lapic@e7"."""
        return self.name.partition("@")[0]


class Unavailable(Exception):
    """A codec's package or weights are not there; the message says which and what to do."""


def _save(pixels: Pixels, form: str, **settings: Any) -> bytes:
    """Encode with Pillow (and the plugins that are imported)."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **settings)
    return out.getvalue()


def _open(data: bytes) -> Pixels:
    """Decode with Pillow (and the plugins that are imported) to (H, W, 3)."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


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


def _lapic(threads: int, variant: str = "") -> Codec:
    """lapic, or with `variant` "e7" encoded with effort 7, with "ssim" tuned so, "r0.5" decoded with realism 0.5."""
    from lapic.codec.decode.realism import REALISM
    from lapic.codec.model.shipped import WEIGHTS, shipped

    def digest(weights: Path) -> str:
        return sha256(weights.read_bytes()).hexdigest()[:8]

    names = list(shipped().values())
    models = ", ".join(f"{name} {key.hex()}" for key, name in shipped().items())
    networks = " ".join(digest(WEIGHTS / f"{name}.safetensors") for name in names)  # ids leave out what makes pixels
    given = _setting(variant) if variant else {}
    settings: dict[str, Any] = {"effort": defaults.DEFAULT_EFFORT, "tune": "psnr"} | given
    realism = settings.pop("realism", 0.0)
    if realism:
        realistic = [REALISM / f"{name}.safetensors" for name in names]
        if not all(path.exists() for path in realistic):
            raise Unavailable("there is no realistic decoder for the model")
        models += f", realism {' '.join(map(digest, realistic))}"
    encoded = f"effort {settings['effort']}" + (f", tune {settings['tune']}" if settings["tune"] != "psnr" else "")
    shown = [f"{key} {value}" if key == "tune" else f"{key} {value:g}" for key, value in given.items()]
    return Codec(
        name=f"lapic@{variant}" if variant else "lapic",
        label=", ".join(["lapic", *shown]),
        suffix=".lapic",
        ladder=(5, 20, 40, 60, 80, 100),
        span=(1, 100),
        step=1 / 256,
        version=f"lapic {codec.__version__}, {encoded}, weights {networks}, models {models}",
        encode=lambda pixels, quality: api.encode(Image.fromarray(pixels), quality, **settings),
        decode=lambda data: np.asarray(api.decode(data, max_pixels=None, realism=realism).convert("RGB")),
        encoder="lapic" if realism else None,
    )


def _setting(variant: str) -> dict[str, Any]:
    """What a variant's name sets. Raises `Error` if it is none."""
    if variant in defaults.TUNES:
        return {"tune": variant}
    try:
        key, kind = {"e": ("effort", int), "r": ("realism", float)}[variant[:1]]
        return {key: kind(variant[1:])}
    except (KeyError, ValueError):
        raise Error(f"lapic@{variant} is not like lapic@e7 (effort), lapic@r0.5 (realism) or lapic@ssim") from None


def _by_pillow(
    name: str, label: str, suffix: str, ladder: tuple[float, ...], span: tuple[float, float], text: str, form: str,
    **settings: Any,
) -> Codec:  # fmt: skip
    """A codec that Pillow writes as `form` at an integer `quality`, with fixed further settings."""

    def encode(pixels: Pixels, quality: float) -> bytes:
        return _save(pixels, form, quality=round(quality), **settings)

    return Codec(name, label, suffix, ladder, span, 1, text, encode, _open)


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


def _avif(threads: int) -> Codec:
    ladder, span, text = (15, 30, 45, 60, 75, 90), (0, 99), _pillow("AVIF", "avif")
    settings = {"subsampling": "4:4:4", "max_threads": threads}
    return _by_pillow("avif", "AVIF (4:4:4)", ".avif", ladder, span, text, "AVIF", **settings)


def _jxl(threads: int) -> Codec:
    ladder, span, text = (10, 30, 50, 70, 85, 94), (1, 99), _plugin("pillow_jxl", "pillow-jxl-plugin")
    return _by_pillow("jxl", "JPEG XL", ".jxl", ladder, span, text, "JXL", num_threads=threads)


def _heic(threads: int) -> Codec:
    ladder, span, text = (10, 25, 40, 55, 70, 85), (0, 99), _plugin("pillow_heif", "pillow-heif")
    import pillow_heif

    pillow_heif.register_heif_opener()
    return _by_pillow("heic", "HEIC (4:2:0)", ".heic", ladder, span, text, "HEIF")


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
    "lapic": _lapic,
    "jpeg": _jpeg,
    "jpeg2000": _jpeg2000,
    "webp": _webp,
    "avif": _avif,
    "jxl": _jxl,
    "heic": _heic,
    "bmshj2018-hyperprior": partial(_zoo, "bmshj2018-hyperprior"),
    "mbt2018-mean": partial(_zoo, "mbt2018-mean"),
}
DEFAULT = ("lapic", "jpeg", "webp", "avif", "jxl")


@lru_cache(maxsize=32)
def make(name: str, threads: int = 1) -> Codec:
    """The codec of this name, told to use so many threads where it can be told.

    Raises:
        Unavailable: its package or weights are missing.
        Error: there is no codec of this name.
    """
    base, _, variant = name.partition("@")
    if base == "lapic" and variant:
        return _lapic(threads, variant)
    if name not in MAKERS:
        raise Error(f"there is no codec {name!r}: choose from {', '.join(MAKERS)}")
    return MAKERS[name](threads)
