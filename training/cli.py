"""The command `lapic-train`: trains models and exports them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bitstream import Error
from codec import DEFAULT_MODEL
from codec.console import with_options

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
KINDS = ["least-squares", "hinge", "non-saturating"]  # of training.adversarial, which takes seconds to import
RUN = [
    click.option(
        "--out", type=click.Path(path_type=Path), required=True, help="Checkpoint and logs; resumed if there."
    ),
    click.option("--steps", default=100_000, show_default=True, help="Steps in all."),
    click.option("--batch", default=8, show_default=True, help="Crops in a step, for each process."),
    click.option("--patch", default=128, show_default=True, help="Edge of the crops in pixels."),
    click.option("--learning-rate", default=5e-4, show_default=True),
    click.option("--warmup", default=200, show_default=True, help="Steps of rising learning rate."),
    click.option("--decay", default=10_000, show_default=True, help="Steps of falling learning rate at the end."),
    click.option("--average", default=0.999, show_default=True, help="Decay of the weights' moving average."),
    click.option("--seed", default=0, show_default=True),
    click.option("--max-minutes", default=float("inf"), help="Stop, with a checkpoint, after this time."),
    click.option("--checkpoint-minutes", default=5.0, show_default=True),
    click.option("--log-every", default=50, show_default=True, help="Steps."),
    click.option(
        "--precision",
        default="auto",
        show_default=True,
        help="Lightning Fabric's; auto: bf16-mixed where the device computes in bfloat16, else 32-true.",
    ),
    click.option("--accelerator", default="auto", show_default=True, help="cpu, cuda or auto."),
    click.option("--devices", default=1, show_default=True, help="Processes on each machine."),
    click.option("--nodes", default=1, show_default=True, help="Machines."),
    click.option(
        "--together",
        default=1,
        show_default=True,
        help="1: processes share every gradient. More: each learns alone, all take the mean every so many steps.",
    ),
    click.option("--loaders", default=2, show_default=True, help="Threads that make batches ahead of the loop."),
]
DATA = [
    click.option("--data", type=FOLDER, required=True, help="Folder of pictures."),
    click.option("--validation", type=FOLDER, help="Held-out pictures, edges multiples of 64."),
]


def _adversarial(
    gan: bool = False, adversary: float = 1.0, game: str = "least-squares", lpips: float = 0.0, stamps: float = 0.0
) -> list:
    """The options of paired.PairedOptions with these defaults."""
    return [
        click.option(
            "--gan/--no-gan", default=gan, show_default=True,
            help="With targets: an adversarial loss and feature matching. Without pairs it is always on.",
        ),
        click.option("--adversary", type=click.FloatRange(0), default=adversary, show_default=True,
                     help="Weight of --gan."),
        click.option("--game", type=click.Choice(KINDS), default=game, show_default=True, help="The adversarial loss."),
        click.option("--lpips", type=click.FloatRange(0), default=lpips, show_default=True, help="Weight of LPIPS."),
        click.option("--stamps", type=click.FloatRange(0), default=stamps, show_default=True,
                     help="Weight of errors that repeat with the network's cells."),
        click.option(
            "--lpips-backbone", "backbone", type=FILE, help="SqueezeNet's features; downloaded if not given."
        ),
    ]  # fmt: skip


CODEC = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="The codec: a shipped name or a weights file."
)
QUALITIES = [
    click.option(f"--{which}", type=click.IntRange(1, 100), default=default, show_default=True,
                 help=f"{which.capitalize()} quality that the codec is for.")
    for which, default in (("lowest", 1), ("highest", 100))
]  # fmt: skip
INIT = click.option("--init", help="Start from a shipped model's name or a weights file.")


OBJECTIVE = [
    click.option("--objective", type=click.Choice(["psnr", "eye"]), default="psnr", show_default=True,
                 help="The distortion: square error alone, or mixed with what is seen."),
    click.option("--structure", type=click.FloatRange(0, 1), default=0.5, show_default=True,
                 help="With eye: share of SSIMULACRA2's terms."),
    click.option("--lpips", type=click.FloatRange(0, 1), default=0.0, show_default=True,
                 help="With eye: share of LPIPS."),
    click.option("--lpips-backbone", "backbone", type=FILE, help="SqueezeNet's features; downloaded if not given."),
]  # fmt: skip


@contextmanager
def _one_line() -> Iterator[None]:
    """Expected failures in one line."""
    try:
        yield
    except (Error, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _train(options: Any, recipe: Callable) -> None:
    """Train by a recipe."""
    from training.loop import train

    with _one_line():
        train(options, lambda part: recipe(options, part=part))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train lapic's networks and export their weights."""


@main.command()
@with_options(DATA)
@INIT
@click.option("--quarter", default=0, show_default=True, help="Width of a stage at 1/4 that a model without one gets.")
@click.option("--context", default=0, show_default=True, help="Channels coded first that a model without context gets.")
@with_options(QUALITIES)
@with_options(OBJECTIVE)
@with_options(RUN)
def codec(**options: Any) -> None:
    """Stage 1: train the codec for rate and distortion, from the KLT if --init says nothing else."""
    from training.codec import CodecOptions, recipe

    _train(CodecOptions(**options), recipe)


@main.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of pictures.")
@click.option("--init", required=True, help="Start from a shipped model's name or a weights file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the checkpoint is written.")
@click.option("--minutes", type=click.FloatRange(0), default=9.0, show_default=True, help="Time, compilation included.")
@with_options(QUALITIES)
@click.option("--batch", default=16, show_default=True, help="Crops in a step.")
@click.option("--patch", default=256, show_default=True, help="Edge of the crops in pixels.")
@click.option("--learning-rate", default=5e-4, show_default=True, help="Falls to 0 over most of the time.")
@click.option("--more-coarse", default=0, show_default=True, help="Blocks at 1/16 that an analysis without more gets.")
@click.option("--more-fine", default=0, show_default=True, help="The same at 1/8.")
@click.option("--seed", default=0, show_default=True)
@click.option("--log-every", default=500, show_default=True, help="Steps.")
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N or, for trying it out, cpu.")
def captured(**options: Any) -> None:
    """Stage 1 on one GPU, a hundred times as fast: compiled steps, all data in its memory. Needs --init."""
    from training.captured import CapturedOptions, train_captured

    with _one_line():
        train_captured(CapturedOptions(**options))


@main.command()
@with_options(DATA)
@click.option(
    "--task", "tasks", type=click.Choice(["jpeg", "denoise", "deblur", "upscale"]), multiple=True, required=True,
    help="What to undo; may be given several times.",
)  # fmt: skip
@with_options(_adversarial())
@INIT
@with_options(RUN)
def restorer(**options: Any) -> None:
    """Train a restorer of JPEG's traces, noise, blur or halving, all made from clean pictures as it learns."""
    from training.restoration import RestorationOptions, recipe

    _train(RestorationOptions(**options), recipe)


@main.command()
@with_options(DATA)
@CODEC
@with_options(QUALITIES)
@with_options(RUN)
def decoder(**options: Any) -> None:
    """Train a codec's synthesis alone, from files as its encoder makes them. No other file changes: the id stays."""
    from training.decoder import DecoderOptions, recipe

    _train(DecoderOptions(**options), recipe)


@main.command()
@with_options(DATA)
@CODEC
@with_options(QUALITIES)
@with_options(RUN)
def entropy(**options: Any) -> None:
    """Train a codec's entropy model alone: a new model with the same pixels in fewer bits."""
    from training.entropy import EntropyOptions, recipe

    _train(EntropyOptions(**options), recipe)


@main.command()
@with_options(DATA)
@CODEC
@with_options(_adversarial(gan=True, adversary=0.1, game="non-saturating", lpips=1.0, stamps=0.1))
@click.option("--distortion", default=0.02, show_default=True, help="Weight of the error in grey levels.")
@INIT
@with_options(RUN)
def adversarial(**options: Any) -> None:
    """Stage 2: train the realistic decoder behind a frozen codec, as HiFiC's generator; no bitstream changes."""
    from training.realism import RealismOptions, recipe

    _train(RealismOptions(**options), recipe)


@main.command()
@click.argument("old")
@click.argument("new")
@click.argument("realistic", type=FILE)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=FOLDER, required=True, help="Folder of pictures.")
@with_options(QUALITIES)
@click.option("--crops", default=160, show_default=True, help="Crops of 192 x 192 to fit to.")
def transfer(old: str, new: str, realistic: Path, **options: Any) -> None:
    """Take the REALISTIC decoder of the codec OLD over to NEW, which was trained on from it, and write it to OUT."""
    from training.transfer import transfer as take_over

    with _one_line():
        before, after = take_over(old, new, realistic, **options)
    click.echo(f"{options['out']}: of what it saw {before:.0%} were missing in {new}, now {after:.0%} are")


@main.command()
@click.option("--pairs", type=FOLDER, nargs=2, help="Two folders of pictures with the same names and sizes.")
@click.option("--from", "source", type=FOLDER, help="Without pairs: what is given.")
@click.option("--to", "target", type=FOLDER, help="Without pairs: what it shall look like.")
@click.option("--style", type=FILE, help="Instead of --to: one picture whose style is learned.")
@click.option("--net", type=click.Choice(["translator", "lptn"]), default="translator", show_default=True)
@click.option("--cycle", is_flag=True, help="Without pairs: learn the way back too, as CycleGAN and DualGAN do.")
@with_options(_adversarial())
@INIT
@with_options(RUN)
def translator(**options: Any) -> None:
    """Train a translator from pairs, from two folders, or into the style of a picture."""
    from training.translation import TranslationOptions, recipe

    _train(TranslationOptions(**options), recipe)


@main.command()
@click.option("--pairs", type=FOLDER, nargs=2, required=True, help="Two folders of pictures with the same names.")
def grey(pairs: tuple[Path, Path]) -> None:
    """Find the factor of the grey-density method for `lapic translate --model grey:FACTOR`."""
    from training.data import list_pictures, read_pair
    from training.grey import fit_factor

    with _one_line():
        both = (read_pair(pairs, path) for path in list_pictures(pairs[0]))
        factor, quality = fit_factor((pair[..., :3], pair[..., 3:]) for pair in both)
    click.echo(f"grey:{factor:.3f}  ({quality:.2f} dB)")


@main.command()
@click.argument("checkpoint", type=FILE)
@click.argument("name")
@click.option("--data", type=FOLDER, help="Pictures to fit a codec's tables to; the run's own if not given.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; the package's weights if not given.")
@click.option("--crops", default=64, show_default=True, help="Crops of 512 x 512 to fit a codec's tables to.")
@click.option("--share", default=1.0, show_default=True, help="Of a codec's way from the weights it started from.")
def export(checkpoint: Path, name: str, data: Path | None, folder: Path | None, crops: int, share: float) -> None:
    """Write a checkpoint's averaged weights to NAME.safetensors: a codec with exact integers and fitted tables."""
    from codec.translators import TRANSLATORS
    from training.export import export_checkpoint, export_synthesis, export_translator

    with _one_line():
        kind = json.loads((checkpoint.parent / "options.json").read_text()).get("kind", "codec")
        if kind == "synthesis":
            path, identity = export_synthesis(checkpoint, name, folder)
            what = f"model {identity.hex()} as before, with another synthesis"
        elif kind != "codec":
            path = (folder or TRANSLATORS) / f"{name}.safetensors"
            export_translator(checkpoint, path)
            what = "translator"
        else:
            path, identity = export_checkpoint(checkpoint, name, data, folder, crops, share)
            what = f"model {identity.hex()}"
    click.echo(f"{path}: {what}, {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
