"""The training loop of stage 1, on Lightning Fabric: one process or many, CPU or GPUs, the same code."""

import copy
import csv
import json
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from codec import hyper
from codec.network import Config
from training.data import Crops, list_pictures, read_rgb
from training.export import trainable
from training.initial import initialise
from training.muon import Muon
from training.rate_distortion import TrainableCodec, loss, normalise, rate_weight

MUON_SHARE = 16.0  # of the learning rate: Muon's counts spectral size
VALIDATION_QUALITIES = (1, 25, 50, 75, 100)


@dataclass(frozen=True)
class Options:
    """One training run. Learning rate: linear warm-up, constant, then linear to zero over the last `decay` steps."""

    data: Path
    out: Path
    validation: Path | None = None
    init: str | None = None  # a shipped model or a weights file to start from; the KLT if None
    steps: int = 100_000
    batch: int = 8
    patch: int = 128
    learning_rate: float = 5e-4
    warmup: int = 200
    decay: int = 10_000
    average: float = 0.999  # decay of the exponential moving average of the weights
    clip: float = 1.0
    seed: int = 0
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 5.0
    log_every: int = 50
    precision: str = "bf16-mixed"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1


def learning_rate(options: Options, step: int) -> float:
    """Learning rate of step `step` (0-based)."""
    rise = min(1.0, (step + 1) / max(options.warmup, 1))
    fall = min(1.0, (options.steps - step) / max(options.decay, 1))
    return options.learning_rate * rise * max(fall, 0.0)


def optimisers(model: TrainableCodec) -> tuple[Muon, torch.optim.Adam]:
    """Muon for the matrices of analysis and synthesis, Adam for all else, each group with its share of the learning
    rate: the linear paths, which start near their optimum and where noise costs quality at once; entropy model and
    gains, which learn fast; the rest. In equal time Muon gains more than Adam (docs/MODELS.md)."""
    matrices: list[Tensor] = []
    groups: dict[float, list] = {1.0: [], 2.0: [], 0.04: []}
    for name, value in model.named_parameters():
        fast = any(word in name for word in ("hyper", "density", "log_gain"))
        share = 0.04 if ".linear." in name else 2.0 if fast else 1.0
        is_matrix = share == 1.0 and value.ndim == 4 and min(value.shape[:2]) > 1
        (matrices if is_matrix else groups[share]).append(value)
    adam = [{"params": values, "share": share} for share, values in groups.items()]
    return Muon([{"params": matrices, "share": MUON_SHARE}]), torch.optim.Adam(adam, betas=(0.9, 0.99), fused=True)


@torch.no_grad()
def validate(model: TrainableCodec, pictures: list[Tensor]) -> dict[str, float]:
    """Rounded rates and PSNR of `pictures`, (3, H, W) uint8 with edges of multiples of 64, at five qualities.

    Returns `score`, the mean training objective (lower is better), and `bpp@q`, `psnr@q`.
    """
    model.eval()
    report, scores = {}, []
    for quality in VALIDATION_QUALITIES:
        fixed = torch.tensor([quality * hyper.QUALITY_ONE], device=pictures[0].device)
        rows = []
        for picture in pictures:
            estimate = model(picture[None], fixed)
            shown = ((estimate.picture.clamp(-1, 1) + 1) * 127.5).round()
            mse = (shown - picture).square().mean().item()
            bpp = (estimate.bits_y + estimate.bits_z).item() / picture[0].numel()
            rows.append((bpp, mse, 10 * torch.log10(torch.tensor(255**2 / max(mse, 1e-3))).item()))
        bpp, mse, psnr = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        weight = rate_weight(fixed).item()
        scores.append((weight * mse + bpp) / weight**0.5)
        report |= {f"bpp@{quality}": bpp, f"psnr@{quality}": psnr}
    model.train()
    return {"score": sum(scores) / len(scores)} | report


def _blend(average: TrainableCodec, model: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights a step towards the model's."""
    pairs = list(zip(average.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        torch._foreach_lerp_([a for a, _ in pairs], [m for _, m in pairs], 1 - decay)


class _Log:
    """A CSV file that grows by one row a call; columns are fixed by the first row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: dict[str, float]) -> None:
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def _stop_on_signals() -> list[int]:
    """A list that SIGINT and SIGTERM add to, so that the loop ends with a checkpoint; a second SIGINT ends at once."""
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, note)
        signal.signal(signal.SIGTERM, note)
    return received


def _start(options: Options, config: Config, crops: Crops) -> tuple[TrainableCodec, dict[str, float]]:
    """A model to train, from `options.init` or the KLT, and the steps and hours of training that it brings along."""
    if options.init:
        model, card = trainable(options.init)
        return model, {key: float(card.get(key, 0)) for key in ("steps", "hours")}
    model = TrainableCodec(config)
    kept = initialise(model, normalise(torch.from_numpy(crops.batch(0, max(8, 4_000_000 // options.patch**2)))))
    print(f"KLT start: {config.latent} channels keep {kept:.5f} of the energy")
    return model, {"steps": 0.0, "hours": 0.0}


def _take_step(fabric: Fabric, options: Options, state: dict[str, Any], pixels: Tensor) -> dict[str, float]:
    """One step of the optimiser on pixels (B, 3, P, P) uint8. A gradient that is not finite is skipped, not taken."""
    model, step = state["model"], state["step"]
    torch.manual_seed(options.seed * 1_000_003 + step * fabric.world_size + fabric.global_rank)
    for group in state["muon"].param_groups + state["adam"].param_groups:
        group["lr"] = learning_rate(options, step) * group["share"]
    span = (hyper.QUALITY_ONE, 100 * hyper.QUALITY_ONE + 1)
    quality = torch.randint(*span, (len(pixels),), device=fabric.device)
    total, bpp, mse = loss(model(pixels, quality), pixels, quality)
    fabric.backward(total)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
    finite = bool(torch.isfinite(norm))
    if finite:
        state["muon"].step()
        state["adam"].step()
        model.module.hyper_synthesis.keep_exact()
        _blend(state["average"], model, min(options.average, (step + 1) / (step + 10)))
    model.zero_grad(set_to_none=True)
    state["step"] += 1
    figures = {"loss": total.item(), "bpp": bpp.mean().item(), "mse": mse.mean().item(), "norm": norm.item()}
    return figures | {"skipped": float(not finite)}


def _line(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def train(options: Options, config: Config = Config()) -> TrainableCodec:
    """Train, or go on where the checkpoint in `options.out` stopped, and return the averaged model.

    Writes to `options.out`: checkpoint.pt (all that is needed to go on exactly), train.csv, validation.csv,
    options.json. SIGINT and SIGTERM end it with a checkpoint.

    Args:
        config: of a new model; with `options.init` that model's own counts.
    """
    kind, precision = options.accelerator, options.precision
    fabric = Fabric(accelerator=kind, devices=options.devices, num_nodes=options.nodes, precision=precision)
    fabric.launch()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    crops = Crops(options.data, options.patch, options.seed, part=(fabric.global_rank, fabric.world_size))
    fabric.print(f"{len(crops.pictures)} pictures, {crops.megapixels:.0f} megapixels")
    held_out = [
        fabric.to_device(torch.from_numpy(read_rgb(path).transpose(2, 0, 1).copy()))
        for path in (list_pictures(options.validation) if options.validation else [])
    ]

    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        described = json.loads((options.out / "options.json").read_text())
        model, brought = TrainableCodec(Config(**described["config"])), described["brought"]
    else:
        model, brought = _start(options, config, crops)
    model.to(memory_format=torch.channels_last)
    average = fabric.to_device(copy.deepcopy(model))
    wrapped, muon, adam = fabric.setup(model, *optimisers(model))
    state = {"model": wrapped, "average": average, "muon": muon, "adam": adam, "step": 0, "seconds": 0.0}
    if checkpoint.exists():
        fabric.load(checkpoint, state)
        fabric.print(f"resumed at step {state['step']}")
    described = asdict(options) | {"config": asdict(average.config), "brought": brought}
    if fabric.is_global_zero:
        (options.out / "options.json").write_text(json.dumps(described, default=str, indent=2))

    log, validation_log = _Log(options.out / "train.csv"), _Log(options.out / "validation.csv")
    began = saved = time.monotonic()
    before, first = state["seconds"], state["step"]
    window: list[dict[str, float]] = []
    stop = _stop_on_signals()

    def save() -> None:
        state["seconds"] = before + time.monotonic() - began
        fabric.save(checkpoint.with_suffix(".new"), state)
        if fabric.is_global_zero:
            checkpoint.with_suffix(".new").replace(checkpoint)
            if held_out:
                with fabric.autocast():
                    report = validate(average, held_out)
                validation_log.write({"step": state["step"], "hours": state["seconds"] / 3600} | report)
                fabric.print(_line(report))
        fabric.barrier()

    def finished() -> bool:
        """Whether to end; the first process decides for all, so that none waits for another for ever."""
        done = state["step"] >= options.steps or time.monotonic() - began >= options.max_minutes * 60 or bool(stop)
        return fabric.broadcast(done) if fabric.world_size > 1 else done

    while not finished():
        pixels = fabric.to_device(torch.from_numpy(crops.batch(state["step"], options.batch)))
        window.append(_take_step(fabric, options, state, pixels))
        if len(window) == options.log_every:
            figures = {name: sum(row[name] for row in window) / len(window) for name in window[0]}
            window.clear()
            speed = (state["step"] - first) / (time.monotonic() - began)
            run = (time.monotonic() - began) / 60
            left = min((options.steps - state["step"]) / speed / 60, options.max_minutes - run)
            if fabric.is_global_zero:
                log.write({"step": state["step"], "steps/s": speed} | figures)
            fabric.print(
                f"step {state['step']}  {_line(figures)}  {speed:.2f} steps/s  {left:.0f} min left", flush=True
            )
        if time.monotonic() - saved > options.checkpoint_minutes * 60:
            save()
            saved = time.monotonic()
    save()
    return average
