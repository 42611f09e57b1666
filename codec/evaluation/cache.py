"""Measured points and compressed files on disk: an interruption cannot harm them, and a later run measures only what is
new."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lapic.codec.evaluation.codec import Codec
from lapic.codec.evaluation.measure import MEASURED_BY, Job
from lapic.codec.evaluation.metric import ALL

Point = dict[str, Any]


class Cache:
    """Points on disk, one JSON object a line, appended and flushed as soon as each is known.

    A point's key holds everything that its file and times depend on: the picture's bytes, codec and its version,
    quality, threads. A line cut short by a crash is skipped; lines begin with the line break, so that the next one
    stays whole. Of two lines with one key the later one counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: dict[str, Point] = {}
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    stored = json.loads(line)
                    self.points[stored["key"]] = stored["point"]
                except (ValueError, KeyError, TypeError):
                    continue

    def add(self, key: str, point: Point) -> None:
        """Keep a point, at once and for later runs."""
        self.points[key] = point
        with self.path.open("a") as file:
            file.write("\n" + json.dumps({"key": key, "point": point}))


def key_of(job: Job, codec: Codec, digest: str) -> str:
    """The cache key of a job; `digest` is that of the picture's file."""
    parts = [digest, codec.name, codec.version, job.quality, job.threads]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def shown(point: Point, metrics: Iterable[str]) -> Point:
    """A point with the figures of these metrics alone."""
    others = {key for metric in ALL if metric.name not in metrics for key in (metric.name, metric.key)}
    return {key: value for key, value in point.items() if key not in others and key != MEASURED_BY}


def file_of(folder: Path, picture: str, digest: str, encoder: Codec, quality: float) -> Path:
    """Where the compressed file of a picture lies in the folder of results.

    The name ends in a part of the digest of all that the file depends on, so that it never holds the file of another
    picture of that name, or one of another version of the codec.

    Args:
        picture, digest: the picture's name, and the digest of its file. encoder: the codec that makes the file.
    """
    key = hashlib.sha256(json.dumps([digest, encoder.name, encoder.version, quality]).encode()).hexdigest()[:8]
    return folder / "files" / encoder.folder / f"{picture}-{quality:g}-{key}{encoder.suffix}"
