"""Butteraugli (Alakuijala et al., Google; as libjxl has it), by the program butteraugli_main of libjxl's tools."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapic.bitstream import Error

PROGRAM = "butteraugli_main"


def find() -> str:
    """The path of the program. Raises `Error` if it is not installed."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise Error(f"the program {PROGRAM} is not installed (Debian: apt install libjxl-devtools)")
    return path


@lru_cache(maxsize=1)
def version() -> str | None:
    """The digest of the program, which tells no version; None if it is not installed."""
    path = shutil.which(PROGRAM)
    return f"SHA-256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}" if path else None


def butteraugli(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """The 3-norm of the map of differences between two pictures (H, W, 3) of sRGB, seen on a screen of 80 nits, the
    program's defaults: 0 is identical, about 1 just noticeable, more is worse.

    Raises:
        Error: the program is not installed, or fails.
    """
    program = find()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.ppm" for name in ("original", "decoded")]
        for path, pixels in zip(paths, (original, decoded), strict=True):
            Image.fromarray(pixels).save(path)
        done = subprocess.run([program, *map(str, paths)], capture_output=True, text=True)
    found = re.search(r"^3-norm: ([\d.eE+-]+)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Error(f"{PROGRAM} failed: {reason}")
    return float(found[1])
