"""Time and peak memory from file to file against the number of pixels; large pictures go row by row. Needs the
extras `large` and `evaluation`.

    python benchmarks/gigapixel.py PHOTO [--edges 64,316,1000,3162,10000,30000] [--folder /tmp]

Each picture is PHOTO, repeated to a square, as a tiled TIFF. Every run is a process of its own; the start of Python and
torch, which a picture of 64 x 64 pixels takes alone, is the first row. The crop is 1000 x 1000 pixels from the middle.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = """
import sys, time
from lapic.codec.cli import main
from lapic.codec.evaluation.peak import PeakMemory
from lapic.codec.memory import keep_freed_memory
keep_freed_memory()
began = time.perf_counter()
with PeakMemory() as memory:
    main(sys.argv[1:], standalone_mode=False)
print(time.perf_counter() - began, memory.peak / 2**20)
"""


def run(*arguments: object) -> tuple[float, float]:
    """Seconds and MiB of one command of lapic."""
    found = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    seconds, peak = found.split()[-2:]
    return float(seconds), float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("--edges", default="64,316,1000,3162,10000,30000")
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    import pyvips

    print(
        f"{'megapixels':>10} {'encode s':>9} {'MiB':>6} {'decode s':>9} {'MiB':>6} {'crop s':>7} {'MiB':>6} {'bpp':>6}"
    )
    for edge in map(int, arguments.edges.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            picture, coded, back, part = (Path(folder) / name for name in ("a.tif", "a.lapic", "b.tif", "c.png"))
            photo = pyvips.Image.new_from_file(arguments.photo)
            wide = photo.replicate(-(-edge // photo.width), -(-edge // photo.height)).crop(0, 0, edge, edge)
            wide.write_to_file(str(picture), bigtiff=True, tile=True, compression="lzw")
            limit = ["--quiet", "--max-pixels", edge**2]
            encode = run("encode", *limit, picture, coded)
            decode = run("decode", *limit, coded, back)
            corner, size = max(0, edge // 2 - 500), min(edge, 1000)
            crop = run("decode", "--quiet", "--crop", f"{corner},{corner},{size},{size}", coded, part)
            bpp = 8 * coded.stat().st_size / edge**2
            print(
                f"{edge**2 / 1e6:10.2f} {encode[0]:9.2f} {encode[1]:6.0f} {decode[0]:9.2f} {decode[1]:6.0f} "
                f"{crop[0]:7.2f} {crop[1]:6.0f} {bpp:6.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
