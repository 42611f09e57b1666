"""Files and pipes: whole inputs in, whole outputs out."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitstream import Error


def read_input(name: str) -> bytes:
    """All bytes of a file, or of standard input for "-". Raises `Error` with the reason if that fails."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Error(f"cannot read {name}: {error.strerror}") from None


def check_absent(name: str, force: bool) -> None:
    """Raise `Error` if a file of this name exists and must not be replaced: before the work, to save it."""
    if not force and name != "-" and Path(name).is_file():
        raise Error(f"{name} exists: --force replaces it")


def write_output(name: str, data: bytes, force: bool = True) -> None:
    """Write a file whole or not at all (beside its place, synced, then renamed), or to standard output for "-".

    Args:
        force: whether an existing file may be replaced.

    Raises `Error` with the reason if that fails; then no file is left and an older one stays as it was.
    """
    path = Path(name)
    if name != "-" and not (path.exists() and not path.is_file()):
        with replacing(path, force) as beside, beside.open("xb") as file:
            file.write(data)
        return
    try:
        if name == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:  # a device or a pipe cannot be replaced, only written to
            path.write_bytes(data)
    except OSError as error:
        raise Error(f"cannot write {name}: {error.strerror}") from None


@contextmanager
def replacing(path: Path, force: bool, suffix: str = ".part") -> Iterator[Path]:
    """A place beside a file, with this suffix; what was written there when the block ends gets the file's name.

    Raises `Error` as `write_output` does; if the block fails, what it wrote is cleared away.
    """
    beside = path.parent / f".lapic-{secrets.token_hex(8)}{suffix}"
    try:
        try:  # from before the file exists, so that a signal at any point finds it cleared away
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
        raise Error(f"{path} exists: --force replaces it") from None
    except OSError as error:
        raise Error(f"cannot write {path}: {error.strerror}") from None


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
    """Make what is in a file, or the names in a folder, durable."""
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
    """File name suffixes, in small letters, of all picture formats that Pillow reads."""
    from PIL import Image

    return {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}


def files_in(path: Path, suffixes: set[str], recursive: bool = False) -> Iterator[Path]:
    """A file itself, or the files with one of these suffixes in a folder (and in the folders below it), sorted."""
    if not path.is_dir():
        yield path
        return
    found = path.rglob("*") if recursive else path.iterdir()
    yield from sorted(file for file in found if file.suffix.lower() in suffixes and file.is_file())
