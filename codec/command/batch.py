"""Conversion of many files: the pairs of source and target, the processes, and the report."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.failures import attempt
from lapic.codec.command.jobs import everywhere
from lapic.codec.command.workers import run

if TYPE_CHECKING:
    from lapic.codec.command.cluster import Cluster


@dataclass(frozen=True)
class Pair:
    """The names or addresses of a file to read and the file to write."""

    source: str
    target: str


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
        files.is_folder(output) or files.is_folder(inputs[0]) or files.is_pattern(inputs[0])
    )


def plan(inputs: Iterable[str], output: str, suffixes: set[str], to: str, recursive: bool) -> Plan:
    """Pairs for all inputs: files, patterns, and folders whose tree is kept below `output`.

    Args:
        suffixes: of the files to take from folders. to: suffix of the new files.

    Raises:
        Error: two inputs would become the same file.
    """
    result = Plan()
    pairs: dict[str, str] = {}
    for name in inputs:
        try:
            found = sources(name, suffixes, recursive, result.listing)
        except Error as error:
            result.failed[name] = str(error)
            continue
        for source, inside in found:
            try:
                target = files.target_of(output, inside, to)
            except Error as error:
                result.failed[source] = str(error)
                continue
            if pairs.get(target, source) != source:
                raise Error(f"{pairs[target]} and {source} would both become {target}")
            pairs[target] = source
    _refuse_one_name(pairs, output)
    result.pairs = [Pair(source, target) for target, source in pairs.items()]
    result.failed |= {folder: f"cannot read {folder}: {why}" for folder, why in result.listing.unreadable.items()}
    return result


def _refuse_one_name(pairs: dict[str, str], output: str) -> None:
    """Raise `Error` if two of the targets, each with its source, are one file in the folder `output`, which may not
    tell capitals from small letters."""
    seen: dict[str, str] = {}
    alike = [(other, target) for target in pairs if (other := seen.setdefault(_without_case(target), target)) != target]
    if alike and not files.is_address(output) and files.ignores_case(output):
        other, target = alike[0]
        raise Error(f"{pairs[other]} and {pairs[target]} would both become {target}: {output} takes both names for one")


def _without_case(name: str) -> str:
    """What names have in common that differ in capitals, or in how accents are written, alone."""
    return unicodedata.normalize("NFC", name).casefold()


def sources(name: str, suffixes: set[str], recursive: bool, listing: files.Listing) -> list[tuple[str, str]]:
    """The files that a name on a command line means, each with the part of its name that outputs keep.

    Args:
        suffixes: of the files to take from folders. listing: what folders contain is added to it.

    Raises:
        Error: a pattern matches nothing, or an address cannot be asked.
    """
    found = []
    names = files.matches(name)
    if not names:
        raise Error(f"{name} matches no file")
    for match in names:
        if files.is_folder(match):
            inside = files.list_folder(match, suffixes, recursive)
            listing.add(inside)
            found += [(source, files.inside(source, match)) for source in inside.files]
        else:
            found.append((match, files.inside(match, None)))
    return found


def process(
    pairs: list[Pair],
    work: Callable[[Any], dict[str, Any]],
    job_of: Callable[[Pair], Any],
    jobs: int,
    skip_existing: bool,
    step: Callable[[dict[str, Any]], None],
    report: Report,
    cluster: "Cluster | None" = None,
) -> None:
    """Call `work(job_of(pair))` for every pair: in this process, in `jobs` others, or on a cluster.

    A file that fails does not stop the rest. Files are written whole or not at all, so `skip_existing` resumes an
    interrupted run.

    Args:
        step: called with each new row of the report.
        report: its rows are added one by one, so that those of an interrupted run are not lost.

    Raises:
        Error: `skip_existing` cannot list where the outputs go, or the cluster is lost.
    """

    def add_row(pair: Pair, status: str, facts: dict[str, Any]) -> None:
        row = {"source": pair.source, "target": pair.target, "status": status, **facts}
        report.rows.append(row)
        step(row)

    def finish(pair: Pair, outcome: dict[str, Any]) -> None:
        add_row(pair, "failed" if "error" in outcome else "done", outcome)

    present = files.existing(pair.target for pair in pairs) if skip_existing or cluster else set()
    todo = []
    for pair in pairs:
        if skip_existing and pair.target in present:
            add_row(pair, "skipped", {})
            continue
        try:
            files.make_parent(pair.target)
            todo.append(pair)
        except Error as error:
            add_row(pair, "failed", {"error": str(error)})
    if cluster:
        _process_on(cluster, todo, work, job_of, present, finish)
        return
    # another process cannot open what is no regular file, such as a pipe of this process
    in_workers = [pair for pair in todo if jobs > 1 and not _is_own(pair)]
    if in_workers:
        calls = [(partial(attempt, work), job_of(pair)) for pair in in_workers]
        run(calls, min(jobs, len(calls)), lambda number, outcome: finish(in_workers[number], outcome))
    for pair in todo if not in_workers else [pair for pair in todo if _is_own(pair)]:
        finish(pair, attempt(work, job_of(pair)))


def _is_own(pair: Pair) -> bool:
    """Whether other processes cannot open what a pair names."""
    return files.is_own(pair.source) or files.is_own(pair.target)


def _process_on(
    cluster: "Cluster",
    pairs: list[Pair],
    work: Callable[[Any], dict[str, Any]],
    job_of: Callable[[Pair], Any],
    present: set[str],
    finish: Callable[[Pair, dict[str, Any]], None],
) -> None:
    """Call `work(job_of(pair))` for every pair on a cluster. A file whose machine is lost is done again, and replaces
    what the first attempt wrote: `present` holds the targets that were there before, which are not replaced."""
    calls, called = [], []
    for pair in pairs:
        job = everywhere(job_of(pair))
        if _is_own(pair):
            finish(pair, {"error": "other machines cannot open it: --cluster needs files and addresses"})
        elif pair.target in present and not job.force:
            finish(pair, {"error": f"{pair.target} exists: --force replaces it"})
        else:
            calls.append((work, job))
            called.append(pair)
    cluster.run(calls, lambda number, outcome: finish(called[number], outcome), lambda job: replace(job, force=True))
