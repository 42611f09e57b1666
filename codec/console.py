"""What the command lines share: one-line errors and progress. Imports nothing heavy."""

import math
import sys
import time
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from bitstream.error import Error


class Finite(click.FloatRange):
    """A number in a range that is neither "nan", which compares with nothing, nor "inf"."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number, or a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def one_line_errors(command: Callable) -> Callable:
    """Turn expected failures into one line on standard error and exit code 1."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (Error, ValueError, MemoryError) as error:
            reason = "not enough memory" if isinstance(error, MemoryError) else str(error)
            click.echo(f"lapic: {reason}", err=True)
            sys.exit(1)

    return guarded


def with_options(options: list[Callable]) -> Callable[[Callable], Callable]:
    """Add a list of click options to a command, in the order of the list."""

    def wrapper(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return wrapper


def needs(extra: str) -> Callable[[Callable], Callable]:
    """Turn a missing package into one line that names the extra of lapic to install."""

    def wrapper(command: Callable) -> Callable:
        @wraps(command)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                command(*args, **kwargs)
            except ModuleNotFoundError as error:
                raise Error(f"{error.name} is missing: pip install 'lapic[{extra}]'") from None

        return guarded

    return wrapper


def quiet_pillow() -> None:
    """Pillow's warnings about odd files are not for the users of a command, who get one line for what fails."""
    warnings.filterwarnings("ignore", module=r"PIL\..*")


def tile_progress(quiet: bool) -> Callable[[int, int], None]:
    """A listener that draws progress on a terminal once the work has taken a second."""
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() and not quiet and total > 1 and time.monotonic() - began > 1:
            left = (time.monotonic() - began) * (total - done) / done
            click.echo(f"\r{done}/{total}  {left:.0f} s left   ", err=True, nl=done == total)

    return show


def stage_progress(total: int, what: str) -> Callable[[], None]:
    """Progress of a long stage: what is returned is called after each of its `total` steps. On a terminal it draws one
    line that changes, elsewhere a line every half minute."""
    began, done, shown = time.monotonic(), 0, 0.0
    terminal = sys.stderr.isatty()

    def step() -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if now - max(shown, began) > (0.2 if terminal else 30) or (terminal and done == total):
            shown = now
            text = f"{what}: {done}/{total}, {(now - began) / done * (total - done):.0f} s left"
            click.echo(f"\r{text}   " if terminal else text, err=True, nl=not terminal or done == total)

    return step
