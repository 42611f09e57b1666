"""The command `lapic verify`. Nothing heavy is imported before it needs it."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import click

from lapic.bitstream.error import Error
from lapic.codec import defaults, files
from lapic.codec.command.console import one_line_errors, print_stderr, write_line
from lapic.codec.command.failures import attempt, named
from lapic.codec.command.options import (
    CLUSTER,
    DEVICE,
    JOBS,
    MANIFEST,
    MAX_PIXELS,
    MODEL,
    QUIET,
    RECURSIVE,
    named_inputs,
)
from lapic.codec.streams import STANDARD_OUTPUT


@dataclass(frozen=True)
class VerifyJob:
    """A .lapic file to check, by its name, its address or "-"."""

    source: str
    device: str = "auto"
    max_pixels: int = defaults.MAX_PIXELS
    model: str | None = None


def verify_job(job: VerifyJob) -> dict[str, Any]:
    """Check a file; its `contents` in one line. Raises as `codec.command.convert.verify_file` does."""
    from lapic.codec.command.convert import verify_file

    return {"contents": verify_file(job.source, job.device, job.max_pixels, job.model)}


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="FILES...")
@MODEL
@RECURSIVE
@JOBS
@MANIFEST
@CLUSTER
@MAX_PIXELS
@DEVICE
@QUIET
@one_line_errors
def verify(
    names: tuple[str, ...], recursive: bool, jobs: int, manifest: str | None, cluster: str | None, quiet: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Check that .lapic files, and those in folders, decode, without writing anything."""
    from lapic.codec.command import batch
    from lapic.codec.command.manifest import check_manifest, write_manifest

    report = batch.Report()
    prints = not quiet and (not manifest or files.local_name(manifest) not in STANDARD_OUTPUT)

    def add(source: str, outcome: dict[str, Any]) -> None:
        report.rows.append({"source": source, "status": "failed" if "error" in outcome else "done"} | outcome)
        if "error" in outcome:
            print_stderr(f"lapic: {named(outcome['error'], source)}")
        elif prints:
            write_line(f"{source}: {outcome['contents']}")

    found: list[VerifyJob] = []
    listed = files.Listing()
    for name in named_inputs(names):
        listing = files.Listing()
        outcome = attempt(lambda name, into=listing: {"files": batch.sources(name, {".lapic"}, recursive, into)}, name)
        if "error" in outcome:
            add(name, outcome)
        for folder, why in listing.unreadable.items():
            add(folder, {"error": f"cannot read {folder}: {why}"})
        listed.add(listing)
        found += [VerifyJob(source, **settings) for source, _ in outcome.get("files", [])]
    left_out = listed.summary()
    if not found and not report.rows:
        raise Error(f"there is nothing to verify in {', '.join(names)}" + f" ({left_out})" * bool(left_out))
    if manifest:
        check_manifest(manifest, [job.source for job in found], [])
    try:
        _check(found, jobs, cluster, add)
    finally:
        if manifest:
            write_manifest(report, manifest)
    if left_out and not quiet:
        print_stderr(left_out)
    if report.of("failed"):
        sys.exit(1)


def _check(found: list[VerifyJob], jobs: int, cluster: str | None, add: Callable[[str, dict[str, Any]], None]) -> None:
    """Check files in this process, in several, or on a cluster, and give each outcome to `add`."""
    from lapic.codec.command.cluster import cluster_of
    from lapic.codec.command.jobs import everywhere
    from lapic.codec.command.workers import run

    here: list[VerifyJob] = []
    elsewhere: list[VerifyJob] = []
    for job in found:
        (elsewhere if (jobs > 1 or cluster) and not files.is_own(job.source) else here).append(job)
    for job in here:
        add(job.source, attempt(verify_job, job))
    if elsewhere:
        calls = [(verify_job, everywhere(job) if cluster else job) for job in elsewhere]
        with cluster_of(cluster, elsewhere[0].device) if cluster else nullcontext(min(jobs, len(calls))) as workers:
            run(calls, workers, lambda number, outcome: add(elsewhere[number].source, outcome))
