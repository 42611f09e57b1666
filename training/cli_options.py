"""Options that commands of `lapic-train` share. Imports nothing heavy."""

import math
from pathlib import Path
from typing import Any

import click

from lapic.codec.command.console import Finite, is_given
from lapic.codec.defaults import DEFAULT_MODEL, DEFAULT_TUNE, TUNES


class _Number(click.FloatRange):
    """A number in a range, which "inf" may be in and "nan" is not."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number, or a usage error."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
GAN_LOSSES = ["least-squares", "hinge", "non-saturating"]  # of training.adversarial, which takes seconds to import
RUN = [
    click.option(
        "--out", type=click.Path(path_type=Path), required=True, help="Checkpoint and logs; resumed if there."
    ),
    click.option("--steps", type=click.IntRange(1), default=100_000, show_default=True, help="Steps in all."),
    click.option(
        "--batch", type=click.IntRange(1), default=8, show_default=True, help="Crops in a step, for each process."
    ),
    click.option(
        "--patch", type=click.IntRange(32), default=128, show_default=True, help="Edge of the crops in pixels."
    ),
    click.option("--learning-rate", type=Finite(0), default=5e-4, show_default=True),
    click.option(
        "--warmup", type=click.IntRange(0), default=200, show_default=True, help="Steps of rising learning rate."
    ),
    click.option(
        "--decay",
        type=click.IntRange(0),
        default=10_000,
        show_default=True,
        help="Steps of falling learning rate at the end.",
    ),
    click.option(
        "--decay-minutes",
        type=Finite(0),
        default=0.0,
        show_default=True,
        help="Minutes of falling learning rate at the end of --max-minutes.",
    ),
    click.option(
        "--average",
        type=Finite(0, 1),
        default=0.999,
        show_default=True,
        help="Decay of the weights' moving average.",
    ),
    click.option("--seed", default=0, show_default=True),
    click.option(
        "--max-minutes",
        type=_Number(0),
        default=float("inf"),
        help="Stop, with a checkpoint, after this time.",
    ),
    click.option("--checkpoint-minutes", type=_Number(0), default=5.0, show_default=True),
    click.option("--log-every", type=click.IntRange(1), default=50, show_default=True, help="Steps."),
    click.option(
        "--precision",
        default="auto",
        show_default=True,
        help="Lightning Fabric's, but neither float16 nor bf16-true; auto: bf16-mixed where the device computes in "
        "that, else 32-true.",
    ),
    click.option("--accelerator", default="auto", show_default=True, help="cpu, cuda or auto."),
    click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="Processes on each machine."),
    click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines."),
    click.option(
        "--sync-every",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="1: processes share every gradient. More: each learns from its own, and they average their weights every "
        "so many steps.",
    ),
    click.option(
        "--loaders", type=click.IntRange(1), default=2, show_default=True, help="Threads that prefetch batches."
    ),
]
DATA = [
    click.option("--data", type=FOLDER, required=True, help="Folder of pictures, or of shards (.tar)."),
    click.option("--validation", type=FOLDER, help="Held-out pictures, edges multiples of 64."),
]


def adversarial_options(
    gan: bool = False,
    gan_weight: float = 1.0,
    gan_loss: str = "least-squares",
    lpips: float = 0.0,
    periodic_weight: float = 0.0,
) -> list:
    """The options of paired.PairedOptions with these defaults."""
    return [
        click.option(
            "--gan/--no-gan", default=gan, show_default=True,
            help="With targets: an adversarial loss and feature matching. Without pairs it is always on.",
        ),
        click.option("--gan-weight", type=Finite(0), default=gan_weight, show_default=True,
                     help="Weight of the adversarial loss."),
        click.option("--gan-loss", type=click.Choice(GAN_LOSSES), default=gan_loss, show_default=True,
                     help="The adversarial loss."),
        click.option("--lpips", type=Finite(0), default=lpips, show_default=True, help="Weight of LPIPS."),
        click.option("--periodic-weight", type=Finite(0), default=periodic_weight, show_default=True,
                     help="Weight of the penalty of periodic artefacts: errors that repeat with the network's cells."),
        click.option(
            "--lpips-backbone", "backbone", type=FILE, help="SqueezeNet's features; downloaded if not given."
        ),
    ]  # fmt: skip


CODEC = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="The codec: a shipped name or a weights file."
)
QUALITIES = [
    click.option(f"--{which}", type=click.IntRange(1, 100),
                 help=f"{which.capitalize()} quality that the codec is for; if not given {default}, or that of the "
                 "model that it starts from.")
    for which, default in (("lowest", 1), ("highest", 100))
]  # fmt: skip
INIT = click.option("--init", help="Start from a shipped model's name or a weights file.")


def _needs_eye(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse an option of --objective eye without that. Raises UsageError."""
    if is_given(context, str(parameter.name)) and context.params["objective"] != "eye":
        raise click.UsageError(f"{parameter.opts[0]} needs --objective eye")
    return value


OBJECTIVE = [
    click.option("--objective", type=click.Choice(["psnr", "eye"]), default="psnr", show_default=True, is_eager=True,
                 help="The distortion: square error alone, or mixed with measures that follow perception."),
    click.option("--structure", type=Finite(0, 1), default=0.5, show_default=True, callback=_needs_eye,
                 help="With --objective eye: share of SSIMULACRA2's terms in the distortion."),
    click.option("--lpips", type=Finite(0, 1), default=0.0, show_default=True, callback=_needs_eye,
                 help="With --objective eye: share of LPIPS in the distortion."),
    click.option("--lpips-backbone", "backbone", type=FILE, callback=_needs_eye,
                 help="SqueezeNet's features; downloaded if not given."),
]  # fmt: skip
CUDA_GRAPH = [
    click.option("--cuda-graph", is_flag=True, help="On one GPU, for --minutes, by steps captured as a CUDA graph. "
                 "Needs --init. Its defaults: --batch 16, --patch 256, --log-every 500."),
    click.option("--minutes", type=Finite(0), default=9.0, show_default=True,
                 help="With --cuda-graph: time, compilation included, over which the learning rate falls to 0."),
    click.option("--more-coarse", type=click.IntRange(0), default=0, show_default=True,
                 help="With --cuda-graph: blocks at 1/16 that an analysis without more gets."),
    click.option("--more-fine", type=click.IntRange(0), default=0, show_default=True,
                 help="With --cuda-graph: the same at 1/8."),
    click.option("--device", default="cuda", show_default=True,
                 help="With --cuda-graph: cuda, cuda:N or, to try it out, cpu."),
]  # fmt: skip
OWN = [
    click.argument("photos", type=FOLDER),
    click.option("--minutes", default=60.0, show_default=True, help="For all of it: measuring and export included."),
    click.option("--out", type=click.Path(path_type=Path), required=True, help="The weights file to write."),
    click.option("--tune", type=click.Choice(TUNES), default=DEFAULT_TUNE, show_default=True,
                 help="What files are to be best by: how they look, or the least square error."),
    click.option("--elsewhere", type=FOLDER, help="Other photos, to say what the model costs on them; those of a "
                 "clone's examples/ if not given."),
    click.option("--force", is_flag=True, help="Replace the weights file if it is there."),
]  # fmt: skip
