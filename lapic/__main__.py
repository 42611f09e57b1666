"""`python -m lapic` is the command `lapic`."""

from lapic.codec.__main__ import run

if __name__ == "__main__":
    run()
