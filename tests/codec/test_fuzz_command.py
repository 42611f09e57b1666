"""A slice of benchmarks/fuzz_command.py: mutated pictures through the command, by its rules."""

from pathlib import Path

from benchmarks.fuzz_command import fuzz


def test_mutated_pictures_are_coded_or_refused_in_one_line_each(tmp_path: Path) -> None:
    outcome = fuzz(tmp_path, exif=26, containers=24, seed=5)
    assert not outcome.broken
    assert sum(sum(count[status] for status in ("done", "failed")) for count in outcome.counts.values()) == 50
    kinds = {"AVIF", "EXIF in JPEG", "EXIF in PNG", "EXIF in WEBP", "JPEG", "PNG", "TIFF"}
    assert set(outcome.counts) == {f"encode {kind}" for kind in kinds}
