"""The qualities that a model is for."""

import math

from lapic.codec.model.codec_weights import load

ALL_QUALITIES = (1, 100)


def of_model(name: str | None) -> tuple[int, int]:
    """The lowest and the highest quality of a shipped model or a weights file, by its card; all for None. Raises
    `Error` if it cannot be read."""
    if name is None:
        return ALL_QUALITIES
    low, high = load(name).qualities
    return math.ceil(low), math.floor(high)
