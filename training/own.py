"""A model of one's own photos: trained on from a shipped one, exported and measured beside it, within a given time.

The shipped model is measured first. Its time tells how much to leave for the export and for measuring the new one; what
is left is for training.
"""

import math
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.console import stage_progress
from lapic.codec.command.workers import cores, run
from lapic.codec.defaults import DEFAULT_EFFORT, DEFAULT_TUNE
from lapic.codec.evaluation import codecs
from lapic.codec.evaluation.curves import Curve, bd, mean_curves
from lapic.codec.evaluation.measure import Job, measure
from lapic.codec.evaluation.results import versions_of
from lapic.codec.model.shipped import QUALITY_RANGES, WEIGHTS
from lapic.training.codec import CodecOptions, recipe
from lapic.training.cuda_graph import CudaGraphOptions, train_with_cuda_graph
from lapic.training.data import list_pictures, read_rgb
from lapic.training.export import export_checkpoint
from lapic.training.loop import train
from lapic.training.own_pictures import LEAST_EDGE, link, split
from lapic.training.run_files import checkpoint_of

METRICS = {"psnr": ("psnr", "PSNR"), "eye": ("ssimulacra2", "SSIMULACRA2")}  # what a model is judged by, by the tune
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"  # of a clone
STRUCTURE = 0.58  # share of SSIMULACRA2's terms: with it qualities keep the sizes that `eye` gives them
LEARNING_RATE = 3e-4  # docs/notebook/own.md
FALL = 0.6  # of the training time, over which the learning rate falls to 0
MEASURING, EXPORTING = 0.2, 0.1  # of the time, at most
FEWEST_CROPS, MOST_CROPS = 8, 64  # that tables are fitted to
MEASURE_SQUARE, FIT_CROP = 1.2, 4.0  # seconds for one, in those that its coding takes
WARMUP, LOG_EVERY = 20, 20  # steps
SLACK = 1.15  # what the stages after training may take, in what they are expected to


@dataclass(frozen=True, kw_only=True)
class OwnOptions:
    """What to train on, for how long and by which measure.

    Attributes:
        photos: folder of pictures. out: the weights file to write. minutes: for all of it.
        tune: "eye" or "psnr"; the model starts from the shipped one for it and low qualities.
        elsewhere: folder of photos to say what the model costs on others; those of a clone's examples/ if None.
        force: whether `out` may be replaced.
        steps, batch, patch: of training, see `lapic.training.loop.Options`. edge: of the squares, in pixels, that are
            measured, each the middle of a picture; effort: that they are encoded with.
    """

    photos: Path
    out: Path
    minutes: float = 60.0
    tune: str = DEFAULT_TUNE
    elsewhere: Path | None = None
    force: bool = False
    learning_rate: float = LEARNING_RATE
    steps: int = 10_000_000
    batch: int = 4
    patch: int = 256
    edge: int = 384
    effort: int = DEFAULT_EFFORT
    seed: int = 0


@dataclass(frozen=True)
class Own:
    """A new model: its id; the BD-rate in percent against the model that it started from (negative: fewer bits) on
    pictures held out and on others, None where the two cannot be compared; how many pictures these were; training
    steps; minutes in all."""

    identity: bytes
    change: float | None
    change_elsewhere: float | None
    held_out: int
    elsewhere: int
    steps: int
    minutes: float


@dataclass
class _Session:
    """A run under way, with its clock and its temporary folder."""

    options: OwnOptions
    folder: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def shipped(self) -> str:
        """The name of the model to start from."""
        return next(iter(QUALITY_RANGES[self.options.tune]))

    @property
    def minutes(self) -> float:
        """Since the start."""
        return (time.monotonic() - self.began) / 60

    def say(self, line: str) -> None:
        """Print a line with the time."""
        print(f"{line} ({self.options.minutes - self.minutes:.1f} min left)", flush=True)


def train_own(options: OwnOptions) -> Own:
    """Train a model for a folder of photos and write it, whole or not at all, to `options.out`.

    Prints how far it is. On a CPU SIGINT ends the training early; what was learned is exported and measured.

    Raises:
        Error: `out` cannot be written, there are too few pictures, one cannot be measured, or there are too few minutes
            for all stages.
        FileNotFoundError: there are no pictures.
    """
    if not 0 < options.minutes < math.inf:
        raise Error(f"the minutes must be finite and above 0, not {options.minutes:g}")
    check_out(options.out, options.force)
    with tempfile.TemporaryDirectory(prefix="lapic-own-") as folder:
        return _train_own(_Session(options, Path(folder)))


def check_out(out: Path, force: bool) -> None:
    """Raise `Error` unless the weights file `out` can be written, before there is any work."""
    if out.resolve().is_relative_to(WEIGHTS.resolve()):
        raise Error(f"cannot write {out}: this is the folder of the shipped models")
    files.check_absent(str(out), force)
    try:
        with tempfile.TemporaryFile(dir=out.resolve().parent):
            pass
    except OSError as error:
        raise Error(f"cannot write {out}: {error.strerror}") from None


def _train_own(session: _Session) -> Own:
    """All stages of `train_own`."""
    options = session.options
    training, held_out = split(options.photos, options.seed)
    elsewhere = options.elsewhere or EXAMPLES
    others = list_pictures(elsewhere) if elsewhere.is_dir() else []
    session.say(
        f"{len(training)} pictures to train on, {len(held_out)} held out; start from the model {session.shipped}"
    )

    [trial] = _measure(session, session.shipped, [_squares(session, held_out[:1])], "a first picture")
    encode, decode = (trial.seconds[key] / cores() for key in ("encode_s", "decode_s"))
    each = MEASURE_SQUARE * len(trial.bpp) * (encode + decode)
    room = max(2, int(MEASURING * 60 * options.minutes / 2 / each))
    others = others[: max(1, room // 3)]
    parts = [_squares(session, part) for part in (held_out[: max(1, room - len(others))], others)]
    began = time.monotonic()
    before = _measure(session, session.shipped, parts, f"pictures with {session.shipped}")
    crop = FIT_CROP * encode * (LEAST_EDGE / options.edge) ** 2
    crops = min(MOST_CROPS, max(FEWEST_CROPS, int(EXPORTING * 60 * options.minutes / crop)))
    reserve = SLACK * (time.monotonic() - began + crops * crop) / 60

    data = session.folder / "training"
    data.mkdir()
    for number, path in enumerate(training):
        link(data / f"{number:06}{path.suffix}", path)
    checkpoint = _train(session, data, reserve)
    steps = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["step"])
    session.say(f"{steps} steps taken; tables are fitted to {crops} crops")
    weights, identity = export_checkpoint(checkpoint, "own", data, session.folder, crops)
    after = _measure(session, str(weights), parts, "pictures with the new model")
    metric, _ = METRICS[options.tune]
    changes = [bd(*pair, metric).rate for pair in zip(before, after, strict=True)]
    files.write_output(str(options.out), weights.read_bytes(), options.force)
    change, change_elsewhere = [*changes, None][:2]
    return Own(identity, change, change_elsewhere, len(parts[0]), len(others), steps, session.minutes)


def _squares(session: _Session, pictures: list[Path]) -> list[Path]:
    """The middles of pictures, as files in the temporary folder."""
    made = []
    for path in pictures:
        pixels = read_rgb(path)
        edge = min(session.options.edge, *pixels.shape[:2])
        top, left = ((length - edge) // 2 for length in pixels.shape[:2])
        made.append(session.folder / f"{path.stem}-{len(list(session.folder.iterdir()))}.png")
        Image.fromarray(pixels[top : top + edge, left : left + edge]).save(made[-1])
    return made


def _measure(session: _Session, model: str, parts: list[list[Path]], what: str) -> list[Curve]:
    """The curve of a model, over the qualities that it is for, of each part that has pictures. Raises `Error` if a
    picture cannot be measured."""
    options = session.options
    name = f"lapic@e{options.effort}+{options.tune}+model={model}"
    metric, _ = METRICS[options.tune]
    codec, versions = codecs.make(name), versions_of((metric,), "squeeze", None)
    jobs = [
        (part, Job(picture, name, quality, picture.with_suffix(".lapic"), versions, "squeeze", None, 1))
        for part, pictures in enumerate(parts)
        for picture in pictures
        for quality in codec.ladder
    ]
    points: list[list[dict[str, Any]]] = [[] for _ in parts]
    step = stage_progress(len(jobs), what)

    def listen(number: int, found: dict[str, Any]) -> None:
        part, job = jobs[number]
        if "error" in found:
            raise Error(f"{job.picture.stem} cannot be measured: {found['error']}")
        points[part].append({"codec": name, "label": name, "picture": job.picture.stem, "quality": job.quality} | found)
        step()

    session.say(f"measuring {what}: {len(jobs)} files")
    run([(measure, job) for _, job in jobs], cores(), listen)
    return [curve for part in points if part for curve in mean_curves(part)[0]]


def _train(session: _Session, data: Path, reserve: float) -> Path:
    """Train until `reserve` minutes are left, and return the checkpoint. Raises `Error` if there is no time."""
    options, out = session.options, session.folder / "run"
    lowest, highest = QUALITY_RANGES[options.tune][session.shipped]
    plan: dict[str, Any] = {
        "data": data, "out": out, "init": session.shipped, "lowest": int(lowest), "highest": int(highest),
        "patch": options.patch, "learning_rate": options.learning_rate, "seed": options.seed,
        "objective": options.tune, "structure": STRUCTURE,
    }  # fmt: skip

    def left() -> float:
        minutes = options.minutes - session.minutes - reserve
        if minutes <= 0:
            least = math.ceil(session.minutes + reserve)
            raise Error(f"{options.minutes:g} minutes are too few: all but training takes {least} here")
        session.say(f"training for {minutes:.1f} min")
        return minutes

    if torch.cuda.is_available():
        return train_with_cuda_graph(CudaGraphOptions(**plan, minutes=left()))
    run_options = CodecOptions(
        **plan, batch=options.batch, steps=options.steps, decay=1, warmup=WARMUP, accelerator="cpu",
        checkpoint_minutes=math.inf, log_every=LOG_EVERY,
    )  # fmt: skip
    made = recipe(run_options)  # first, for it reads the pictures
    minutes = left()
    train(replace(run_options, max_minutes=minutes, decay_minutes=FALL * minutes), lambda part: made)
    return checkpoint_of(out)


def summary(own: Own, options: OwnOptions) -> str:
    """One line on a new model: what it saves and what it costs elsewhere."""
    _, label = METRICS[options.tune]
    shipped = next(iter(QUALITY_RANGES[options.tune]))
    if own.change is None:
        verdict = f"cannot be compared with {shipped}"
    else:
        verdict = f"takes {_bits(own.change)} than {shipped}"
    elsewhere = ""
    if own.change_elsewhere is not None:
        elsewhere = f", {_bits(own.change_elsewhere)} on other photos ({own.elsewhere})"
    return (
        f"{options.out}: model {own.identity.hex()} {verdict} at equal {label} on held-out pictures ({own.held_out})"
        f"{elsewhere}; {own.steps} steps, {own.minutes:.1f} min in all"
    )


def _bits(change: float) -> str:
    """A BD-rate in words."""
    return f"{abs(change):.1f} % {'fewer' if change < 0 else 'more'} bits"
