"""The training loop, on Lightning Fabric: one process or many, CPU or GPUs. What is trained, and for what: a Recipe."""

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lapic.bitstream import Error
from lapic.training.data import check_patch, prefetch
from lapic.training.muon import Muon
from lapic.training.precision import accelerator_of, precision_of
from lapic.training.processes import average_over_processes, end_group, fails_together, take_from_first
from lapic.training.run_files import (
    CHOSEN,
    CsvLog,
    check_resumed,
    checkpoint_of,
    damaged_checkpoint,
    megapixels_per_step,
    only_run,
    text,
    write_checkpoint,
    write_options,
)
from lapic.training.signals import signals_received

Batch = tuple[Tensor, ...]
Figures = dict[str, float]
Models = dict[str, nn.Module]
Optimisers = dict[str, list[torch.optim.Optimizer]]
Loss = Callable[[Models, Batch, dict[str, Any]], tuple[Tensor, Figures]]


@dataclass(frozen=True)
class Options:
    """One training run. Learning rate: linear warm-up, constant, then linear to zero over the last `decay` steps, at
    most all, and over the last `decay_minutes` of `max_minutes`, whichever is lower.

    Processes either share every gradient (`sync_every` 1) or learn on their own and take the mean of their weights
    every `sync_every` steps (local SGD: Stich, ICLR 2019), which costs next to no time.
    """

    patch_unit: ClassVar[int] = 8  # the networks take crops whose edge is a multiple of this

    out: Path
    steps: int = 100_000
    batch: int = 8  # crops in a step of each process
    patch: int = 128  # their edge in pixels
    learning_rate: float = 5e-4
    warmup: int = 200
    decay: int = 10_000
    average: float = 0.999  # decay of the exponential moving average of the weights
    clip: float = 1.0  # largest norm of a gradient
    seed: int = 0
    max_minutes: float = float("inf")
    decay_minutes: float = 0.0
    checkpoint_minutes: float = 5.0
    log_every: int = 50
    precision: str = "auto"  # Lightning Fabric's, see `precision_of`
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    sync_every: int = 1
    loaders: int = 2  # threads that prefetch batches


@dataclass
class Recipe:
    """What is trained, and for what.

    Attributes:
        models: by name; "model" is the one that is averaged, validated and exported.
        optimisers: of each model. A parameter group's learning rate is the run's times its "lr_scale".
        losses: of each model, in the order in which they are minimised. Called with the models, a batch on the device
            and a dictionary that lives for one step, by which one loss passes tensors to the next. Gives what the
            model's optimisers minimise, and figures for the log.
        batch: the batch of step n on the CPU, a function of n alone, so that training resumes exactly. Pixels come as
            integers because Fabric's mixed precision would round floats to bfloat16 on their way into a model.
        validate: figures of the averaged model, called at every checkpoint.
        after_step: called after every step, such as to keep weights in their bounds.
        notes: what an export needs to know, kept in options.json.
        common: tensors that every process takes from the first.
    """

    models: Models
    optimisers: Optimisers
    losses: dict[str, Loss]
    batch: Callable[[int], Batch]
    validate: Callable[[nn.Module], Figures] | None = None
    after_step: Callable[[], None] = lambda: None
    notes: dict[str, Any] = field(default_factory=dict)
    common: list[Tensor] = field(default_factory=list)


def learning_rate(options: Options, step: int, minutes: float = 0.0) -> float:
    """Learning rate of step `step` (0-based), so many minutes after the run began."""
    rise = min(1.0, (step + 1) / max(options.warmup, 1))
    fall = min(1.0, (options.steps - step) / max(min(options.decay, options.steps), 1))
    if options.decay_minutes:
        fall = min(fall, (options.max_minutes - minutes) / options.decay_minutes)
    return options.learning_rate * rise * max(fall, 0.0)


def interpolate(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the averaged weights to keep average + (1 - keep) model, keep in 0..1, in place."""
    pairs = list(zip(average.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        torch._foreach_lerp_([a for a, _ in pairs], [m for _, m in pairs], 1 - keep)


class Trainer:
    """A run under way.

    Attributes:
        models, optimisers: as Fabric wraps them.
        average: the exponential moving average of the model.
        step: steps taken. seconds: time taken, both with those before the run was resumed. minutes: time taken since,
            of which all processes know the same.
        has_local_gradients: whether each of several processes learns from its own gradients.
    """

    def __init__(self, options: Options, fabric: Fabric, recipe: Recipe) -> None:
        self.options, self.fabric, self.recipe = options, fabric, recipe
        self.has_local_gradients = options.sync_every > 1 and fabric.world_size > 1
        self.models: Models = {}
        self.optimisers: Optimisers = {}
        for name, model in recipe.models.items():
            model = model.to(memory_format=torch.channels_last)
            self.models[name], *self.optimisers[name] = fabric.setup(model, *recipe.optimisers[name])
            for optimiser in recipe.optimisers[name]:
                if isinstance(optimiser, Muon):
                    optimiser.has_local_gradients = self.has_local_gradients
        self.average = fabric.to_device(copy.deepcopy(recipe.models["model"]))
        self.step, self.seconds, self.minutes = 0, 0.0, 0.0
        self.log, self.validation_log = CsvLog(options.out / "train.csv"), CsvLog(options.out / "validation.csv")
        self.window: list[Figures] = []  # of the steps since the last row of the log

    def _checkpoint_state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        state = {"average": self.average, "step": self.step, "seconds": self.seconds} | self.models
        for name, several in self.optimisers.items():
            state |= {f"{name}_optimiser_{number}": one for number, one in enumerate(several)}
        return state

    def resume(self) -> None:
        """Go on from the run's checkpoint if there is one. Raises `Error` if it cannot be loaded."""
        checkpoint = checkpoint_of(self.options.out)
        if not checkpoint.exists():
            return
        state = self._checkpoint_state()
        with damaged_checkpoint(checkpoint):
            try:
                self.fabric.load(checkpoint, state)
            except KeyError:
                raise Error(f"{checkpoint} is of a run that cannot be resumed: name another --out") from None
        self.step, self.seconds = state["step"], state["seconds"]
        for group in self._parameter_groups(*self.optimisers):
            if "share" in group:  # the name of lr_scale in older checkpoints
                group["lr_scale"] = group.pop("share")
        self.fabric.print(f"resumed at step {self.step}")

    def run(self) -> None:
        """Take steps until the run is over, with a row of the log every `log_every` steps and a checkpoint now and
        then and at the end."""
        self.first_step, self.seconds_before = self.step, self.seconds
        self.began = self.saved = time.monotonic()
        with signals_received() as self.signals:
            self._take_steps()

    def _take_steps(self) -> None:
        """Take steps until `_due` says that the run is over."""
        batches = prefetch(self.recipe.batch, self.step, self.options.loaders)
        _, is_over = self._due()
        while not is_over:
            self.window.append(self.take_step(next(batches)))
            self.step += 1
            if self.has_local_gradients and self.step % self.options.sync_every == 0:
                average_over_processes(self.fabric, self.models.values(), [])
            interpolate(self.average, self.models["model"], min(self.options.average, self.step / (self.step + 9)))
            if len(self.window) == self.options.log_every:
                self.write_log()
            must_save, is_over = self._due()
            if must_save:
                self.save()
        batches.close()
        self.save()

    def _due(self) -> tuple[bool, bool]:
        """Whether to save and go on, and whether the run is over. The first process decides for all, and only when
        they synchronise: otherwise one would wait for another without end."""
        options = self.options
        if self.has_local_gradients and self.step % options.sync_every and self.step < options.steps:
            return False, False
        now = time.monotonic()
        minutes = (now - self.began) / 60
        is_over = self.step >= options.steps or minutes >= options.max_minutes or bool(self.signals)
        due = not is_over and now - self.saved > options.checkpoint_minutes * 60, is_over, minutes
        must_save, is_over, self.minutes = self.fabric.broadcast(due) if self.fabric.world_size > 1 else due
        return must_save, is_over

    def take_step(self, batch: Batch) -> Figures:
        """One step of every model. A step whose gradient is not finite is skipped."""
        torch.manual_seed(self.options.seed * 1_000_003 + self.step * self.fabric.world_size + self.fabric.global_rank)
        batch = tuple(self.fabric.to_device(part) for part in batch)
        figures: Figures = {}
        shared: dict[str, Any] = {}
        skipped = False
        for name, loss in self.recipe.losses.items():
            model = self.models[name]
            with self._unshared_gradients():
                total, details = loss(self.models, batch, shared)
                self.fabric.backward(total)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.options.clip)
            prefix = "" if name == "model" else f"{name}_"
            figures |= {f"{prefix}loss": total.item()} | details | {f"{prefix}norm": norm.item()}
            if torch.isfinite(norm):
                self._update(name)
            else:
                skipped = True
            for other in self.models.values():  # one model's loss leaves gradients in the others
                other.zero_grad(set_to_none=True)
        self.recipe.after_step()
        return figures | {"skipped": float(skipped)}

    def _unshared_gradients(self) -> ExitStack:
        """A block in which no model's gradients are shared, if processes learn on their own: one model's loss has
        gradients in the others."""
        stack = ExitStack()
        for model in self.models.values() if self.has_local_gradients else ():
            stack.enter_context(self.fabric.no_backward_sync(model))
        return stack

    def _update(self, name: str) -> None:
        """Let a model's optimisers take a step at the learning rate of now."""
        for group in self._parameter_groups(name):
            group["lr"] = learning_rate(self.options, self.step, self.minutes) * group["lr_scale"]
        for optimiser in self.optimisers[name]:
            optimiser.step()

    def _parameter_groups(self, *names: str) -> Iterator[dict[str, Any]]:
        """The parameter groups of these models' optimisers."""
        return (group for name in names for optimiser in self.optimisers[name] for group in optimiser.param_groups)

    def write_log(self) -> None:
        """Write the means over the window to train.csv and to the console, with the speed since the run began."""
        figures = {name: sum(row[name] for row in self.window) / len(self.window) for name in self.window[0]}
        self.window.clear()
        elapsed = time.monotonic() - self.began
        speed = (self.step - self.first_step) / elapsed
        pixels = speed * self.fabric.world_size * megapixels_per_step(self.options)
        left = min((self.options.steps - self.step) / speed / 60, self.options.max_minutes - elapsed / 60)
        if self.fabric.is_global_zero:
            self.log.write({"step": self.step, "steps/s": speed, "megapixels/s": pixels} | figures)
        self.fabric.print(
            f"step {self.step}  {text(figures)}  {speed:.2f} steps/s  {pixels:.3g} megapixels/s  {left:.0f} min left",
            flush=True,
        )

    def save(self) -> None:
        """Write a checkpoint and validate the averaged model."""
        fabric = self.fabric
        self.seconds = self.seconds_before + time.monotonic() - self.began
        if self.has_local_gradients:
            modules = [*self.models.values(), self.average]
            average_over_processes(fabric, modules, itertools.chain(*self.optimisers.values()))
        state = self._checkpoint_state()
        write_checkpoint(self.options.out, lambda path: fabric.save(path, state), fabric.is_global_zero)
        if fabric.is_global_zero and self.recipe.validate:
            with fabric.autocast():
                report = self.recipe.validate(self.average)
            self.validation_log.write({"step": self.step, "hours": self.seconds / 3600} | report)
            fabric.print(text(report))
        fabric.barrier()
        self.saved = time.monotonic()


def train(options: Options, prepare: Callable[[tuple[int, int]], Recipe]) -> nn.Module:
    """Train, or go on where the checkpoint in `options.out` stopped, and return the averaged model.

    Writes to `options.out`: checkpoint.pt (all that is needed to go on exactly), train.csv, validation.csv,
    options.json. SIGINT and SIGTERM end it with a checkpoint.

    Args:
        prepare: makes the recipe for process (rank, count) of a distributed run.

    Raises:
        ValueError: the networks do not take crops of that size, they do not train at that precision, or the folder
            holds another run.
        Error: another process failed, another run has the folder, or a file of the run is damaged.
    """
    check_patch(options.patch, options.patch_unit)
    options = replace(options, precision=precision_of(options.precision, options.accelerator))
    fabric = Fabric(
        accelerator=accelerator_of(options.accelerator), devices=options.devices, num_nodes=options.nodes,
        precision=options.precision,
    )  # fmt: skip
    fabric.launch()
    check_resumed(options.out, asdict(options), CHOSEN)
    torch.manual_seed(options.seed)
    recipe = fails_together(fabric, lambda: prepare((fabric.global_rank, fabric.world_size)))
    take_from_first(fabric, recipe.common)
    check_resumed(options.out, recipe.notes, ("kind",))
    options.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        fails_together(fabric, lambda: stack.enter_context(only_run(options.out, fabric.is_global_zero)))
        trainer = Trainer(options, fabric, recipe)
        trainer.resume()
        if fabric.is_global_zero:
            write_options(options, recipe.notes)
        trainer.run()
    end_group(fabric)
    return trainer.average
