"""What a codec is to an evaluation."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Codec:
    """One codec at fixed settings.

    `encode(pixels, quality)` turns (H, W, 3) RGB into the bytes of a file, `decode` turns them back; a higher
    `quality` means a larger file. `ladder` are the qualities measured by default, `span` the lowest and the highest
    that there are, `step` their granularity: 1 if they are whole numbers. `encoder` names the codec whose files these
    are, if it is another.
    """

    name: str
    label: str = field(compare=False)
    suffix: str
    ladder: tuple[float, ...]
    span: tuple[float, float]
    step: float
    version: str
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    encoder: str | None = None

    @property
    def base(self) -> str:
        """The name without its variant: "lapic" for "lapic@e7"."""
        return self.name.partition("@")[0]

    @property
    def is_whole(self) -> bool:
        """Whether qualities are whole numbers."""
        return self.step == 1

    def has(self, quality: float) -> bool:
        """Whether there is such a quality."""
        return self.span[0] <= quality <= self.span[1] and (not self.is_whole or float(quality).is_integer())

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^\w@.+=-]", "_", self.name)


def told_apart(found: list[Codec]) -> list[Codec]:
    """The codecs; those that share a label, such as models of one name from different folders, are labelled by their
    names."""
    labels = [codec.label for codec in found]
    return [replace(one, label=one.name) if labels.count(one.label) > 1 else one for one in found]


class Unavailable(Exception):
    """A codec's package or weights are not there; the message says which and what to do."""
