"""How long the command takes on an idle machine, and beside processes that compute.

    python benchmarks/busy.py PICTURE [--beside 2] [--runs 3] [--commands "encode,encode -e 0,decode"]
        [--size 3840x2160]

"decode" decodes what the commands before it encoded.
"""

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from timing import measure

from lapic.codec.command.workers import cores

SPAWN = multiprocessing.get_context("spawn")


def compute() -> None:
    number = 0
    while True:
        number = (number * 3 + 1) % 1000003


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """A machine on which so many other processes compute."""
    others = [SPAWN.Process(target=compute, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    time.sleep(2)
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def seconds(arguments: list[str], runs: int) -> float:
    """The median time of a run of the command."""
    command = [sys.executable, "-m", "lapic", *arguments, "--quiet", "-f", "--device", "cpu"]
    return measure(lambda: subprocess.run(command, check=True), runs, warmup=0).median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--beside", type=int, default=2, help="processes that compute meanwhile")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    parser.add_argument("--commands", default="encode,encode -e 0,decode")
    parser.add_argument("--size", help="that the picture is brought to first")
    options = parser.parse_args()
    print(f"{cores()} cores, {options.beside} computing processes; seconds with the start of Python and torch")
    with tempfile.TemporaryDirectory() as folder:
        file, back = str(Path(folder, "a.lapic")), str(Path(folder, "a.png"))
        picture, commands = options.picture, {}
        if options.size:
            width, height = map(int, options.size.split("x"))
            picture = str(Path(folder, "resized.png"))
            with Image.open(options.picture) as image:
                image.resize((width, height), Image.Resampling.LANCZOS).save(picture)
        for name in options.commands.split(","):
            verb, *settings = name.split()
            commands[name] = [verb, *([file, back] if verb == "decode" else [picture, file]), *settings]
        idle = {name: seconds(command, options.runs) for name, command in commands.items()}
        with busy(options.beside):
            loaded = {name: seconds(command, options.runs) for name, command in commands.items()}
    print(f"{'':12}{'idle':>8}{'busy':>8}{'ratio':>8}")
    for name in commands:
        print(f"{name:12}{idle[name]:8.2f}{loaded[name]:8.2f}{loaded[name] / idle[name]:8.1f}")


if __name__ == "__main__":
    main()
