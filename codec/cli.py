"""The command `lapic`. Nothing heavy is imported before a command needs it."""

import json
import os
import sys
from functools import partial
from typing import Any

import click

from lapic import codec
from lapic.bitstream.error import Error
from lapic.codec import api, streams
from lapic.codec.command import interrupts, restore_commands, web_commands
from lapic.codec.command.coding_options import DECODE_OPTIONS, ENCODE_OPTIONS
from lapic.codec.command.console import (
    boundary,
    is_given,
    one_line_errors,
    print_stderr,
    quiet_pillow,
    with_options,
    write_line,
)
from lapic.codec.command.failures import about
from lapic.codec.command.options import (
    BATCH_OPTIONS,
    DEVICE,
    MAX_PIXELS,
    MODEL,
    PICTURE_OPTIONS,
    QUIET,
    Batch,
    check_name,
    convert_file,
    convert_files,
    convert_to_pictures,
    is_there,
    named_inputs,
    named_places,
    refuse_cluster,
)
from lapic.codec.command.verify import verify
from lapic.codec.evaluation import commands
from lapic.codec.memory import collect_seldom, keep_freed_memory


def _print_version(context: click.Context, _: Any, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from lapic.codec.model.shipped import own_models, shipped

        click.echo(f"lapic {codec.__version__}")
        for model_id, name in shipped().items():
            click.echo(f"model {name} {model_id.hex()}")
        for model_id, path in own_models().items():
            click.echo(f"own model {path.stem} {model_id.hex()} ({path})")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", "-V", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Show the version and the installed models, and exit.")  # fmt: skip
def main() -> None:
    """A learned image codec: compress photos to small .lapic files, and back.

    Own models are found in the folders that the environment variable LAPIC_MODELS names and in
    $XDG_DATA_HOME/lapic/models, which is ~/.local/share/lapic/models where XDG_DATA_HOME is not set.
    """


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.argument("output")
@with_options(ENCODE_OPTIONS)
@with_options(BATCH_OPTIONS)
@MAX_PIXELS
@DEVICE
@QUIET
@one_line_errors
def encode(
    inputs: tuple[str, ...], output: str, frames: bool, quiet: bool, recursive: bool, jobs: int, skip_existing: bool,
    manifest: str | None, force_format: bool, cluster: str | None, metrics: str, **settings: Any,
) -> None:  # fmt: skip
    """Compress pictures to .lapic files; "-" is standard input or output.

    Several inputs, folders and patterns go into the folder OUTPUT, as PICTURE.lapic. An OUTPUT with the name of another
    picture format, such as photo.jpg, is refused.
    """
    from lapic.codec import files
    from lapic.codec.command.batch import Pair, is_batch
    from lapic.codec.command.convert import encode_file, encode_frames
    from lapic.codec.command.jobs import EncodeJob

    has_target = sum(settings[target] is not None for target in ("size", "bpp", "psnr"))
    if has_target + is_given(click.get_current_context(), "quality") > 1:
        raise click.UsageError("--quality, --size, --bpp and --psnr exclude each other")
    inputs, output = named_places(inputs, output)
    work, job_class = encode_file, EncodeJob
    if metrics:
        work, job_class, settings = commands.measured_encoding(metrics, frames, settings)
    if not frames and is_batch(inputs, output):

        def job_of(pair: Pair) -> EncodeJob:
            return job_class(pair.source, pair.target, keep_times=True, **settings)

        suffixes = files.picture_suffixes() - {".lapic"}
        batch = Batch(recursive, jobs, skip_existing, manifest, quiet, cluster, settings["device"])
        convert_files(work, job_of, suffixes, ".lapic", inputs, output, batch)
        return
    refuse_cluster(cluster)
    if frames and len(inputs) > 1:
        raise click.UsageError("--frames takes one INPUT")
    if frames and output == "-":
        raise click.UsageError("frames cannot go to standard output: name a folder")
    if frames:
        work = partial(encode_frames, skip_existing=skip_existing)
    else:
        check_name(output, force_format, lapic=True)
        if skip_existing and is_there(inputs[0], output, manifest):
            return
    facts = convert_file(work, job_class(inputs[0], output, **settings), quiet, manifest)
    if not quiet:
        print_stderr(_encoded(facts, has_target and not frames))


def _encoded(facts: dict[str, Any], tell_quality: bool) -> str:
    """One line about an encoded picture, or about the frames of one, of which some may be skipped."""
    skipped = facts.get("skipped", 0)
    parts = [f"{facts['width']} x {facts['height']}"]
    if "frames" in facts:
        parts.append(f"{facts['frames']} frames" + f" ({skipped} skipped)" * bool(skipped))
    parts.append(f"{facts['bytes']} bytes")
    if tell_quality:
        parts.append(f"quality {facts['quality']:g}")
    if pixels := facts["width"] * facts["height"] * (facts.get("frames", 1) - skipped):
        seconds = facts["seconds"]
        parts.append(f"{8 * facts['bytes'] / pixels:.3f} bpp, {seconds:.2f} s, {pixels / seconds / 1e6:.1f} MP/s")
    return ", ".join(parts)


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.argument("output")
@with_options(DECODE_OPTIONS)
@with_options(PICTURE_OPTIONS)
@with_options(BATCH_OPTIONS)
@MAX_PIXELS
@DEVICE
@QUIET
@one_line_errors
def decode(scale: str, **options: Any) -> None:
    """Decompress .lapic files to pictures (PNG on standard output); "-" is standard input or output.

    Several inputs, folders and patterns go into the folder OUTPUT, as PNG if --format says nothing else.
    """
    from lapic.codec.command.convert import decode_file
    from lapic.codec.command.jobs import DecodeJob

    convert_to_pictures(decode_file, DecodeJob, {".lapic"}, scale=int(scale), **options)


@main.command()
@click.argument("file")
@MODEL
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@one_line_errors
def info(file: str, model: str | None, as_json: bool) -> None:
    """Show what is in a .lapic file and how many bytes each part takes."""
    from lapic.codec import files

    [file] = named_inputs((file,))
    with about(file):
        facts = api.info(files.read_input(file), model=model)
    if as_json:
        streams.write(json.dumps(facts, indent=2) + "\n")
        return
    name = facts["model"]["name"] or "not installed"
    write_line(
        f"{facts['width']} x {facts['height']} {facts['mode']}, quality {facts['quality']:g}, {facts['bpp']:.3f} bpp"
    )
    write_line(f"model {facts['model']['id']} ({name}), format version {facts['format_version']}")
    write_line(f"{facts['tiles']} tile(s)" + (f" of {facts['tile']} pixels" if facts["tile"] else ""))
    if regions := facts["regions"]:
        write_line(f"regions: {regions['share']:.1%} of the picture at up to quality {regions['quality']:g}")
    for part, size in facts["bytes"].items():
        write_line(f"{part:>10} {size:>10} bytes")


@main.command()
@one_line_errors
def selftest() -> None:
    """Test whether this machine decodes exactly, on each of its devices and with different numbers of threads."""
    from lapic.codec.selftest import trials

    failed = 0
    for trial in trials():
        failed += not trial.passed
        write_line(f"{'ok  ' if trial.passed else 'FAIL'} {trial.what}: {trial.found}")
    if failed:
        raise Error(f"this machine does not decode exactly: {failed} trial(s) failed")
    write_line("this machine decodes exactly")


for command in (
    restore_commands.restore,
    restore_commands.translate,
    verify,
    commands.evaluate,
    commands.plot,
    commands.compare,
    web_commands.view,
    web_commands.web,
):
    main.add_command(command)


def _arguments() -> list[str]:
    """The arguments of the process. Windows leaves patterns and "~" to programs: a file's name is taken as it is, such
    as photo[1].png, which as a pattern would mean photo1.png."""
    from lapic.codec import files

    if os.name != "nt":
        return sys.argv[1:]
    given = [one if files.is_address(one) else os.path.expanduser(one) for one in sys.argv[1:]]
    return [name for one in given for name in ([one] if files.is_address(one) else files.matches(one) or [one])]


def run() -> None:
    """The entry point of the process: its streams, signals and memory, then the command."""
    streams.open_closed()
    streams.escape_unknown()
    interrupts.end_on_signals()
    quiet_pillow()
    keep_freed_memory()
    collect_seldom()
    stdout = sys.stdout
    with boundary():
        try:
            main(_arguments(), prog_name="lapic")
        except SystemExit:
            if sys.stdout is not stdout:  # click replaces it when the reader of the help that it prints is gone
                sys.exit(streams.BROKEN_PIPE)
            raise
        except OSError as error:  # click printed help, for commands have a boundary of their own
            raise Error(f"cannot write to standard output: {error.strerror}") from None
        finally:
            streams.flush()


if __name__ == "__main__":
    run()
