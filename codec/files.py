"""Files and pipes: whole inputs in, whole outputs out."""

import errno
import os
import secrets
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lapic.bitstream import Error
from lapic.codec import streams

KNOWN_SUFFIXES = {".avif", ".avifs", ".heic", ".heif", ".hif", ".jxl", ".webp"}  # of formats that Pillow may lack


def read_input(name: str) -> bytes:
    """All bytes of a file, or of standard input for "-". Raises `Error` with the reason if that fails."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        shown = "standard input" if name == "-" else name
        raise Error(f"cannot read {shown}: {error.strerror}") from None


def check_absent(name: str, force: bool) -> None:
    """Raise `Error` if no file of this name can be written, or if one exists and must not be replaced. Called before
    the work, so that none is wasted."""
    if name in streams.STANDARD_OUTPUT:
        return
    try:
        if stat.S_ISREG(os.stat(name).st_mode) and not force:
            raise Error(f"{name} exists: --force replaces it")
        if os.path.isdir(name):
            raise Error(f"cannot write {name}: {os.strerror(errno.EISDIR)}")
    except FileNotFoundError:
        folder = os.path.dirname(os.path.realpath(name))
        if not os.path.isdir(folder):
            raise Error(f"cannot write {name}: {os.strerror(errno.ENOENT)}") from None
    except OSError as error:
        raise Error(f"cannot write {name}: {error.strerror}") from None


def write_output(name: str, data: bytes, force: bool = True) -> None:
    """Write a file whole or not at all (as a temporary file, synced, then renamed), or to standard output for "-".

    A link is followed: the file that it points to is written. Devices and pipes are written to directly.

    Args:
        force: whether an existing file may be replaced.

    Raises `Error` with the reason if that fails; then no new file exists and an older one is unchanged.
    """
    if name in streams.STANDARD_OUTPUT:
        streams.write(data)
        return
    path = Path(name)
    if os.path.isfile(path) or not os.path.exists(path):
        with replacing(path, force) as beside, beside.open("xb") as file:
            file.write(data)
        return
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Error(f"cannot write {name}: {error.strerror}") from None


@contextmanager
def replacing(path: Path, force: bool, suffix: str = ".part") -> Iterator[Path]:
    """A temporary path beside a file, with this suffix. When the block ends the temporary file gets the file's name,
    or, if that is a link, the name of the file that the link points to.

    Raises `Error` as `write_output` does; if the block fails, the temporary file is removed.
    """
    given, path = path, Path(os.path.realpath(path))
    if os.path.lexists(path) and not path.is_file():
        raise Error(f"cannot write {given}: it is no regular file")
    beside = path.parent / f".lapic-{secrets.token_hex(8)}{suffix}"
    try:
        try:  # entered before the file exists, so that a signal at any point removes it
            yield beside
            _sync(beside)
            beside.chmod(_mode(path))
            if force:
                os.replace(beside, path)
            else:
                _rename_to_new(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        if os.name == "posix":
            _sync(path.parent)
    except FileExistsError:
        raise Error(f"{given} exists: --force replaces it") from None
    except OSError as error:
        raise Error(f"cannot write {given}: {error.strerror}") from None


def _rename_to_new(beside: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError where a file of that name is, in one step if the system can."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(beside, path)


def _sync(path: Path) -> None:
    """Flush a file's contents, or a folder's names, to disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode(path: Path) -> int:
    """Permissions for a new file as the umask gives them, or those of the file that is replaced."""
    if path.exists():
        return path.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def picture_suffixes() -> set[str]:
    """File name suffixes, in lower case, of all picture formats that Pillow reads."""
    from PIL import Image

    return {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}


def foreign_suffixes() -> set[str]:
    """File name suffixes, in lower case, that mean a picture of another format than lapic's."""
    from PIL import Image

    return (set(Image.registered_extensions()) | KNOWN_SUFFIXES) - {".lapic"}


@dataclass
class Listing:
    """What is in a folder: `files` to take, how many others are left out for which reason, and the unreadable folders,
    each with the reason."""

    files: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: dict[Path, str] = field(default_factory=dict)

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


def list_folder(folder: Path, suffixes: set[str], recursive: bool = False) -> Listing:
    """The files in a folder (and in the folders below it) with one of these suffixes, sorted.

    Hidden files and folders are left out, as are pipes, devices and broken links; links to folders are not followed.
    """
    listing, waiting = Listing(), [folder]
    others = "not lapic files" if suffixes == {".lapic"} else "not pictures"
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(inside) as entries:
                listed = list(entries)
        except OSError as error:
            listing.unreadable[inside] = error.strerror
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
                listing.left_out[others] += 1
            elif os.path.isfile(entry.path):
                listing.files.append(Path(entry.path))
            else:
                listing.left_out["not regular files"] += 1
    listing.files.sort()
    return listing


def files_in(path: Path, suffixes: set[str], recursive: bool = False) -> Iterator[Path]:
    """A file itself, or the files that `list_folder` finds in a folder. Raises `Error` if a folder cannot be read."""
    if not os.path.isdir(path):
        yield path
        return
    listing = list_folder(path, suffixes, recursive)
    for folder, reason in listing.unreadable.items():
        raise Error(f"cannot read {folder}: {reason}")
    yield from listing.files
