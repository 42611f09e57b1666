"""Stage 1 on one GPU that never waits: the photos lie in its memory, crops are cut there, and a step, compiled and
captured as a CUDA graph, is replayed until the time is over.

What limits it is the memory's speed, hence `torch.compile`, which fuses what lies between the matrix products, and the
start of some thousand small kernels, hence the graph. On a CPU, for trying it out, steps are taken one by one.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from codec.capture import captured
from codec.model import load
from codec.network import Block
from training.codec import optimisers
from training.data import Crops, DeviceCrops
from training.export import trainable
from training.initial import deepen
from training.loop import brought_along
from training.muon import Muon, StackedMuon
from training.rate_distortion import TrainableCodec, check_qualities, loss, random_qualities

WARMUP = 0.02  # of the time the learning rate rises,
FALL = 0.2  # and from here on it falls to 0
AT_ONCE = 10  # steps between two looks at the clock
SAVE_SECONDS = 120


@dataclass(frozen=True)
class CapturedOptions:
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
    clip: float = 1.0
    more_coarse: int = 0  # blocks that the analysis gets if it has none beyond the synthesis'
    more_fine: int = 0
    seed: int = 0
    log_every: int = 500
    device: str = "cuda"


def learning_rate(options: CapturedOptions, done: float) -> float:
    """The learning rate when a share `done` of the time is over."""
    return options.learning_rate * min(1.0, done / WARMUP + 1e-3, max(0.0, 1 - done) / (1 - FALL))


def fuse(model: TrainableCodec) -> None:
    """Let a compiler fuse what lies between a model's matrix products: blocks and entropy model, one by one, since all
    at once takes minutes."""
    for module in model.modules():
        if isinstance(module, Block):
            module.compile(fullgraph=True, dynamic=False)
    model.entropy = torch.compile(model.entropy, fullgraph=True, dynamic=False)


class Trainer:
    """A model, its optimisers and the step that trains it, which says nothing to the host.

    Attributes:
        rate: the learning rate, a tensor that a step reads.
        figures: sums over the steps of loss, bpp, MSE and of those skipped because a gradient was not finite.
    """

    def __init__(self, options: CapturedOptions, model: TrainableCodec, crops: DeviceCrops) -> None:
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
        self.loss = torch.compile(loss, fullgraph=True, dynamic=False) if self.on_gpu else loss

    def step(self) -> None:
        """One step."""
        options = self.options
        self.let_go()
        pixels = self.crops(options.batch)
        quality = random_qualities(pixels, options.lowest, options.highest)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.on_gpu):
            estimate = self.model(pixels, quality)
        total, bpp, mse = self.loss(estimate, pixels, quality)
        total.backward()
        gradients = [value.grad for value in self.learned]
        norm = nn.utils.get_total_norm(gradients)
        broken = (~torch.isfinite(norm)).float()
        torch._foreach_mul_(gradients, (options.clip / (norm + 1e-6)).clamp(max=1.0))
        for group in self.adam.param_groups:
            group["lr"].copy_(self.rate * group["share"])
        self.adam.found_inf.copy_(broken)  # Adam then does nothing
        self.adam.step()
        self.muon.step(self.rate)
        self.figures += torch.stack([total.detach(), bpp.mean(), mse.mean(), broken]).nan_to_num(0, 0, 0)

    def captured(self) -> Callable[[], None]:
        """The step as a function that replays it."""
        if self.on_gpu:
            fuse(self.model)
        return captured(self.step, torch.device(self.options.device), ready=self.let_go)

    def let_go(self) -> None:
        """Drop the gradients of the last step."""
        for value in self.learned:
            value.grad = None


def train_captured(options: CapturedOptions) -> Path:
    """Train for the time of `options`; every two minutes and at the end write checkpoint.pt and options.json to
    `options.out` for `training.export`, transforms in half precision, as an export has them. Returns the checkpoint.

    Raises:
        ValueError: no quality is left between the lowest and the highest.
        FileNotFoundError: there are no pictures.
    """
    check_qualities(options.lowest, options.highest)
    begun = time.monotonic()
    torch.manual_seed(options.seed)
    crops = DeviceCrops(Crops(options.data, options.patch, options.seed).pictures, options.patch, options.device)
    model, card = trainable(options.init)
    model = deepen(model, options.more_coarse, options.more_fine)
    model = model.to(options.device, memory_format=torch.channels_last).train()
    finished = load(options.init)
    model.rounding = finished.threshold.to(options.device), finished.centroid.to(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    described = asdict(options) | {"config": asdict(model.config), "brought": brought_along(options, card)}
    (options.out / "options.json").write_text(json.dumps(described, default=str, indent=2))
    trainer = Trainer(options, model, crops)
    step = trainer.captured()
    first = saved = time.monotonic()
    number, span = 0, 60 * options.minutes - (first - begun)
    print(f"{crops.megapixels:.0f} megapixels, ready after {first - begun:.0f} s", flush=True)

    def save() -> Path:
        weights = {k: v.half() if k.startswith("transforms.") else v for k, v in model.state_dict().items()}
        state = {"average": weights, "step": number, "seconds": time.monotonic() - begun}
        torch.save(state, options.out / "checkpoint.new")
        return (options.out / "checkpoint.new").replace(options.out / "checkpoint.pt")

    while (done := (time.monotonic() - first) / max(span, 1e-9)) < 1:
        trainer.rate.fill_(learning_rate(options, done))
        for _ in range(AT_ONCE):
            step()
        number += AT_ONCE
        model.hyper_synthesis.keep_exact()
        if trainer.on_gpu:
            torch.cuda.synchronize()  # else the clock would run behind the queue
        if number % options.log_every < AT_ONCE:
            speed = number / (time.monotonic() - first)
            _say(number, trainer.figures / options.log_every, speed, speed * options.batch * options.patch**2 / 1e6)
            trainer.figures.zero_()
        if time.monotonic() - saved > SAVE_SECONDS:
            save()
            saved = time.monotonic()
    return save()


def _say(step: int, figures: Tensor, speed: float, megapixels: float) -> None:
    total, bpp, mse, skipped = figures.tolist()
    print(
        f"step {step}  loss {total:.4g}  bpp {bpp:.4g}  mse {mse:.4g}  skipped {skipped:.3g}  "
        f"{speed:.1f} steps/s  {megapixels:.1f} megapixels/s",
        flush=True,
    )
