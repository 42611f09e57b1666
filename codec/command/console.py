"""Output of the commands: lines, one-line errors and progress. Imports nothing heavy."""

import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from lapic.bitstream.error import Error
from lapic.codec import streams
from lapic.codec.command import interrupts
from lapic.codec.command.failures import reason, show_traceback
from lapic.codec.streams import printable, write_stderr


def is_given(context: click.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def print_stderr(line: str) -> None:
    """Print a line on standard error."""
    write_stderr(printable(line) + "\n", line=True)


def write_line(line: str) -> None:
    """Print a line of results on standard output. Raises `Error` if that fails."""
    streams.write(printable(line) + "\n")


@contextmanager
def boundary() -> Iterator[None]:
    """Turn any exception into one line on standard error and an exit code: 1, or 128 and the number of the signal that
    ended the process."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, GeneratorExit):
        raise
    except BaseException as error:
        if end := interrupts.ended_by(error):
            print_stderr(f"lapic: {end.reason}")
            sys.exit(end.code)
        if isinstance(error, SystemExit):
            raise
        show_traceback(error)
        print_stderr(f"lapic: {reason(error)}")
        sys.exit(1)


class Finite(click.FloatRange):
    """A finite number in a range: "nan" and "inf" are refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number, or a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def one_line_errors(command: Callable) -> Callable:
    """Run a command within `boundary`, with standard output for its results alone."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        with boundary(), streams.results_only():
            command(*args, **kwargs)

    return guarded


def with_options(options: list[Callable]) -> Callable[[Callable], Callable]:
    """Add a list of click options to a command, in the order of the list."""

    def wrapper(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return wrapper


def needs(extra: str) -> Callable[[Callable], Callable]:
    """Turn a missing package into one line that names the extra of lapic to install; the command's result is kept."""

    def wrapper(command: Callable) -> Callable:
        @wraps(command)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return command(*args, **kwargs)
            except ModuleNotFoundError as error:
                raise Error(f"{error.name} is missing: pip install 'lapic[{extra}]'") from None

        return guarded

    return wrapper


def quiet_pillow() -> None:
    """Silence the warnings of Pillow and other libraries about odd files: users of a command get one line for what
    fails. `python -W` shows them."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        logging.getLogger("PIL").setLevel(logging.CRITICAL)


def tile_progress(quiet: bool) -> Callable[[int, int], None]:
    """A progress function of (tiles done, tiles in all) that draws on a terminal once the work has taken a second."""
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        interrupts.check()
        if not quiet and streams.is_terminal() and total > 1 and time.monotonic() - began > 1:
            left = (time.monotonic() - began) * (total - done) / done
            write_stderr(f"\r{done}/{total}  {left:.0f} s left   " + "\n" * (done == total))

    return show


def stage_progress(total: int, stage: str) -> Callable[[], None]:
    """A progress function that is called after each of the `total` steps of a long stage. On a terminal it draws one
    line that changes, elsewhere a line every half minute."""
    began, done, last_drawn = time.monotonic(), 0, 0.0
    terminal = streams.is_terminal()

    def step() -> None:
        nonlocal done, last_drawn
        done += 1
        interrupts.check()
        now = time.monotonic()
        if now - max(last_drawn, began) > (0.2 if terminal else 30) or (terminal and done == total):
            last_drawn = now
            text = f"{stage}: {done}/{total}, {(now - began) / done * (total - done):.0f} s left"
            write_stderr((f"\r{text}   " if terminal else text) + "\n" * (not terminal or done == total))

    return step
