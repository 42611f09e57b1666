"""Conversion of many files: the pairs of source and target, the processes, and the report."""

import glob
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.failures import attempt
from lapic.codec.command.workers import run


@dataclass(frozen=True)
class Pair:
    """A file to read and the file to write."""

    source: Path
    target: Path


@dataclass
class Report:
    """The result of each file, as the rows of a manifest: source, target, status "done", "skipped" or "failed", and
    what the work returned."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def of(self, status: str) -> list[dict[str, Any]]:
        """The rows with this status."""
        return [row for row in self.rows if row["status"] == status]

    def summary(self) -> str:
        """One line that counts the files by status."""
        counts = {status: len(self.of(status)) for status in ("done", "skipped", "failed")}
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count or status == "done")


@dataclass
class Plan:
    """What a command line asks for: the pairs to convert, what its folders contain, and why some inputs cannot be
    read."""

    pairs: list[Pair] = field(default_factory=list)
    listing: files.Listing = field(default_factory=files.Listing)
    failed: dict[str, str] = field(default_factory=dict)


def is_batch(inputs: tuple[str, ...], output: str) -> bool:
    """Whether the names on a command line mean many files into a folder, rather than one file to another."""
    if len(inputs) > 1 or output.endswith(("/", "\\")):
        return True
    return "-" not in (inputs[0], output) and (
        os.path.isdir(output) or os.path.isdir(inputs[0]) or _is_pattern(inputs[0])
    )


def _is_pattern(name: str) -> bool:
    """Whether a name has wildcards and is no file itself."""
    return glob.has_magic(name) and not os.path.exists(name)


def plan(inputs: Iterable[str], output: str, suffixes: set[str], to: str, recursive: bool) -> Plan:
    """Pairs for all inputs: files, patterns, and folders whose tree is kept below `output`.

    Args:
        suffixes: of the files to take from folders. to: suffix of the new files.

    Raises:
        Error: two inputs would become the same file.
    """
    result = Plan()
    pairs: dict[Path, Path] = {}
    for name in inputs:
        matches = sorted(glob.glob(name, recursive=True)) if _is_pattern(name) else [name]
        if not matches:
            result.failed[name] = f"{name} matches no file"
        for match in matches:
            sources = [Path(match)]
            if os.path.isdir(match):
                listing = files.list_folder(Path(match), suffixes, recursive)
                sources = listing.files
                result.listing.add(listing)
            for source in sources:
                inside = source.relative_to(match) if os.path.isdir(match) else Path(source.name)
                target = Path(output) / inside.with_suffix(to)
                if pairs.get(target, source) != source:
                    raise Error(f"{pairs[target]} and {source} would both become {target}")
                pairs[target] = source
    result.pairs = [Pair(source, target) for target, source in pairs.items()]
    result.failed |= {str(folder): f"cannot read {folder}: {why}" for folder, why in result.listing.unreadable.items()}
    return result


def process(
    pairs: list[Pair],
    work: Callable[[Any], dict[str, Any]],
    job_of: Callable[[Pair], Any],
    jobs: int,
    skip_existing: bool,
    step: Callable[[dict[str, Any]], None],
    report: Report,
) -> None:
    """Call `work(job_of(pair))` for every pair: in this process, or in `jobs` others.

    A file that fails does not stop the rest. Files are written whole or not at all, so `skip_existing` resumes an
    interrupted run.

    Args:
        step: called with each new row of the report.
        report: its rows are added one by one, so that those of an interrupted run are not lost.
    """

    def add_row(pair: Pair, status: str, facts: dict[str, Any]) -> None:
        row = {"source": str(pair.source), "target": str(pair.target), "status": status, **facts}
        report.rows.append(row)
        step(row)

    def finish(pair: Pair, outcome: dict[str, Any]) -> None:
        add_row(pair, "failed" if "error" in outcome else "done", outcome)

    todo = []
    for pair in pairs:
        if skip_existing and os.path.exists(pair.target):
            add_row(pair, "skipped", {})
            continue
        try:
            pair.target.parent.mkdir(parents=True, exist_ok=True)
            todo.append(pair)
        except OSError as error:
            add_row(pair, "failed", {"error": f"cannot make {pair.target.parent}: {error.strerror}"})
    # another process cannot open what is no regular file, such as a pipe of this process
    in_workers = [pair for pair in todo if jobs > 1 and os.path.isfile(pair.source)]
    if in_workers:
        calls = [(partial(attempt, work), job_of(pair)) for pair in in_workers]
        run(calls, min(jobs, len(calls)), lambda number, outcome: finish(in_workers[number], outcome))
    for pair in todo if not in_workers else [pair for pair in todo if not os.path.isfile(pair.source)]:
        finish(pair, attempt(work, job_of(pair)))


def write_manifest(report: Report, name: str) -> None:
    """Write the report's rows as JSON to a file, or to standard output for "-"."""
    files.write_output(name, (json.dumps(report.rows, indent=1) + "\n").encode())
