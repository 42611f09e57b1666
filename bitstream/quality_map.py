"""The quality map: by how many qualities each place of a picture is quantised more finely or more coarsely."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lapic.bitstream.container import QUALITY_MAP, QUALITY_ONE, Header


def write_map(offsets: NDArray[np.int8]) -> bytes:
    """The contents of a chunk `QMAP` for the offsets of all places, (rows, columns), in whole qualities."""
    return offsets.astype(np.int8).tobytes()


def read_map(header: Header) -> NDArray[np.int32]:
    """The quality of each place, (rows, columns), in fixed point, 256..25600, of a header that has a map."""
    return _read(header.chunks[QUALITY_MAP], header.places(), round(header.quality * QUALITY_ONE))


@lru_cache(maxsize=2)  # each tile asks for it
def _read(content: bytes, size: tuple[int, int], quality: int) -> NDArray[np.int32]:
    offsets = np.frombuffer(content, np.int8).reshape(size).astype(np.int32)
    return (quality + QUALITY_ONE * offsets).clip(QUALITY_ONE, 100 * QUALITY_ONE)
