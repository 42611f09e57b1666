"""lapic as one of the codecs that are measured: with an effort, a tune, models and a realism of its own."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lapic import codec
from lapic.bitstream import Error
from lapic.codec import api, defaults
from lapic.codec.evaluation.codec import Codec, Pixels, Unavailable

LADDER = (5, 20, 40, 60, 80, 100)
PARTS = "e7 (effort 0 to 9), r0.5 (realism 0 to 1), psnr (tune) or model=FILE, joined by +"


def lapic(threads: int, variant: str = "") -> Codec:
    """lapic with the settings that a variant's name joins by "+".

    Args:
        variant: "e7" encodes with effort 7, "psnr" tunes so, "r0.5" decodes with realism 0.5, "model=FILE" encodes and
            decodes with these weights, at their qualities; further "model=FILE" serve further qualities.

    Raises:
        Error: the variant says nothing that can be set, or a weights file cannot be read.
        Unavailable: there is no realistic decoder.
    """
    given = _settings(variant)
    settings: dict[str, Any] = {"effort": defaults.DEFAULT_EFFORT, "tune": defaults.DEFAULT_TUNE} | given
    realism = settings.pop("realism", 0.0)
    models = _models(settings.pop("model", []), settings["tune"])
    low, high = (1.0, 100.0) if not models else (_qualities(models[0])[0], _qualities(models[-1])[1])
    encoded = f"effort {settings['effort']}, tune {settings['tune']}"

    def encode(pixels: Pixels, quality: float) -> bytes:
        model = _serving(models, quality) if models else defaults.AUTO_MODEL
        return api.encode(Image.fromarray(pixels), quality, model=model, **settings)

    def decode(data: bytes) -> Pixels:
        model = _serving(models, api.info(data)["quality"]) if models else None
        return np.asarray(api.decode(data, model=model, max_pixels=None, realism=realism).convert("RGB"))

    return Codec(
        name=f"lapic@{variant}" if variant else "lapic",
        label=", ".join(["lapic", *(_shown(key, value) for key, value in given.items())]),
        suffix=".lapic",
        ladder=_ladder(low, high),
        span=(low, high),
        step=1 / 256,
        version=f"lapic {codec.__version__}, {encoded}, {_weights(models, realism)}",
        encode=encode,
        decode=decode,
        encoder="@".join(["lapic", *_without_realism(variant)]) if realism else None,
    )


def _ladder(low: float, high: float) -> tuple[float, ...]:
    """The qualities from `low` to `high` that are measured by default; these two and the middle if `LADDER` has not
    even two of them."""
    inside = tuple(quality for quality in LADDER if low <= quality <= high)
    return inside if len(inside) > 1 else tuple(sorted({low, (low + high) / 2, high}))


def _settings(variant: str) -> dict[str, Any]:
    """What a variant's name sets, models as a list. Raises `Error` if it is none."""
    found: dict[str, Any] = {}
    for part in variant.split("+") if variant else []:
        if part in defaults.TUNES:
            found["tune"] = part
            continue
        if part.startswith("model="):
            found.setdefault("model", []).append(part.removeprefix("model="))
            continue
        try:
            key, kind, highest = {"e": ("effort", int, 9), "r": ("realism", float, 1)}[part[:1]]
            found[key] = kind(part[1:])
            if not 0 <= found[key] <= highest:
                raise ValueError
        except (KeyError, ValueError):
            raise Error(f"lapic@{variant} is not like lapic@{PARTS}") from None
    return found


def decodes_with(name: str, quality: float) -> tuple[str, float]:
    """The name or weights file of the model that decodes files of a quality, and the realism that it decodes with.

    Args:
        name: of a codec, "lapic" or "lapic@" with a variant.
    """
    given = _settings(name.partition("@")[2])
    tune = given.get("tune", defaults.DEFAULT_TUNE)
    return _serving(_models(given.get("model", [defaults.AUTO_MODEL]), tune), quality), given.get("realism", 0.0)


def _models(given: list[str], tune: str) -> list[str]:
    """The models that a variant names, of a single name that stands for two (`pair_for`) these."""
    from lapic.codec.model.shipped import pair_for

    pair = pair_for(given[0], tune) if len(given) == 1 else None
    return list(pair) if pair else given


def _without_realism(variant: str) -> list[str]:
    """A variant's name but for its realism, as a list of one, or none if nothing is left."""
    kept = [part for part in variant.split("+") if part in defaults.TUNES or not part.startswith("r")]
    return ["+".join(kept)] if kept else []


def _shown(key: str, value: Any) -> str:
    """A setting in a label."""
    if key == "model":
        return " and ".join(Path(name).stem for name in value)
    return f"{key} {value}" if key == "tune" else f"{key} {value:g}"


def _qualities(model: str) -> tuple[float, float]:
    """The lowest and the highest quality that a weights file serves."""
    from lapic.codec.model.codec_weights import load

    return load(model).qualities


def _serving(models: list[str], quality: float) -> str:
    """The first of the models that reaches so high, or the last."""
    reaching = [name for name in models if _qualities(name)[1] >= quality]
    return reaching[0] if reaching else models[-1]


def _weights(models: list[str], realism: float) -> str:
    """Which weights encode and decode, by the digests of their files and their ids: of all that "auto" chooses from if
    no model is named.

    Raises:
        Unavailable: no realistic decoder is there for them.
    """
    from lapic.codec.decode.realism import REALISM
    from lapic.codec.model.shipped import QUALITY_RANGES, WEIGHTS, find_model, model_id, shipped

    def digest(weights: Path) -> str:
        return sha256(weights.read_bytes()).hexdigest()[:8]

    if models:
        used = [(find_model(name), model_id(find_model(name))) for name in models]
    else:
        automatic = {name for served in QUALITY_RANGES.values() for name in served}
        used = [(WEIGHTS / f"{name}.safetensors", key) for key, name in shipped().items() if name in automatic]
    networks = " ".join(digest(path) for path, _ in used)  # ids leave out what makes pixels
    text = f"weights {networks}, models {', '.join(f'{path.stem} {key.hex()}' for path, key in used)}"
    if realism:
        realistic = [REALISM / path.name for path, _ in used]
        if not all(path.exists() for path in realistic):
            raise Unavailable("there is no realistic decoder for the model")
        text += f", realism {' '.join(map(digest, realistic))}"
    return text
