"""Signals that end the command: as exceptions, so that half-written files are cleared away, and not to be lost."""

import signal
import types

_received: list[int] = []


class Ended(SystemExit):
    """SIGTERM or SIGHUP came."""


def end_on_sigterm() -> None:
    """Let SIGTERM, and SIGHUP where it is not ignored, end the process as an exception does."""
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _end)


def end_on_signals() -> None:
    """`end_on_sigterm`, and the same for SIGINT, where it is not ignored, by KeyboardInterrupt."""
    end_on_sigterm()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def received() -> int | None:
    """The first signal that came, if one did."""
    return _received[0] if _received else None


def check() -> None:
    """Raise again what a signal raised: an exception can be lost, or taken for another, such as within an import."""
    if _received:
        raise _exception(_received[0])


def _end(number: int, _: types.FrameType | None) -> None:
    _received.append(number)
    raise _exception(number)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Ended(128 + number)
