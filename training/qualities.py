"""The qualities that a model is for."""

import json
import math

from lapic.codec.model.codec_weights import damaged_weights, read_weights
from lapic.codec.model.shipped import find_model

ALL_QUALITIES = (1, 100)


def of_model(name: str | None) -> tuple[int, int]:
    """The lowest and the highest quality of a shipped model or a weights file, by its card; all for None. Raises
    `Error` if it cannot be read."""
    if name is None:
        return ALL_QUALITIES
    path = find_model(name)
    metadata = read_weights(path)[1]
    with damaged_weights(path):
        card = json.loads(metadata["card"])
        low, high = (float(card.get(key, most)) for key, most in zip(("lowest", "highest"), ALL_QUALITIES, strict=True))
    return math.ceil(low), math.floor(high)
