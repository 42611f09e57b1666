"""From a trained model to the weights file that ships."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bitstream import Tables
from codec import postfilter
from codec.lptn import LPTN
from codec.model import load, part, read_weights, save
from codec.network import Config
from codec.shipped import WEIGHTS
from codec.translator import Translator
from codec.translators import config_of
from codec.translators import save as save_translator
from training.calibration import EVERY, calibrate, prior_tables, refit
from training.curvature import with_curvature
from training.data import Crops
from training.loop import blend
from training.rate_distortion import TrainableCodec
from training.whitening import WhitenedTranslator

PROBED, PROBED_EDGE = 32, 256  # pictures on which curvatures are measured, and their edge: with 8 they vary by a tenth


def _card(state: dict, options: dict) -> dict[str, str]:
    """Provenance: steps and hours of this run and of those whose weights it started from."""
    brought = options["brought"]
    steps, hours = int(state["step"] + brought["steps"]), round(state["seconds"] / 3600 + brought["hours"], 2)
    qualities = {key: str(options[key]) for key in ("lowest", "highest") if key in options}
    return {"steps": str(steps), "hours": str(hours)} | qualities


def export_translator(checkpoint: Path, path: Path) -> None:
    """Write the averaged translator of a run (training.restoration, training.translation) as a weights file."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    options = json.loads((checkpoint.parent / "options.json").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = part(state["average"], "net")
    if options["kind"] == "lptn":
        net: Translator | LPTN = LPTN(**options["config"])
    else:
        net = WhitenedTranslator(config_of(options["config"]))
    net.load_state_dict(weights)
    card = _card(state, options) | options.get("card", {})
    save_translator(path, net.fold() if isinstance(net, WhitenedTranslator) else net, card)


def export_checkpoint(
    checkpoint: Path,
    name: str,
    data: Path | None = None,
    folder: Path | None = None,
    crops: int = 64,
    share: float = 1.0,
) -> tuple[Path, bytes]:
    """Write `checkpoint`'s averaged model as NAME.safetensors into `folder` (the package's weights by default).

    Args:
        data: training pictures for `calibrate`; the run's own if None.
        crops: how many crops of 512 x 512 pixels to take from them.
        share: of the way from the weights that the run started from to its end, 0..1. Part of it keeps most of what a
            run on other pictures taught and forgets next to nothing (WiSE-FT: Wortsman et al., CVPR 2022).

    Returns:
        The file and the model id.

    Raises:
        ValueError: the integer bound does not hold, or the run of which a share is wanted started from nothing.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    options = json.loads((checkpoint.parent / "options.json").read_text())
    average = TrainableCodec(Config(**options["config"]))
    average.load_state_dict(state["average"])
    if share < 1:
        _draw_back(average, options.get("init"), share)
    store = Crops(data or Path(options["data"]), 512, seed=1, max_gib=1.0)
    pixels = torch.from_numpy(store.batch(0, crops))
    qualities = (options.get("lowest", EVERY[0]), options.get("highest", EVERY[1]))
    tables, centroid = calibrate(average, pixels, qualities=qualities)
    path = (folder or WEIGHTS) / f"{name}.safetensors"

    integers, density = average.hyper_synthesis.integers(), average.density.state_dict()

    def write(integers: dict[str, Tensor], tables: Tables, curvature: Tensor) -> bytes:
        card = _card(state, options)
        return save(path, average.config, average.transforms, integers, tables, centroid, curvature, density, card)

    write(integers, tables, torch.ones_like(average.transforms.log_gain))
    model = load.__wrapped__(str(path))  # not to be kept: its tables change
    model = with_curvature(model, pixels[:PROBED, :, :PROBED_EDGE, :PROBED_EDGE])
    tables, scales = refit(model, prior_tables(average), pixels, qualities=qualities)
    return path, write(integers | {postfilter.SCALE: scales}, tables, model.curvature)


def _draw_back(average: TrainableCodec, init: str | None, share: float) -> None:
    """Leave the averaged model at a share of the way from the weights `init`."""
    if not init:
        raise ValueError("a share of a run is from weights to weights, and this run started from none")
    blend(average, trainable(init)[0], share)


def export_synthesis(
    checkpoint: Path, name: str, folder: Path | None = None, crops: int = PROBED
) -> tuple[Path, bytes]:
    """Write a model as NAME.safetensors, as it was but for the averaged synthesis of a run (training.decoder), whose
    curvatures are measured on so many crops of the run's pictures.

    Returns:
        The file and the model id, which is that of before.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    options = json.loads((checkpoint.parent / "options.json").read_text())
    old, (average, _) = load(options["model"]), trainable(options["model"])
    average.transforms.synthesis.load_state_dict(part(state["average"], "net"))
    path = (folder or WEIGHTS) / f"{name}.safetensors"
    density = average.density.state_dict()
    card = _card(state, options) | {key: old.card[key] for key in ("lowest", "highest") if key in old.card}
    pixels = torch.from_numpy(Crops(Path(options["data"]), PROBED_EDGE, seed=1, max_gib=1.0).batch(0, crops))
    new = with_curvature(replace(old, transforms=average.transforms), pixels)
    save(path, new.config, new.transforms, new.integers, new.tables, new.centroid, new.curvature, density, card)
    return path, new.identity


def trainable(name: str) -> tuple[TrainableCodec, dict[str, str]]:
    """A model in training form and its card, from a shipped name or a weights file: the inverse of an export."""
    shipped = WEIGHTS / f"{name}.safetensors"
    tensors, metadata = read_weights(shipped if shipped.exists() else Path(name))
    model = TrainableCodec(Config(**json.loads(metadata["config"])))
    model.transforms.load_state_dict(part(tensors, "transforms"))
    model.density.load_state_dict(part(tensors, "density"))
    model.hyper_synthesis.set_integers(part(tensors, "integers"))
    return model, json.loads(metadata["card"])
