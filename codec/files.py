"""Files and pipes: whole inputs in, whole outputs out."""

import os
import sys
import tempfile
from pathlib import Path

from bitstream import Error


def read_input(name: str) -> bytes:
    """All bytes of a file, or of standard input for "-". Raises `Error` with the reason if that fails."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Error(f"cannot read {name}: {error.strerror}") from None


def write_output(name: str, data: bytes) -> None:
    """Write a file whole or not at all (beside its place, then renamed), or to standard output for "-".

    Raises `Error` with the reason if that fails; then no file is left and an older one stays as it was.
    """
    try:
        if name == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        path = Path(name)
        if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced, only written to
            path.write_bytes(data)
            return
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(beside, _mode(path))
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise Error(f"cannot write {name}: {error.strerror}") from None


def _mode(path: Path) -> int:
    """Permissions for a new file as the umask gives them, or those of the file that is replaced."""
    if path.exists():
        return path.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
