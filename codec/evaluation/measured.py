"""Encoding that measures each file: what `lapic encode --metrics` does for one of many."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from lapic.bitstream import Error
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.command.convert import encode_file
from lapic.codec.command.failures import attempt
from lapic.codec.command.jobs import EncodeJob
from lapic.codec.evaluation.measure import load_rgb
from lapic.codec.evaluation.metrics import METRICS, all_metrics
from lapic.codec.model.shipped import pair_for


@dataclass(frozen=True)
class MeasuredJob(EncodeJob):
    """A picture to compress, and what to measure of the decoded file."""

    _: KW_ONLY
    metrics: tuple[str, ...] = ()


def names_of(text: str) -> tuple[str, ...]:
    """Names of metrics that commas separate. Raises `Error` for those that do not exist."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := set(names) - set(METRICS):
        raise Error(f"there is no metric {', '.join(sorted(unknown))}: choose from {', '.join(METRICS)}")
    return names


def encode_and_measure(job: MeasuredJob, progress: Progress = no_progress) -> dict[str, Any]:
    """Encode one file, decode what was written, and measure it against the source.

    Returns:
        What `encode_file` returns and each metric by its name; a note in their place if they cannot be measured.

    Raises:
        Error, ValueError: with one line that says why it is not encoded.
    """
    if "-" in (job.source, job.target):
        raise Error("--metrics reads source and output again: name files")
    facts = encode_file(job, progress)
    measured = attempt(_measure, job)
    if "error" in measured:
        return facts | {"notes": [*facts["notes"], f"not measured: {measured['error']}"]}
    return facts | measured


def _measure(job: MeasuredJob) -> dict[str, Any]:
    model = None if pair_for(job.model, job.tune) else job.model
    return all_metrics(load_rgb(job.source), load_rgb(job.target, model), job.metrics)
