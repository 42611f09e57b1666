"""What is in a folder."""

import os
import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Listing:
    """What is in a folder: the names of `files` to take, how many others are left out for which reason, and the
    unreadable folders, each with the reason."""

    files: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Listing") -> None:
        """Add what is in another folder."""
        self.files += other.files
        self.left_out += other.left_out
        self.unreadable |= other.unreadable

    def summary(self) -> str:
        """One line that counts the files left out, empty if there are none."""
        total = self.left_out.total()
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
        return f"{total} file{'s' * (total > 1)} left out: {counts}" if total else ""


def others(suffixes: Collection[str]) -> str:
    """What files without one of these suffixes are called in a summary."""
    return "not lapic files" if set(suffixes) == {".lapic"} else "not pictures"


def list_local(folder: Path, suffixes: set[str], recursive: bool = False) -> Listing:
    """The files in a folder of this machine (and in the folders below it) with one of these suffixes, sorted.

    Hidden files and folders are left out, as are pipes, devices and broken links; links to folders are not followed.
    """
    listing, waiting = Listing(), [folder]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(inside) as entries:
                listed = list(entries)
        except OSError as error:
            listing.unreadable[str(inside)] = error.strerror
            continue
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                if entry.name.startswith("."):
                    listing.left_out["hidden"] += recursive
                elif recursive:
                    waiting.append(Path(entry.path))
            elif os.path.isdir(entry.path):
                listing.left_out["links to folders"] += recursive
            elif entry.name.startswith("."):
                listing.left_out["hidden"] += 1
            elif Path(entry.name).suffix.lower() not in suffixes:
                listing.left_out[others(suffixes)] += 1
            elif os.path.isfile(entry.path):
                listing.files.append(str(Path(entry.path)))
            else:
                listing.left_out["not regular files"] += 1
    listing.files.sort(key=Path)
    return listing


def ignores_case(folder: str) -> bool:
    """Whether a folder of this machine, or the first above it that exists, takes names that differ in capitals for one,
    as those of macOS and Windows do; False where nothing can be written."""
    path = Path(os.path.abspath(folder))
    there = next((one for one in (path, *path.parents) if one.is_dir()), path)
    try:
        with tempfile.NamedTemporaryFile(prefix=".lapic-", dir=there) as file:
            return os.path.exists(there / os.path.basename(file.name).swapcase())
    except OSError:
        return False
