"""The process of the command: what `lapic` and `python -m lapic` run."""

import os
import sys

from lapic.codec.command import interrupts


def run() -> None:
    """Answer to signals from here on, for the imports take a while; then run the command."""
    interrupts.end_on_signals()
    try:
        os.getcwd()
    except OSError as error:  # libraries would end the process without a word
        print(f"lapic: the working folder cannot be used: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    try:
        from lapic.codec import cli
    except BaseException as error:
        if end := interrupts.ended_by(error):
            print(f"lapic: {end.reason}", file=sys.stderr)
            sys.exit(end.code)
        raise
    cli.run()


if __name__ == "__main__":
    run()
