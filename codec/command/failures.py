"""What a failure is called: one line, whatever was raised and by whom."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lapic.bitstream.error import Error
from lapic.codec.command import interrupts
from lapic.codec.streams import debugging, printable, tell

PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit)  # no failures: they end the process
OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
LONGEST = 300  # characters of a library's message


def reason(error: BaseException) -> str:
    """One line that says why. What nobody has foreseen is named with its type, and a report is asked for."""
    if isinstance(error, Error):
        return printable(str(error))
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:LONGEST]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))):
        return "not enough memory"
    if type(error) is ValueError:
        return printable(message)
    if isinstance(error, OSError) and error.strerror:
        name = error.filename.decode(errors="replace") if isinstance(error.filename, bytes) else error.filename
        return printable(error.strerror if name is None else f"{name}: {error.strerror}")
    module = type(error).__module__
    kind = f"{module}." * (module != "builtins") + type(error).__qualname__
    return printable(f"{kind}: {message} (unexpected: please report it; LAPIC_DEBUG=1 shows where)")


def named(reason: str, source: str, target: str = "-") -> str:
    """The reason after the name of the file, unless it names that or what should be made of it."""
    for name in map(printable, (source, target)):
        if re.match(rf"(cannot \w+ )?{re.escape(name)}(:| exists| matches)", reason):
            return reason
    return f"{'standard input' if source == '-' else printable(source)}: {reason}"


def attempt(work: Callable[[Any], dict[str, Any]], job: Any) -> dict[str, Any]:
    """What `work` makes of a job, or {"error": one line} for anything that is raised."""
    try:
        return work(job)
    except PASSING:
        raise
    except BaseException as error:  # panics of libraries in Rust are no `Exception`
        interrupts.check()
        show_traceback(error)
        return {"error": reason(error)}


@contextmanager
def about(source: str, target: str = "-") -> Iterator[None]:
    """Name the file in whatever is raised in the block, as `Error`."""
    try:
        yield
    except PASSING:
        raise
    except BaseException as error:
        interrupts.check()
        raise Error(named(reason(error), source, target)) from error


def show_traceback(error: BaseException) -> None:
    """Print where an exception comes from, if the environment asks for it."""
    if debugging():
        tell("".join(traceback.format_exception(error)))
