"""Exceptions of any type as one line."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lapic.bitstream.error import Error
from lapic.codec.command import interrupts
from lapic.codec.streams import debugging, printable, write_stderr

EXITS = (KeyboardInterrupt, SystemExit, GeneratorExit)  # no failures: they end the process
OUT_OF_MEMORY = re.compile(
    "out of memory|not enough memory|can('t|not) allocate memory|failed to map segment|can't start new thread",
    re.IGNORECASE,
)
MAX_MESSAGE = 300  # characters of a library's message


def reason(error: BaseException) -> str:
    """One line with the reason. An unexpected exception is named with its type, and the line asks for a report."""
    if isinstance(error, Error):
        return printable(str(error))
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:MAX_MESSAGE]
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and OUT_OF_MEMORY.search(str(error))
    ):
        return "not enough memory"
    if type(error) is ValueError:
        return printable(message)
    if isinstance(error, OSError) and error.strerror:
        name = error.filename.decode(errors="replace") if isinstance(error.filename, bytes) else error.filename
        return printable(error.strerror if name is None else f"{name}: {error.strerror}")
    module = type(error).__module__
    name = f"{module}." * (module != "builtins") + type(error).__qualname__
    return printable(f"{name}: {message} (unexpected: please report it; LAPIC_DEBUG=1 shows where)")


def named(reason: str, source: str, target: str = "-") -> str:
    """The reason after the name of the source, unless it begins with the name of source or target."""
    shown = "standard input" if source == "-" else printable(source)
    for name in (shown, printable(target)):
        if re.match(rf"(cannot \w+ )?{re.escape(name)}(:| exists| matches)", reason):
            return reason
    return f"{shown}: {reason}"


def attempt(work: Callable[[Any], dict[str, Any]], job: Any) -> dict[str, Any]:
    """What `work` returns for a job, or {"error": one line} for any exception."""
    try:
        return work(job)
    except EXITS:
        raise
    except BaseException as error:  # a panic of a library in Rust is no `Exception`
        interrupts.check()
        show_traceback(error)
        return {"error": reason(error)}


@contextmanager
def about(source: str, target: str = "-") -> Iterator[None]:
    """Raise any exception of the block as an `Error` that names the file."""
    try:
        yield
    except EXITS:
        raise
    except BaseException as error:
        interrupts.check()
        raise Error(named(reason(error), source, target)) from error


def show_traceback(error: BaseException) -> None:
    """Print the traceback of an exception, if the environment asks for it, see `streams.debugging`."""
    if debugging():
        write_stderr("".join(traceback.format_exception(error)))
