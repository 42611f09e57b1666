"""Stage 1 on one GPU, as fast as its memory allows: the photos lie in it, crops are cut there, and a step is compiled,
captured as a CUDA graph and replayed until the time is over.

`torch.compile` fuses the operations between the matrix products, which saves memory traffic; the graph saves the time
to start some thousand small kernels. On a CPU, to try it out, steps are taken one by one without either.
"""

import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lapic.codec.gpu.graph import capture_graph
from lapic.codec.model.codec_weights import load
from lapic.codec.nets import second
from lapic.codec.nets.network import Block
from lapic.training.codec import optimisers
from lapic.training.data import Crops, DeviceCrops, check_patch
from lapic.training.export import trainable
from lapic.training.eye import Distortion, ObjectiveOptions
from lapic.training.initial import deepen
from lapic.training.muon import Muon, StackedMuon
from lapic.training.rate_distortion import QualityOptions, TrainableCodec, check_qualities, loss, random_qualities
from lapic.training.run_files import (
    CsvLog,
    check_resumed,
    digests_of,
    megapixels_per_step,
    only_run,
    resumed_options,
    text,
    training_of,
    write_checkpoint,
    write_options,
)

WARMUP = 0.02  # of the time the learning rate rises,
FALL = 0.2  # and from here on it falls to 0
CLOCK_EVERY = 10  # steps between two readings of the clock
SAVE_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class CudaGraphOptions(ObjectiveOptions):
    """One run, for a time that includes compilation; it cannot be resumed, but its export can be trained on."""

    data: Path
    out: Path
    init: str  # a shipped model or a weights file to start from
    minutes: float = 9.0
    lowest: int = 1
    highest: int = 100
    batch: int = 16
    patch: int = 256
    learning_rate: float = 5e-4
    clip: float = 1.0  # largest norm of a gradient
    more_coarse: int = 0  # blocks at 1/16 that the analysis gets if it has no more than the synthesis
    more_fine: int = 0  # the same at 1/8
    seed: int = 0
    log_every: int = 500
    device: str = "cuda"


def learning_rate(options: CudaGraphOptions, done: float) -> float:
    """The learning rate when the fraction `done` of the time is over."""
    return options.learning_rate * min(1.0, done / WARMUP + 1e-3, max(0.0, 1 - done) / (1 - FALL))


def fuse(model: TrainableCodec) -> None:
    """Compile a model's blocks and its entropy model, each by itself, since compiling the whole takes minutes."""
    for module in model.modules():
        if isinstance(module, Block | second.Block | second.Pair):
            module.compile(fullgraph=True, dynamic=False)
    model.entropy = torch.compile(model.entropy, fullgraph=True, dynamic=False)


class GraphTrainer:
    """A model, its optimisers and the step that trains it, which does not synchronise with the host.

    Attributes:
        rate: the learning rate, a tensor that a step reads.
        figures: sums over the steps of loss, bpp, MSE and of those skipped because a gradient was not finite.
    """

    def __init__(self, options: CudaGraphOptions, model: TrainableCodec, crops: DeviceCrops) -> None:
        self.options, self.model, self.crops = options, model, crops
        self.on_gpu = torch.device(options.device).type == "cuda"
        muon, self.adam = optimisers(model)
        assert isinstance(muon, Muon)
        self.muon = StackedMuon(muon)
        self.learned = [value for value in model.parameters() if value.requires_grad]
        self.rate, self.adam.found_inf = (torch.zeros((), device=options.device) for _ in range(2))
        self.figures = torch.zeros(4, device=options.device)
        for group in self.adam.param_groups:
            group["lr"] = torch.zeros((), device=options.device)
            group["capturable"] = self.on_gpu
        self.distortion: Distortion = options.distortion().to(options.device)
        self.loss = loss
        if self.on_gpu:
            # The LPIPS package does not compile as one graph.
            self.loss = torch.compile(loss, fullgraph=self.distortion.perceptual is None, dynamic=False)

    def step(self) -> None:
        """One step."""
        options = self.options
        self.free_gradients()
        pixels = self.crops(options.batch)
        quality = random_qualities(pixels, options.lowest, options.highest)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.on_gpu):
            estimate = self.model(pixels, quality)
        total, bpp, mse = self.loss(estimate, pixels, quality, self.distortion)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.learned, options.clip)
        skipped = (~torch.isfinite(norm)).float()
        for group in self.adam.param_groups:
            group["lr"].copy_(self.rate * group["lr_scale"])
        self.adam.found_inf.copy_(skipped)  # Adam then does nothing
        self.adam.step()
        self.muon.step(self.rate)
        self.figures += torch.stack([total.detach(), bpp.mean(), mse.mean(), skipped]).nan_to_num(0, 0, 0)

    def captured_step(self) -> Callable[[], None]:
        """The step as a function that replays it."""
        if self.on_gpu:
            fuse(self.model)
        return capture_graph(self.step, torch.device(self.options.device), ready=self.free_gradients)

    def free_gradients(self) -> None:
        """Free the gradients of the last step."""
        for value in self.learned:
            value.grad = None


def check_device(name: str) -> None:
    """Raise ValueError unless this is the name of a CUDA device that is there, or "cpu"."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"no such device: {name}") from None
    if device.type not in ("cuda", "cpu"):
        raise ValueError(f"not a CUDA device: {name}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"there is no CUDA device {name}")


def prepare(options: CudaGraphOptions) -> tuple[TrainableCodec, dict[str, float]]:
    """The model to train, on its device, and its prior training."""
    model, card = trainable(options.init)
    model = deepen(model, options.more_coarse, options.more_fine)
    model = model.to(options.device, memory_format=torch.channels_last).train()
    finished = load(options.init)
    model.rounding = finished.threshold.to(options.device), finished.centroid.to(options.device)
    return model, training_of(card)


def train_with_cuda_graph(options: CudaGraphOptions) -> Path:
    """Train for the time of `options`. Writes checkpoint.pt (every two minutes and at the end), train.csv and
    options.json to `options.out`, the transforms in half precision as an export has them. Returns the checkpoint.

    Raises:
        ValueError: no quality is left between the lowest and the highest, the networks do not take crops of that size,
            the distortion's shares add up to more than 1, there is no such device, or the folder holds a run that can
            be resumed or started from other weights.
        FileNotFoundError: there are no pictures.
        Error: another run has the folder.
    """
    check_qualities(options.lowest, options.highest)
    check_patch(options.patch, QualityOptions.patch_unit)
    check_device(options.device)
    if "steps" in resumed_options(options.out):
        raise ValueError(f"{options.out} holds a run that can be resumed: name another --out")
    check_resumed(options.out, asdict(options), ("init",))
    begun = time.monotonic()
    torch.manual_seed(options.seed)
    starts = digests_of(init=options.init)
    crops = DeviceCrops(Crops(options.data, options.patch, options.seed).pictures, options.patch, options.device)
    model, prior = prepare(options)
    trainer = GraphTrainer(options, model, crops)
    options.out.mkdir(parents=True, exist_ok=True)
    with only_run(options.out):
        write_options(options, {"config": asdict(model.config), "prior_training": prior, **starts})
        return take_steps(trainer, begun)


def take_steps(trainer: GraphTrainer, begun: float) -> Path:
    """Capture a step and take it until the time is over, counted from `begun`, seconds of the monotonic clock. Returns
    the checkpoint."""
    options, model, crops = trainer.options, trainer.model, trainer.crops
    step = trainer.captured_step()
    trainer.figures.zero_()  # a capture takes steps to warm up
    first = saved = time.monotonic()
    number, logged, span = 0, 0, 60 * options.minutes - (first - begun)
    print(f"{crops.megapixels:.0f} megapixels, ready after {first - begun:.0f} s", flush=True)
    log = CsvLog(options.out / "train.csv")
    log.path.unlink(missing_ok=True)  # of another run, which this one replaces
    while (done := (time.monotonic() - first) / max(span, 1e-9)) < 1:
        trainer.rate.fill_(learning_rate(options, done))
        for _ in range(CLOCK_EVERY):
            step()
        number += CLOCK_EVERY
        model.hyper_synthesis.keep_exact()
        if trainer.on_gpu:
            torch.cuda.synchronize(options.device)  # the clock is read when steps are done, not when queued
        if number % options.log_every < CLOCK_EVERY:
            speed = number / (time.monotonic() - first)
            write_log(log, options, number, speed, trainer.figures / (number - logged))
            trainer.figures.zero_()
            logged = number
        if time.monotonic() - saved > SAVE_SECONDS:
            save(options.out, model, number, time.monotonic() - begun)
            saved = time.monotonic()
    return save(options.out, model, number, time.monotonic() - begun)


def save(out: Path, model: TrainableCodec, step: int, seconds: float) -> Path:
    """Write the checkpoint after so many steps and seconds, for `training.export`, and return its path. Raises OSError
    if that fails."""
    weights = {k: v.half() if k.startswith("transforms.") else v for k, v in model.state_dict().items()}
    whole = io.BytesIO()  # to a file torch gives no reason if the disk is full
    torch.save({"average": weights, "step": step, "seconds": seconds}, whole)
    return write_checkpoint(out, lambda path: path.write_bytes(whole.getbuffer()))


def write_log(log: CsvLog, options: CudaGraphOptions, step: int, speed: float, figures: Tensor) -> None:
    """Write the mean figures of a step, as GraphTrainer has them, to train.csv and to the console; speed: steps/s."""
    row = dict(zip(("loss", "bpp", "mse", "skipped"), figures.tolist(), strict=True))
    megapixels = speed * megapixels_per_step(options)
    log.write({"step": step, "steps/s": speed, "megapixels/s": megapixels} | row)
    print(f"step {step}  {text(row)}  {speed:.1f} steps/s  {megapixels:.1f} megapixels/s", flush=True)
