"""From a trained model to the weights file that ships."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from lapic.bitstream import Tables
from lapic.codec import files
from lapic.codec.decode import picture_filter
from lapic.codec.model.codec_weights import load
from lapic.codec.model.shipped import WEIGHTS, find_model
from lapic.codec.model.translator_weights import config_of
from lapic.codec.model.translator_weights import save as save_translator
from lapic.codec.model.weights_file import float_tensors, part, read_weights, save
from lapic.codec.nets.config import Config
from lapic.codec.nets.lptn import LPTN
from lapic.codec.nets.translator import Translator
from lapic.training import loop
from lapic.training.calibration import calibrate, prior_tables, refit
from lapic.training.curvature import with_curvature
from lapic.training.data import Crops
from lapic.training.qualities import ALL_QUALITIES
from lapic.training.rate_distortion import TrainableCodec
from lapic.training.rounding import round_to_bytes
from lapic.training.run_files import check_identity, check_start, damaged_checkpoint, read_options
from lapic.training.whitening import WhitenedTranslator

# Pictures on which curvatures are measured, and their edge in pixels: with 8 pictures they vary by a tenth.
PROBED, PROBED_EDGE = 32, 256


def _card(state: dict, options: dict) -> dict[str, str]:
    """Provenance: steps and hours of this run and of its prior training."""
    prior = options["prior_training"]
    steps, hours = int(state["step"] + prior["steps"]), round(state["seconds"] / 3600 + prior["hours"], 2)
    return {"steps": str(steps), "hours": str(hours)}


def _codec_card(state: dict, options: dict) -> dict[str, str]:
    """Provenance of a codec, with the qualities that it is for."""
    return _card(state, options) | {key: str(options[key]) for key in ("lowest", "highest") if key in options}


def _read_run(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint's state and its run's options. Raises `Error` if one of them is damaged."""
    with damaged_checkpoint(checkpoint):
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return state, read_options(checkpoint.parent)


def _averaged(state: dict[str, Any], options: dict[str, Any]) -> TrainableCodec:
    """The averaged codec of a checkpoint."""
    average = TrainableCodec(Config(**options["config"]))
    average.load_state_dict(state["average"])
    return average


def _start(options: dict[str, Any]) -> tuple[str, str | None]:
    """By which option a run of a codec started from a finished one, --init or for the entropy model --model, and the
    name that it has; None if it started from none."""
    option = "init" if options.get("init") else "model"
    return option, options.get(option)


def _share_start(options: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether two runs of codecs of one shape started from the same weights, by the digests of these where both runs
    have noted them, else by their names."""
    (option, name), (its_option, its_name) = _start(options), _start(others)
    digests = [one.get("sha256", {}).get(key) for one, key in ((options, option), (others, its_option))]
    same = digests[0] == digests[1] if all(digests) else name == its_name
    return bool(name) and same and options["config"] == others.get("config")


def _place(name: str, folder: Path | None) -> Path:
    """Where the weights of a name go: into a folder, which is made if there is none, or the package's weights."""
    place = (folder or WEIGHTS) / f"{name}.safetensors"
    files.make_parent(str(place))
    return place


def export_translator(checkpoint: Path, path: Path) -> None:
    """Write the averaged translator of a run (training.restoration, training.translation) as a weights file."""
    state, options = _read_run(checkpoint)
    files.make_parent(str(path))
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
    interpolate: float = 1.0,
    beside: Sequence[Path] = (),
) -> tuple[Path, bytes]:
    """Write `checkpoint`'s averaged model as NAME.safetensors into `folder` (the package's weights by default).

    Args:
        data: training pictures for `calibrate`; the run's own if None.
        crops: how many crops of 512 x 512 pixels to take from them.
        interpolate: between the weights that the run started from, 0, and its last, 1. Values between keep most of what
            a run on other pictures gains and lose little elsewhere (WiSE-FT: Wortsman et al., CVPR 2022).
        beside: checkpoints of other runs from the same weights. The mean of all is better than each (model soups:
            Wortsman et al., ICML 2022).

    Returns:
        The file and the model id.

    Raises:
        ValueError: the integer bound does not hold, `interpolate` is below 1 but the run did not start from weights of
            the same shape, or one of `beside` started from others.
        Error: a file of the run is damaged, or `interpolate` is below 1 and the weights that the run started from have
            changed since.
    """
    state, options = _read_run(checkpoint)
    path = _place(name, folder)
    average = _averaged(state, options)
    for number, other in enumerate(beside, start=2):
        its_state, its_options = _read_run(other)
        if not _share_start(options, its_options):
            raise ValueError(f"{other} is of a run that started from other weights")
        loop.interpolate(average, _averaged(its_state, its_options), 1 - 1 / number)
        state |= {key: state[key] + its_state[key] for key in ("step", "seconds")}
    if interpolate < 1:
        interpolate_weights(average, options, interpolate)
    store = Crops(data or Path(options["data"]), 512, seed=1, max_gib=1.0)
    pixels = torch.from_numpy(store.batch(0, crops))
    qualities = (options.get("lowest", ALL_QUALITIES[0]), options.get("highest", ALL_QUALITIES[1]))
    round_to_bytes(average, pixels[:, :, :PROBED_EDGE, :PROBED_EDGE], qualities)
    tables, centroid = calibrate(average, pixels, qualities=qualities)
    integers, density = average.hyper_synthesis.integers(), average.density.state_dict()

    def write(path: Path, integers: dict[str, Tensor], tables: Tables, curvature: Tensor) -> bytes:
        card = _codec_card(state, options)
        return save(path, average.config, average.transforms, integers, tables, centroid, curvature, density, card)

    with TemporaryDirectory() as draft_folder:
        draft = Path(draft_folder) / path.name
        write(draft, integers, tables, torch.ones_like(average.transforms.log_gain))
        model = load.__wrapped__(str(draft))  # not cached, because its tables change
        model = with_curvature(model, pixels[:PROBED, :, :PROBED_EDGE, :PROBED_EDGE])
        tables, scales = refit(model, prior_tables(average), pixels, qualities=qualities)
    return path, write(path, integers | {picture_filter.SCALE: scales}, tables, model.curvature)


def interpolate_weights(average: TrainableCodec, options: dict[str, Any], keep: float) -> None:
    """Move the averaged model of a run with these options towards the weights that it started from and keep the
    fraction `keep`, 0..1, of its own."""
    option, start = _start(options)
    if not start:
        raise ValueError("interpolation is between two sets of weights, and this run started from none")
    check_start(options, option, start)
    model, _ = trainable(start)
    if model.config != average.config:
        raise ValueError(f"interpolation is between networks of one shape, and {start} lacks parts of this run's")
    loop.interpolate(average, model, keep)


def export_synthesis(
    checkpoint: Path, name: str, data: Path | None = None, folder: Path | None = None, crops: int = PROBED
) -> tuple[Path, bytes]:
    """Write a run's model (training.decoder) as NAME.safetensors with its averaged synthesis, whose curvatures are
    measured on `crops` crops of the pictures in `data`, of the run's own if that is None.

    Returns:
        The file and the model id, which does not change.

    Raises:
        Error: the codec of the run has another id now.
    """
    state, options = _read_run(checkpoint)
    path = _place(name, folder)
    old, (average, _) = load(options["model"]), trainable(options["model"])
    check_identity(options, options["model"], old.identity)
    average.transforms.synthesis.load_state_dict(part(state["average"], "net"))
    density = average.density.state_dict()
    card = _codec_card(state, options) | {key: old.card[key] for key in ("lowest", "highest") if key in old.card}
    pixels = torch.from_numpy(Crops(data or Path(options["data"]), PROBED_EDGE, seed=1, max_gib=1.0).batch(0, crops))
    round_to_bytes(average, pixels, tuple(map(round, old.qualities)))
    new = with_curvature(replace(old, transforms=average.transforms), pixels)
    save(path, new.config, new.transforms, new.integers, new.tables, new.centroid, new.curvature, density, card)
    return path, new.identity


def trainable(name: str) -> tuple[TrainableCodec, dict[str, str]]:
    """A model in training form and its card, from a shipped name or a weights file: the inverse of an export."""
    tensors, metadata = read_weights(find_model(name))
    model = TrainableCodec(Config(**json.loads(metadata["config"])))
    model.transforms.load_state_dict(float_tensors(tensors))
    model.density.load_state_dict(part(tensors, "density"))
    model.hyper_synthesis.set_integers(part(tensors, "integers"))
    return model, json.loads(metadata["card"])
