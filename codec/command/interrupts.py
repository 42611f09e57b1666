"""Signals that end the command, as exceptions: so temporary files are removed."""

import signal
import types

_received: list[int] = []


class Ended(SystemExit):
    """A signal asked the process to end. It is no KeyboardInterrupt, after which Python can end the process by SIGINT
    even if the exception was caught."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.reason = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def end_on_sigterm() -> None:
    """Raise `Ended` on SIGTERM, and on SIGHUP unless it is ignored."""
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _end)


def end_on_signals() -> None:
    """As `end_on_sigterm`, and on SIGINT unless it is ignored."""
    end_on_sigterm()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def check() -> None:
    """Raise `Ended` again if a signal was received: an exception can be lost or replaced, such as during an import."""
    if _received:
        raise Ended(_received[0])


def ended_by(error: BaseException) -> Ended | None:
    """The signal that caused an exception, None if none did."""
    if isinstance(error, Ended):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Ended(signal.SIGINT)
    return Ended(_received[0]) if _received and not isinstance(error, SystemExit) else None


def _end(number: int, _: types.FrameType | None) -> None:
    _received.append(number)
    raise Ended(number)
