"""What the commands that convert pictures share: their options, and the conversion of one file or of many."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from lapic.bitstream.error import Error
from lapic.codec import defaults
from lapic.codec.command import interrupts
from lapic.codec.command.console import print_stderr, stage_progress, tile_progress
from lapic.codec.command.failures import attempt, named
from lapic.codec.streams import STANDARD_OUTPUT

DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
MAX_PIXELS = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=defaults.MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures.",
)


def _known_colour(context: Any, parameter: Any, value: str) -> str:
    from PIL import ImageColor

    try:
        known = max(ImageColor.getrgb(value)) <= 255  # Pillow takes rgb(300,0,0)
    except ValueError:
        known = False
    if not known:
        raise click.BadParameter(f"{value!r} is not a colour such as white, black or #ffeedd")
    return value


PICTURE_OPTIONS = [
    click.option("--strip", is_flag=True, help="Leave out ICC profile, EXIF and XMP."),
    click.option("--strict", is_flag=True, help="Refuse pictures and formats if something cannot be kept."),
    click.option(
        "--background", default="white", show_default=True, metavar="COLOUR", callback=_known_colour,
        help="Behind transparent pixels, for formats without alpha: a name, or #rrggbb.",
    ),
]  # fmt: skip
MODEL = click.option(
    "--model", metavar="FILE",
    help="The model that the files need, by weights file or name; found by its id if not given.",
)  # fmt: skip
QUIET = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
CLUSTER = click.option(
    "--cluster", metavar="ADDRESS",
    help="Work on a Ray cluster: auto (this machine's), ray://HEAD:10001, or local to start one; see docs/SCALE.md.",
)  # fmt: skip
RECURSIVE = click.option(
    "--recursive", "-r", is_flag=True, help="Folders: also the folders below them, keeping the tree."
)
JOBS = click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True, help="Files at a time.")
MANIFEST = click.option(
    "--json", "--manifest", "manifest", metavar="FILE",
    help='Write the result of each file as JSON ("-": print it), JSON lines (.jsonl) or Parquet (.parquet).',
)  # fmt: skip
BATCH_OPTIONS = [
    RECURSIVE,
    JOBS,
    click.option("--skip-existing", is_flag=True, help="Leave out files whose output exists: resumes a run."),
    click.option("--force", "-f", is_flag=True, help="Replace existing files."),
    click.option("--force-format", is_flag=True, help="Write to OUTPUT although its name is that of another format."),
    MANIFEST,
    CLUSTER,
]


@dataclass(frozen=True)
class Batch:
    """How many files are converted: `jobs` at a time, or on the Ray cluster at an address; `manifest` is a file for the
    results, "-", or None."""

    recursive: bool
    jobs: int
    skip_existing: bool
    manifest: str | None
    quiet: bool
    cluster: str | None
    device: str


def named_places(inputs: tuple[str, ...], output: str) -> tuple[tuple[str, ...], str]:
    """The inputs and the output of a command line as later functions expect them: file:// addresses as paths, and
    standard output as "-". Raises `Error` for addresses that hold a password, and UsageError for empty names."""
    *names, output = named_inputs((*inputs, output))
    return tuple(names), "-" if output in STANDARD_OUTPUT else output


def named_inputs(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a command line as later functions expect them; raises as `named_places` does."""
    from lapic.codec import files

    if "" in names:
        raise click.UsageError("a name is empty")
    return tuple(map(files.local_name, names))


def refuse_cluster(cluster: str | None) -> None:
    """Refuse a cluster for the conversion of one file. Raises UsageError."""
    if cluster:
        raise click.UsageError("--cluster is for many files: name a folder, a pattern or several inputs")


def check_name(output: str, forced: bool, lapic: bool = False, format_suffix: str | None = None) -> None:
    """Raise `Error` if the name of an output file is that of a format that it will not have, unless that is forced.

    Args:
        lapic: whether a .lapic file is written; then names without a suffix, or with one of no picture format, will do.
        format_suffix: of the picture format that is written, such as "png"; None if the name decides.
    """
    from lapic.codec import files

    suffix = Path(output).suffix
    if forced or output == "-":
        return
    if lapic:
        is_wrong, content = suffix.lower() in files.foreign_suffixes(), "a lapic file"
    elif format_suffix:
        is_wrong, content = files.are_of_different_formats(f".{format_suffix}", suffix), f"a {format_suffix}"
    else:
        is_wrong, content = False, "a picture"
    if is_wrong or (suffix.lower() == ".lapic" and not lapic):
        raise Error(f"{output}: {content} should not be called {suffix} (--force-format writes it all the same)")


def convert_files(
    work: Callable, job_of: Callable, suffixes: set[str], to: str, inputs: tuple[str, ...], output: str, batch: Batch
) -> None:
    """Convert many files, with progress; failures are reported at the end and make the exit code 1.

    Args:
        work: converts the file of a job. job_of: makes the job of a `codec.command.batch.Pair`.
        suffixes: of the files to take from folders. to: suffix of the new files.

    Raises:
        Error: there is nothing to do, two inputs would become the same file, or the manifest cannot be written.
        UsageError: the output is standard output.
    """
    from lapic.codec.command.batch import Report, plan, process
    from lapic.codec.command.cluster import cluster_of
    from lapic.codec.command.manifest import check_manifest, write_manifest

    if output == "-":
        raise click.UsageError("several files cannot go to standard output: name a folder")
    todo = plan(inputs, output, suffixes, to, batch.recursive)
    left_out = todo.listing.summary()
    if not todo.pairs and not todo.failed:
        raise Error(f"there is nothing to do in {', '.join(inputs)}" + f" ({left_out})" * bool(left_out))
    if batch.manifest:
        check_manifest(batch.manifest, (pair.source for pair in todo.pairs), (pair.target for pair in todo.pairs))
    step = stage_progress(len(todo.pairs), "files") if not batch.quiet else lambda: None
    report = Report(
        [{"source": name, "target": None, "status": "failed", "error": why} for name, why in todo.failed.items()]
    )
    try:
        with cluster_of(batch.cluster, batch.device) if batch.cluster else nullcontext() as cluster:
            process(todo.pairs, work, job_of, batch.jobs, batch.skip_existing, lambda row: step(), report, cluster)
    except Error:
        if batch.manifest:
            write_manifest(report, batch.manifest)
        raise
    except (KeyboardInterrupt, interrupts.Ended) as error:
        end = interrupts.ended_by(error)
        print_stderr(f"lapic: {end.reason}; --skip-existing goes on from here")
        if batch.manifest:
            write_manifest(report, batch.manifest)
        sys.exit(end.code)
    for row in report.of("failed"):
        print_stderr(f"lapic: {named(row['error'], row['source'], row['target'] or '-')}")
    if not batch.quiet:
        _print_notes(report.of("done"))
        if left_out:
            print_stderr(left_out)
        print_stderr(report.summary())
    if batch.manifest:
        write_manifest(report, batch.manifest)
    if report.of("failed"):
        sys.exit(1)


def convert_file(work: Callable, job: Any, quiet: bool, manifest: str | None) -> dict[str, Any]:
    """Convert one file, with progress, and print its notes; write the manifest if there is one.

    Args:
        work: converts the file of a job, see `codec.command.convert`. manifest: see `Batch`.

    Returns:
        What `work` returns.

    Raises:
        Error: it failed, or the manifest cannot be written.
    """
    from lapic.codec.command.batch import Report
    from lapic.codec.command.manifest import check_manifest, write_manifest

    if manifest:
        check_manifest(manifest, [job.source], [job.target])
    facts = attempt(partial(work, progress=tile_progress(quiet)), job)
    failed = "error" in facts
    row = {"source": job.source, "target": job.target, "status": "failed" if failed else "done", **facts}
    if not failed and not quiet:
        _print_notes([row])
    if manifest:
        write_manifest(Report([row]), manifest)
    if failed:
        raise Error(named(facts["error"], job.source, job.target))
    return facts


def is_there(source: str, target: str, manifest: str | None) -> bool:
    """Whether the output of one file exists, so that `--skip-existing` leaves it as it is; the manifest, if there is
    one, says so then. Raises `Error` if the manifest cannot be written."""
    from lapic.codec import files
    from lapic.codec.command.batch import Report
    from lapic.codec.command.manifest import check_manifest, write_manifest

    if not files.exists(target):
        return False
    if manifest:
        check_manifest(manifest, [source], [target])
        write_manifest(Report([{"source": source, "target": target, "status": "skipped"}]), manifest)
    return True


def _print_notes(rows: list[dict[str, Any]]) -> None:
    """Print the notes of each converted file, and each hint once."""
    for row in rows:
        for note in row["notes"]:
            print_stderr(f"{row['source']}: {note}")
    for hint in dict.fromkeys(hint for row in rows for hint in row.get("hints", [])):
        print_stderr(f"lapic: {hint}")


def convert_to_pictures(
    work: Callable, job: Callable, suffixes: set[str], inputs: tuple[str, ...], output: str, suffix: str | None,
    quiet: bool, recursive: bool, jobs: int, skip_existing: bool, manifest: str | None, force_format: bool,
    cluster: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Write one picture file, or many into a folder.

    Args:
        work: converts the file of a job. job: the class of the jobs, a `codec.command.jobs.PictureJob`.
        suffixes: of the files to take from folders.
        suffix: of the pictures without its dot; None takes that of `output`, or png for folders and standard output.
        settings: fields of the job.

    Raises:
        Error: as `convert_file` and `convert_files` do, or `output` has the name of another format.
    """
    from lapic.codec.command.batch import Pair, is_batch

    inputs, output = named_places(inputs, output)
    if is_batch(inputs, output):
        to = f".{suffix or 'png'}"

        def job_of(pair: Pair) -> Any:
            return job(pair.source, pair.target, to, keep_times=True, **settings)

        batch = Batch(recursive, jobs, skip_existing, manifest, quiet, cluster, settings["device"])
        convert_files(work, job_of, suffixes, to, inputs, output, batch)
        return
    refuse_cluster(cluster)
    check_name(output, force_format, format_suffix=suffix)
    if skip_existing and is_there(inputs[0], output, manifest):
        return
    suffix = f".{suffix}" if suffix else Path(output).suffix if output != "-" else ".png"
    convert_file(work, job(inputs[0], output, suffix, **settings), quiet, manifest)
