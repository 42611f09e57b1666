"""The training loop, on Lightning Fabric: one process or many, CPU or GPUs, the same code. What is trained, and for
what, is a Recipe."""

import copy
import csv
import itertools
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from codec.model import default_dtype
from training.muon import Muon

Batch = tuple[Tensor, ...]
Figures = dict[str, float]
Models = dict[str, nn.Module]
Optimisers = dict[str, list[torch.optim.Optimizer]]
Loss = Callable[[Models, Batch, dict[str, Any]], tuple[Tensor, Figures]]


@dataclass(frozen=True)
class Options:
    """One training run. Learning rate: linear warm-up, constant, then linear to zero over the last `decay` steps.

    Processes either share every gradient (`together` 1) or learn on their own and take the mean of their weights every
    `together` steps (local SGD: Stich, ICLR 2019), which costs next to no time.
    """

    out: Path
    steps: int = 100_000
    learning_rate: float = 5e-4
    warmup: int = 200
    decay: int = 10_000
    average: float = 0.999  # decay of the exponential moving average of the weights
    clip: float = 1.0
    seed: int = 0
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 5.0
    log_every: int = 50
    precision: str = "auto"  # Lightning Fabric's, see `precision_of`
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    together: int = 1
    loaders: int = 2  # threads that make batches ahead of the loop


@dataclass
class Recipe:
    """What is trained, and for what.

    Attributes:
        models: by name; "model" is the one that is averaged, validated and exported.
        optimisers: of each model. A parameter group learns at the run's rate times its "share".
        losses: of each model, in the order of play. Called with the models, a batch on the device and a dictionary
            that lives for one step, by which one loss can leave something to the next. Gives what the model's
            optimisers minimise, and figures for the log.
        batch: the batch of step n on the CPU, a function of n alone, so that training resumes exactly. Pixels come as
            integers because Fabric's mixed precision would round floats to bfloat16 on their way into a model.
        validate: figures of the averaged model, called at every checkpoint.
        after_step: called after every step, such as to keep weights in their bounds.
        notes: what an export needs to know, kept in options.json.
    """

    models: Models
    optimisers: Optimisers
    losses: dict[str, Loss]
    batch: Callable[[int], Batch]
    validate: Callable[[nn.Module], Figures] | None = None
    after_step: Callable[[], None] = lambda: None
    notes: dict[str, Any] = field(default_factory=dict)


def precision_of(options: Options) -> str:
    """Lightning Fabric's name of a run's precision; if it may choose, bfloat16 autocast where the device computes in
    that, else float32: a processor that has to imitate bfloat16 takes five times as long."""
    if options.precision != "auto":
        return options.precision
    on_gpu = options.accelerator != "cpu" and torch.cuda.is_available()
    computes = default_dtype(torch.device("cuda" if on_gpu else "cpu"))
    return "32-true" if computes == torch.float32 else "bf16-mixed"


def brought_along(options: Options, card: dict[str, str]) -> Figures:
    """Steps and hours behind the weights that a run starts from: those noted in a run that goes on, else the card's."""
    if (options.out / "checkpoint.pt").exists():
        return json.loads((options.out / "options.json").read_text())["brought"]
    return {key: float(card.get(key, 0)) for key in ("steps", "hours")}


def learning_rate(options: Options, step: int) -> float:
    """Learning rate of step `step` (0-based)."""
    rise = min(1.0, (step + 1) / max(options.warmup, 1))
    fall = min(1.0, (options.steps - step) / max(options.decay, 1))
    return options.learning_rate * rise * max(fall, 0.0)


def blend(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's and keep `decay`, 0..1, of what they were."""
    pairs = list(zip(average.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        torch._foreach_lerp_([a for a, _ in pairs], [m for _, m in pairs], 1 - decay)


def _ahead(batch: Callable[[int], Batch], first: int, threads: int) -> Iterator[Batch]:
    """batch(first), batch(first + 1), ... for ever, made by threads before they are asked for."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(batch, number) for number in range(first, first + 2 * threads))
        for number in itertools.count(first + 2 * threads):
            made = waiting.popleft().result()
            waiting.append(pool.submit(batch, number))
            yield made


class _Log:
    """A CSV file that grows by one row a call; columns are fixed by the first row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: Figures) -> None:
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


def _rates(options: Options, step: int, optimisers: list[torch.optim.Optimizer]) -> None:
    """Set the learning rates for one step."""
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = learning_rate(options, step) * group["share"]


def _take_step(
    fabric: Fabric, options: Options, recipe: Recipe, models: Models, optimisers: Optimisers, step: int, batch: Batch
) -> Figures:
    """One step of every model. A gradient that is not finite is skipped, not taken."""
    torch.manual_seed(options.seed * 1_000_003 + step * fabric.world_size + fabric.global_rank)
    batch = tuple(fabric.to_device(part) for part in batch)
    figures: Figures = {}
    shared: dict[str, Any] = {}
    skipped = False
    for name, loss in recipe.losses.items():
        _rates(options, step, optimisers[name])
        with fabric.no_backward_sync(models[name]) if _alone(options, fabric) else nullcontext():
            total, found = loss(models, batch, shared)
            fabric.backward(total)
        norm = torch.nn.utils.clip_grad_norm_(models[name].parameters(), options.clip)
        prefix = "" if name == "model" else f"{name}_"
        figures |= {f"{prefix}loss": total.item()} | found | {f"{prefix}norm": norm.item()}
        if torch.isfinite(norm):
            for optimiser in optimisers[name]:
                optimiser.step()
        else:
            skipped = True
        for model in models.values():  # one model's loss leaves gradients in the others
            model.zero_grad(set_to_none=True)
    recipe.after_step()
    return figures | {"skipped": float(skipped)}


def _alone(options: Options, fabric: Fabric) -> bool:
    """Whether each of several processes has gradients of its own."""
    return options.together > 1 and fabric.world_size > 1


def _average_over_processes(fabric: Fabric, modules: Iterable[nn.Module], optimisers: Iterable) -> None:
    """Let all processes have the mean of their modules and of what their optimisers remember."""
    kept = [value for one in optimisers for state in one.state.values() for value in state.values()]
    learned = [value for module in modules for value in module.parameters()]
    with torch.no_grad():
        for value in learned + [one for one in kept if isinstance(one, Tensor)]:
            value.copy_(fabric.all_reduce(value, reduce_op="mean"))


def _line(figures: Figures) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def train(options: Options, prepare: Callable[[tuple[int, int]], Recipe]) -> nn.Module:
    """Train, or go on where the checkpoint in `options.out` stopped, and return the averaged model.

    Writes to `options.out`: checkpoint.pt (all that is needed to go on exactly), train.csv, validation.csv,
    options.json. SIGINT and SIGTERM end it with a checkpoint.

    Args:
        prepare: makes the recipe for process (rank, count) of a distributed run.
    """
    options = replace(options, precision=precision_of(options))
    kind, precision = options.accelerator, options.precision
    fabric = Fabric(accelerator=kind, devices=options.devices, num_nodes=options.nodes, precision=precision)
    fabric.launch()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    recipe = prepare((fabric.global_rank, fabric.world_size))
    models: Models = {}
    optimisers: Optimisers = {}
    for name, model in recipe.models.items():
        model = model.to(memory_format=torch.channels_last)
        models[name], *optimisers[name] = fabric.setup(model, *recipe.optimisers[name])
        for optimiser in recipe.optimisers[name]:
            if isinstance(optimiser, Muon):
                optimiser.alone = _alone(options, fabric)
    average = fabric.to_device(copy.deepcopy(recipe.models["model"]))
    state: dict[str, Any] = {"average": average, "step": 0, "seconds": 0.0} | models
    for name, several in optimisers.items():
        state |= {f"{name}_optimiser_{number}": one for number, one in enumerate(several)}
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        fabric.load(checkpoint, state)
        fabric.print(f"resumed at step {state['step']}")
    if fabric.is_global_zero:
        described = asdict(options) | recipe.notes
        (options.out / "options.json").write_text(json.dumps(described, default=str, indent=2))

    log, validation_log = _Log(options.out / "train.csv"), _Log(options.out / "validation.csv")
    began = saved = time.monotonic()
    before, first = state["seconds"], state["step"]
    window: list[Figures] = []
    stop = _stop_on_signals()

    def save() -> None:
        state["seconds"] = before + time.monotonic() - began
        if _alone(options, fabric):
            _average_over_processes(fabric, [*models.values(), average], itertools.chain(*optimisers.values()))
        fabric.save(checkpoint.with_suffix(".new"), state)
        if fabric.is_global_zero:
            checkpoint.with_suffix(".new").replace(checkpoint)
            if recipe.validate:
                with fabric.autocast():
                    report = recipe.validate(average)
                validation_log.write({"step": state["step"], "hours": state["seconds"] / 3600} | report)
                fabric.print(_line(report))
        fabric.barrier()

    def due() -> tuple[bool, bool]:
        """Whether to save and go on, and whether to end. The first process decides for all when they meet, so that
        none waits for another for ever."""
        if _alone(options, fabric) and state["step"] % options.together and state["step"] < options.steps:
            return False, False
        now = time.monotonic()
        done = state["step"] >= options.steps or now - began >= options.max_minutes * 60 or bool(stop)
        both = not done and now - saved > options.checkpoint_minutes * 60, done
        return fabric.broadcast(both) if fabric.world_size > 1 else both

    batches = _ahead(recipe.batch, first, options.loaders)
    done = due()[1]
    while not done:
        window.append(_take_step(fabric, options, recipe, models, optimisers, state["step"], next(batches)))
        state["step"] += 1
        if _alone(options, fabric) and state["step"] % options.together == 0:
            _average_over_processes(fabric, models.values(), [])
        blend(average, models["model"], min(options.average, state["step"] / (state["step"] + 9)))
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
        time_to_save, done = due()
        if time_to_save:
            save()
            saved = time.monotonic()
    batches.close()
    save()
    return average
