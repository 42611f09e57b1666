"""Signals that end the command: as exceptions, so that half-written files are cleared away, and not to be lost."""

import signal
import types

_received: list[int] = []


class Ended(SystemExit):
    """A signal came. It is not KeyboardInterrupt, with which Python sometimes ends a process in a way of its own even
    where it was caught."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.reason = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def end_on_sigterm() -> None:
    """Let SIGTERM, and SIGHUP where it is not ignored, end the process as an exception does."""
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _end)


def end_on_signals() -> None:
    """The same for SIGINT too, where it is not ignored."""
    end_on_sigterm()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def check() -> None:
    """Raise again what a signal raised: an exception can be lost, or taken for another, such as within an import."""
    if _received:
        raise Ended(_received[0])


def ended_by(error: BaseException) -> Ended | None:
    """The signal that an exception comes from, None if it comes from none."""
    if isinstance(error, Ended):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Ended(signal.SIGINT)
    return Ended(_received[0]) if _received and not isinstance(error, SystemExit) else None


def _end(number: int, _: types.FrameType | None) -> None:
    _received.append(number)
    raise Ended(number)
