"""The command `lapic-train`: trains models and exports them."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from math import isinf
from pathlib import Path
from typing import Any

import click

from lapic.codec.command import interrupts
from lapic.codec.command.console import Finite, is_given, with_options
from lapic.codec.memory import keep_freed_memory
from lapic.training.cli_checks import (
    Commands,
    check_losses,
    fill_qualities,
    one_line_errors,
    one_line_output,
    options_of,
)
from lapic.training.cli_options import (
    CODEC,
    CUDA_GRAPH,
    DATA,
    FILE,
    FOLDER,
    INIT,
    OBJECTIVE,
    OWN,
    QUALITIES,
    RUN,
    adversarial_options,
)


def _train(options: Any, recipe: Callable) -> None:
    """Train by a recipe."""
    from lapic.training.loop import train

    if options.decay_minutes and isinf(options.max_minutes):
        raise click.UsageError("--decay-minutes needs --max-minutes")
    keep_freed_memory()  # a step takes a tenth less time: its tensors are those of the step before
    with one_line_errors():
        train(options, lambda part: recipe(options, part=part))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train lapic's networks and export their weights."""


@main.command()
@with_options(DATA)
@INIT
@click.option(
    "--quarter", type=click.IntRange(0), default=0, show_default=True,
    help="Width of a stage at 1/4 that a model without one gets.",
)  # fmt: skip
@click.option(
    "--context", type=click.IntRange(0), default=0, show_default=True,
    help="Channels coded first that a model without context gets.",
)  # fmt: skip
@click.option(
    "--generation", type=click.IntRange(1, 2), default=1, show_default=True,
    help="Of the networks of a model that starts from the KLT.",
)  # fmt: skip
@click.option(
    "--patterns",
    type=Finite(0, 1),
    default=1 / 16,
    show_default="1/16",
    help="Share of crops that are stripes, checks and blocks.",
)
@click.option("--teacher", help="With --generation 2: learn from the latents of this model, a name or a weights file.")
@with_options(QUALITIES)
@with_options(OBJECTIVE)
@with_options(RUN)
@with_options(CUDA_GRAPH)
@click.pass_context
def codec(call: click.Context, cuda_graph: bool, **options: Any) -> None:
    """Stage 1: train the codec for rate and distortion, from the KLT unless --init is given.

    With --cuda-graph on one GPU, a hundred times as fast: compiled steps, with all data in its memory. Such a run
    cannot be resumed.
    """
    from lapic.training.codec import CodecOptions, recipe
    from lapic.training.cuda_graph import CudaGraphOptions, train_with_cuda_graph

    fill_qualities(options, options["init"])
    if not cuda_graph:
        _train(CodecOptions(**options_of(call, CodecOptions, options, "needs --cuda-graph")), recipe)
        return
    if not options["init"]:
        raise click.UsageError("--cuda-graph needs --init")
    known = options_of(call, CudaGraphOptions, options, "does not go with --cuda-graph")
    own = ("lowest", "highest")  # all other defaults are those of CudaGraphOptions
    given = {name: value for name, value in known.items() if name in own or is_given(call, name)}
    with one_line_errors():
        train_with_cuda_graph(CudaGraphOptions(**given))


@main.command()
@with_options(DATA)
@click.option(
    "--task", "tasks", type=click.Choice(["jpeg", "denoise", "deblur", "upscale"]), multiple=True, required=True,
    help="What to undo; may be given several times.",
)  # fmt: skip
@with_options(adversarial_options())
@INIT
@with_options(RUN)
def restorer(**options: Any) -> None:
    """Train a restorer of JPEG artefacts, noise, blur or halved size, applied to clean pictures on the fly."""
    from lapic.training.restoration import RestorationOptions, recipe

    check_losses()
    _train(RestorationOptions(**options), recipe)


@main.command()
@with_options(DATA)
@CODEC
@with_options(QUALITIES)
@with_options(OBJECTIVE)
@with_options(RUN)
def decoder(**options: Any) -> None:
    """Train a codec's synthesis alone, from latents as files hold them. Bitstreams and the model's id do not change."""
    from lapic.training.decoder import DecoderOptions, recipe

    fill_qualities(options, options["model"])
    _train(DecoderOptions(**options), recipe)


@main.command()
@with_options(DATA)
@CODEC
@with_options(QUALITIES)
@with_options(RUN)
def entropy(**options: Any) -> None:
    """Train a codec's entropy model alone: a new model with the same pixels in fewer bits.

    Only the rate is trained, so --objective does not apply.
    """
    from lapic.training.entropy import EntropyOptions, recipe

    fill_qualities(options, options["model"])
    _train(EntropyOptions(**options), recipe)


@main.command()
@with_options(DATA)
@CODEC
@with_options(adversarial_options(gan=True, gan_weight=0.1, gan_loss="non-saturating", lpips=1.0, periodic_weight=0.1))
@click.option(
    "--distortion", type=Finite(0), default=0.02, show_default=True, help="Weight of the error in grey levels."
)
@INIT
@with_options(RUN)
def adversarial(**options: Any) -> None:
    """Stage 2: train the realistic decoder behind a frozen codec, as HiFiC's generator; no bitstream changes."""
    from lapic.training.realism import RealismOptions, recipe

    check_losses()
    _train(RealismOptions(**options), recipe)


@main.command()
@click.argument("old")
@click.argument("new")
@click.argument("realistic", type=FILE)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=FOLDER, required=True, help="Folder of pictures.")
@with_options(QUALITIES)
@click.option("--crops", type=click.IntRange(5), default=160, show_default=True, help="Crops of 192 x 192 to fit to.")
def transfer(old: str, new: str, realistic: Path, **options: Any) -> None:
    """Adapt the REALISTIC decoder of the codec OLD to another codec, NEW, and write it to OUT."""
    from lapic.training.transfer import transfer as fit_transfer

    fill_qualities(options, new)
    with one_line_errors():
        before, after = fit_transfer(old, new, realistic, **options)
    click.echo(f"{options['out']}: unexplained variance in {new} {before:.0%} before, {after:.0%} after")


@main.command()
@click.option("--pairs", type=FOLDER, nargs=2, help="Two folders of pictures with the same names and sizes.")
@click.option("--from", "source", type=FOLDER, help="Without pairs: pictures to translate.")
@click.option("--to", "target", type=FOLDER, help="Without pairs: pictures of the wanted look.")
@click.option("--style", type=FILE, help="Instead of --to: one picture whose style is learned.")
@click.option("--net", type=click.Choice(["translator", "lptn"]), default="translator", show_default=True)
@click.option("--cycle", is_flag=True, help="Without pairs: learn the way back too, as CycleGAN and DualGAN do.")
@with_options(adversarial_options())
@INIT
@with_options(RUN)
def translator(**options: Any) -> None:
    """Train a translator from pairs, from two folders, or into the style of a picture."""
    from lapic.training.translation import TranslationOptions, recipe

    check_losses()
    _train(TranslationOptions(**options), recipe)


@main.command()
@click.option("--pairs", type=FOLDER, nargs=2, required=True, help="Two folders of pictures with the same names.")
def grey(pairs: tuple[Path, Path]) -> None:
    """Find the factor of the grey-density method for `lapic translate --model grey:FACTOR`."""
    from lapic.training.data import list_pictures, read_pair
    from lapic.training.grey import fit_factor

    with one_line_errors():
        both = (read_pair(pairs, path) for path in list_pictures(pairs[0]))
        factor, quality = fit_factor((pair[..., :3], pair[..., 3:]) for pair in both)
    click.echo(f"grey:{factor:.3f}  ({quality:.2f} dB)")


@main.command()
@with_options(OWN)
def own(**options: Any) -> None:
    """Train a model of your own PHOTOS, on from a shipped one, and write it to --out.

    A fifth of the photos is held out: on these both models are measured. The new one is for qualities 1 to 60. It is
    trained on one GPU if there is one, else on the CPU; there Ctrl-C ends the training early, and what was learned is
    exported and measured.
    """
    with one_line_errors():
        from lapic.training.own import OwnOptions, summary, train_own

        given = OwnOptions(**options)
        keep_freed_memory()
        click.echo(summary(train_own(given), given))


@main.command()
@click.argument("checkpoint", type=FILE)
@click.argument("name")
@click.option("--data", type=FOLDER, help="Pictures to fit a codec to; the run's own if not given.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; the package's weights if not given.")
@click.option(
    "--crops", type=click.IntRange(1),
    help="How many crops to take from them: 64 of 512 x 512 for a codec's tables, 32 of 256 x 256 for a decoder's "
    "curvatures, if not given.",
)  # fmt: skip
@click.option(
    "--interpolate",
    type=Finite(0, 1),
    default=1.0,
    show_default=True,
    help="Between the weights that a codec's run started from, 0, and its last, 1.",
)
@click.option(
    "--beside",
    type=FILE,
    multiple=True,
    help="Checkpoint of another run of a codec from the same weights: takes the mean.",
)
def export(
    checkpoint: Path,
    name: str,
    data: Path | None,
    folder: Path | None,
    crops: int | None,
    interpolate: float,
    beside: tuple[Path, ...],
) -> None:
    """Write a checkpoint's averaged weights to NAME.safetensors: a codec with exact integers and fitted tables."""
    from lapic.codec.model.translator_weights import TRANSLATORS
    from lapic.training.export import export_checkpoint, export_synthesis, export_translator
    from lapic.training.run_files import read_options

    with one_line_errors():
        kind = read_options(checkpoint.parent).get("kind", "codec")
        if beside and kind != "codec":
            raise click.UsageError("--beside takes the mean of codecs alone")
        if interpolate != 1 and kind != "codec":
            raise click.UsageError("--interpolate is for codecs alone")
        if (data or crops) and kind not in ("codec", "synthesis"):
            raise click.UsageError("--data and --crops are for codecs alone")
        fit: dict[str, Any] = {"data": data, "folder": folder} | ({"crops": crops} if crops else {})
        if kind == "synthesis":
            path, identity = export_synthesis(checkpoint, name, **fit)
            what = f"model {identity.hex()}, unchanged but for its synthesis"
        elif kind != "codec":
            path = (folder or TRANSLATORS) / f"{name}.safetensors"
            export_translator(checkpoint, path)
            what = "translator"
        else:
            path, identity = export_checkpoint(checkpoint, name, interpolate=interpolate, beside=beside, **fit)
            what = f"model {identity.hex()}"
    click.echo(f"{path}: {what}, {path.stat().st_size / 2**20:.2f} MiB")


@main.command("onnx")
@click.argument("model")
@click.argument("folder", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
def onnx_pack(model: str, folder: Path) -> None:
    """Write MODEL, a shipped name or a weights file, to the folder OUT as ONNX graphs and tables (docs/WEB.md)."""
    if find_spec("onnx") is None:
        raise click.ClickException("the package onnx is missing: pip install 'lapic[web]'")
    from lapic.training.pack.export import write_pack

    with one_line_errors():
        written = write_pack(model, folder)
    click.echo(f"{folder}: {len(written)} files, {sum(written.values()) / 2**20:.2f} MiB")


def run() -> None:
    """The entry point of the process: SIGTERM ends it with temporary files removed."""
    interrupts.end_on_sigterm()
    try:
        with one_line_output():
            main(prog_name="lapic-train")
    except interrupts.Ended as ended:
        print(f"lapic-train: {ended.reason}", file=sys.stderr)
        raise


if __name__ == "__main__":
    run()
