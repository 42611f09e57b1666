"""Many files at once: which file becomes which, in what process, and what came of it."""

import glob
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bitstream import Error
from codec import files
from codec.workers import run


@dataclass(frozen=True)
class Pair:
    """A file to read and the file to write."""

    source: Path
    target: Path


@dataclass
class Report:
    """What came of each file, as the rows of a manifest: source, target, status "done", "skipped" or "failed"."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def of(self, status: str) -> list[dict[str, Any]]:
        """The rows with this status."""
        return [row for row in self.rows if row["status"] == status]

    def summary(self) -> str:
        """One line."""
        counts = {status: len(self.of(status)) for status in ("done", "skipped", "failed")}
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count or status == "done")


def is_batch(inputs: tuple[str, ...], output: str) -> bool:
    """Whether the names on a command line mean many files into a folder, rather than one file to another."""
    if len(inputs) > 1 or output.endswith(("/", "\\")):
        return True
    return "-" not in (inputs[0], output) and (
        Path(output).is_dir() or Path(inputs[0]).is_dir() or _is_pattern(inputs[0])
    )


def _is_pattern(name: str) -> bool:
    """Whether a name has wildcards and is no file itself."""
    return glob.has_magic(name) and not Path(name).exists()


def plan(inputs: Iterable[str], output: str, suffixes: set[str], to: str, recursive: bool) -> list[Pair]:
    """Pairs for all inputs: files, patterns, and folders whose tree is kept below `output`.

    Args:
        suffixes: of the files to take from folders. to: suffix of the new files.

    Raises:
        Error: a pattern matches nothing, or two inputs would become the same file.
    """
    pairs: dict[Path, Path] = {}
    for name in inputs:
        matches = sorted(glob.glob(name, recursive=True)) if _is_pattern(name) else [name]
        if not matches:
            raise Error(f"{name} matches no file")
        for given in map(Path, matches):
            for source in files.files_in(given, suffixes, recursive):
                inside = source.relative_to(given) if given.is_dir() else Path(source.name)
                target = Path(output) / inside.with_suffix(to)
                if pairs.get(target, source) != source:
                    raise Error(f"{pairs[target]} and {source} would both become {target}")
                pairs[target] = source
    return [Pair(source, target) for target, source in pairs.items()]


def _call(work: Callable[[Any], dict[str, Any]], job: Any) -> dict[str, Any]:
    """Run `work` on a job, with a one-line reason for whatever goes wrong."""
    try:
        return work(job)
    except (Error, ValueError) as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "not enough memory"}


def process(
    pairs: list[Pair],
    work: Callable[[Any], dict[str, Any]],
    job_of: Callable[[Pair], Any],
    jobs: int,
    skip_existing: bool,
    step: Callable[[dict[str, Any]], None],
) -> Report:
    """Do `work(job_of(pair))` for every pair: in this process, or in `jobs` others.

    A file that fails does not stop the rest. Files are written whole or not at all, so an interrupted run goes on when
    it is run again with `skip_existing`.

    Args:
        step: hears each row of the report as it is made.
    """
    report = Report()

    def note(pair: Pair, status: str, facts: dict[str, Any]) -> None:
        row = {"source": str(pair.source), "target": str(pair.target), "status": status, **facts}
        report.rows.append(row)
        step(row)

    todo = []
    for pair in pairs:
        if skip_existing and pair.target.exists():
            note(pair, "skipped", {})
            continue
        try:
            pair.target.parent.mkdir(parents=True, exist_ok=True)
            todo.append(pair)
        except OSError as error:
            note(pair, "failed", {"error": f"cannot make {pair.target.parent}: {error.strerror}"})
    if jobs == 1:
        for pair in todo:
            found = _call(work, job_of(pair))
            note(pair, "failed" if "error" in found else "done", found)
    elif todo:

        def listen(number: int, found: dict[str, Any]) -> None:
            note(todo[number], "failed" if "error" in found else "done", found)

        run([(partial(_call, work), job_of(pair)) for pair in todo], jobs, listen)
    return report


def write_manifest(report: Report, name: str) -> None:
    """Write the report's rows as JSON to a file, or to standard output for "-"."""
    files.write_output(name, (json.dumps(report.rows, indent=1) + "\n").encode())
