"""Checks of the arguments of public functions, before any work.

Numbers may be NumPy scalars; booleans and strings are no numbers.
"""

from numbers import Real
from typing import Any, Protocol

from lapic.bitstream import Error


class Progress(Protocol):
    """A function that is called during long work, with the number of steps that are done and the number in all."""

    def __call__(self, done: int, total: int, /) -> None:
        """`done` of `total` steps are finished."""


def no_progress(done: int, total: int) -> None:
    """The default `Progress`, which does nothing."""


def reporter(progress: Progress | None) -> Progress:
    """The function that is called during work, `no_progress` for None. Raises TypeError: it cannot be called."""
    if progress is None:
        return no_progress
    if not callable(progress):
        raise TypeError(f"progress is a function progress(done, total), not {type(progress).__name__}")
    return progress


def number(name: str, value: Any, low: float, high: float) -> float:
    """A real number as a float.

    Raises:
        TypeError: it is none.
        ValueError: it is outside low..high, or not a number (nan).
    """
    checked = float(_real(name, value))
    if not low <= checked <= high:
        raise ValueError(f"{name} {value} is outside {low:g} to {high:g}")
    return checked


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number as an int, of any numeric type.

    Raises:
        TypeError: it is no number.
        ValueError: it is not whole, or outside low..high.
    """
    checked = _real(name, value)
    if not low <= checked <= high:
        raise ValueError(f"{name} {value} is outside {low} to {high}")
    if int(checked) != checked:
        raise ValueError(f"{name} {value} is not a whole number")
    return int(checked)


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """The choice, a string or a number, that equals a value. Raises ValueError: there is none."""
    if isinstance(value, str | Real) and not isinstance(value, bool):
        for choice in choices:
            if value == choice:
                return choice
    raise ValueError(f"{name} {_on_one_line(value)} is none of {', '.join(map(str, choices))}")


def target(name: str, value: Any) -> float | None:
    """A target as a positive number, None if none is given.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive, or not finite.
    """
    if value is None:
        return None
    checked = float(_real(name, value))
    if not 0 < checked < float("inf"):
        raise ValueError(f"give one target, and a positive finite number: {name} is {value}")
    return checked


def rectangle(name: str, value: Any) -> tuple[int, int, int, int]:
    """Four whole numbers x, y, width, height. Raises TypeError or ValueError: they are not."""
    try:
        x, y, width, height = (whole(name, part, -(2**31), 2**31) for part in value)
    except TypeError:
        raise TypeError(f"{name} is x, y, width, height, four whole numbers, not {_on_one_line(value)}") from None
    except ValueError:
        raise ValueError(f"{name} is x, y, width, height, four whole numbers, not {_on_one_line(value)}") from None
    return x, y, width, height


def check_image(image: Any) -> None:
    """Read the pixels of a Pillow image, if they are not loaded yet.

    Raises:
        TypeError: it is no Pillow image.
        ValueError: it has no pixels.
        Error: its file is damaged or closed, or the image itself is closed.
    """
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise TypeError(f"a PIL.Image.Image is needed, not {type(image).__name__}: see Image.open and Image.fromarray")
    if not image.width * image.height:
        raise ValueError(f"an image of {image.width} x {image.height} has no pixels")
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many types for damaged and closed files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if getattr(image, "fp", None) is None and isinstance(error, AttributeError | AssertionError):
            reason = "its file is closed"
        raise Error(f"the image cannot be read: {reason}") from None


def _on_one_line(value: Any) -> str:
    """A value as Python writes it, without the line breaks that arrays have."""
    return " ".join(repr(value).split())


def _real(name: str, value: Any) -> Any:
    """A real number. Raises TypeError if it is none, ValueError if a float cannot hold it."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, not {type(value).__name__}")
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large a number") from None
    return value
