"""The standard streams of the command: only results go to standard output, and a closed or full standard error stops
no work."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, BinaryIO

from lapic.bitstream.error import Error

STANDARD_OUTPUT = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}
BROKEN_PIPE = 128 + 13  # the exit code of a program that SIGPIPE ends

_results: BinaryIO | None = None  # standard output within `results_only`
_unfinished = False  # whether standard error is in the middle of a line


def open_closed() -> None:
    """Open the descriptors 0, 1 and 2 if they are closed. Otherwise the next file that is opened would get the number,
    and the output of libraries would be written into it. Reading 0 and writing 1 fail as they do for closed
    descriptors; what is written to 2 is discarded."""
    for number, flags, name in ((0, os.O_WRONLY, "stdin"), (1, os.O_RDONLY, "stdout"), (2, os.O_WRONLY, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", errors="backslashreplace", closefd=False))


def escape_unknown() -> None:
    """Let characters that the encoding of standard output lacks become escapes, as on standard error: names may have
    any, and on Windows a pipe or file gets an old encoding with few."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def debugging() -> bool:
    """Whether the environment asks for tracebacks and for the output of libraries, by LAPIC_DEBUG=1."""
    return os.environ.get("LAPIC_DEBUG") not in (None, "", "0")


@contextmanager
def results_only() -> Iterator[None]:
    """Within the block only `write` reaches standard output. What libraries print in Python goes to standard error;
    what they print in C, such as warnings of libtiff, is discarded, unless `debugging`."""
    global _results
    stdout, stderr = sys.stdout, sys.stderr
    null = os.open(os.devnull, os.O_WRONLY)
    kept_stderr = None if debugging() else _redirect(stderr, 2, null)
    kept_stdout = _redirect(stdout, 1, 2)
    os.close(null)
    if kept_stderr is not None:
        sys.stderr = os.fdopen(kept_stderr, "w", 1, stderr.encoding, "backslashreplace", closefd=False)
    _results = getattr(stdout, "buffer", None) if kept_stdout is None else os.fdopen(kept_stdout, "wb", closefd=False)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results, sys.stderr = None, stderr
        for kept, number in ((kept_stdout, 1), (kept_stderr, 2)):
            if kept is not None:
                os.dup2(kept, number)
                os.close(kept)


def _redirect(stream: Any, number: int, other: int) -> int | None:
    """Redirect a descriptor to another one and return a copy of it, to restore it; None for a stream that does not have
    this descriptor, as in tests."""
    try:
        if stream.fileno() != number:
            return None
        stream.flush()
        kept = os.dup(number)
    except (OSError, ValueError, AttributeError):
        return None
    os.dup2(other, number)
    return kept


def write(data: bytes | str) -> None:
    """Write a result to standard output and flush it.

    Raises:
        Error: with the reason, if that fails.
        SystemExit: the pipe is closed at its other end.
    """
    stream = _results or getattr(sys.stdout, "buffer", None)
    if stream is None:
        raise Error("cannot write to standard output: there is none")
    try:
        stream.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)
        stream.flush()
    except OSError as error:
        discard(stream)
        if isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL):  # there the same
            sys.exit(BROKEN_PIPE)
        raise Error(f"cannot write to standard output: {error.strerror}") from None


def write_stderr(text: str, line: bool = False) -> None:
    """Write to standard error; a failure is ignored.

    Args:
        line: begin a new line, if the last text did not end with one.
    """
    global _unfinished
    stream = sys.stderr
    text = f"\n{text}" if line and _unfinished else text
    _unfinished = not text.endswith("\n")
    try:
        if stream is not None:
            stream.write(text)
            stream.flush()
    except (OSError, ValueError):
        discard(stream)


def flush() -> None:
    """Flush standard output. Raises `Error` if that fails; then the rest of it is discarded."""
    try:
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        raise Error(f"cannot write to standard output: {error.strerror}") from None


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def printable(text: str) -> str:
    """A text on one line: characters that cannot be printed, such as line breaks, become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def discard(stream: Any) -> None:
    """Discard what a stream still holds: Python would try to write it again at exit, and print an error."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
