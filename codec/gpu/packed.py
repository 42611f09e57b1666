"""A tile's payload as one buffer of 32-bit numbers, which goes to a device in one transfer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lapic.bitstream import Error, Payload
from lapic.bitstream.entropy import SYMBOL_MAX
from lapic.bitstream.varint import Reader
from lapic.codec.nets.levels import QUALITY_ONE

# Escapes that a payload on a device may have; a file with more is decoded by the processor. One program compares all
# pairs of a pass' escapes to sort them, so it is a power of two of moderate size. Photos have none or a few.
ESCAPES_MAX = 1024
HEADER = 5  # numbers: lane_count, first_index, quality, crc, escape_count


@dataclass(frozen=True)
class PackedTile:
    """Named views of one int32 buffer, on the host or a device. This is its layout, for L lanes at most:

        lane_count     1            lanes that the payload has
        first_index    1            the first scale index whose symbols are coded
        quality        1            fixed-point
        crc            1            the checksum of the symbols, the bits of an unsigned number
        escape_count   1            escapes that the payload has
        escapes        ESCAPES_MAX  their values (FORMAT.md), in the order of coding
        states         2 L          each lane's state before the first symbol, low word first
        word_ends      L            where in `words` each lane's next word ends; words are read from the last one
        word_begins    L            where in `words` each lane begins
        words          the rest     the words of all lanes, one lane after the other

    Lanes that the payload does not have are zeros, which is how a lane looks when it is decoded. All views share the
    buffer's memory, so a CUDA graph that reads them sees what `copy_` brings.
    """

    buffer: Tensor
    lane_count: Tensor
    first_index: Tensor
    quality: Tensor
    crc: Tensor
    escape_count: Tensor
    escapes: Tensor
    states: Tensor
    word_ends: Tensor
    word_begins: Tensor
    words: Tensor

    @classmethod
    def over(cls, buffer: Tensor, lanes: int) -> "PackedTile":
        """The views of a buffer of `size` numbers, int32, for so many lanes at most."""
        words = len(buffer) - cls.size(lanes, 0)
        lengths = [1] * HEADER + [ESCAPES_MAX, 2 * lanes, lanes, lanes, words]
        return cls(buffer, *buffer.split(lengths))

    @classmethod
    def empty(cls, lanes: int, words: int) -> "PackedTile":
        """Zeros on the host for so many lanes and words at most."""
        return cls.over(torch.zeros(cls.size(lanes, words), dtype=torch.int32, device="cpu"), lanes)

    @staticmethod
    def size(lanes: int, words: int) -> int:
        """How many numbers a buffer has for so many lanes and words at most."""
        return HEADER + ESCAPES_MAX + 4 * lanes + words

    @property
    def lanes(self) -> int:
        """How many lanes there is room for."""
        return len(self.word_begins)

    def to(self, device: torch.device) -> "PackedTile":
        """A copy on a device, by one transfer."""
        return self.over(self.buffer.to(device), self.lanes)

    def copy_(self, other: "PackedTile") -> None:
        """Take over the numbers of another tile of the same sizes, by one transfer, without waiting for it."""
        self.buffer.copy_(other.buffer, non_blocking=True)


def pack(payload: Payload, quality: float, crc: int = 0, out: PackedTile | None = None) -> PackedTile:
    """What a device needs of a payload.

    Args:
        crc: the checksum of its symbols.
        out: where to write it, on the host, with room for its lanes and words; else it is made.

    Raises:
        Error: the escapes are damaged or more than ESCAPES_MAX.
    """
    count, escapes = len(payload.lanes), _escapes(payload)
    lengths = np.array([len(words) for words in payload.lanes])
    ends = np.cumsum(lengths)
    begins = ends - lengths
    out = out or PackedTile.empty(count, int(ends[-1]))
    out.lane_count.fill_(count)
    out.first_index.fill_(payload.first)
    out.quality.fill_(round(quality * QUALITY_ONE))
    out.crc.fill_(int(np.uint32(crc).view(np.int32)))
    out.escape_count.fill_(len(escapes))
    out.escapes[: len(escapes)] = torch.tensor(escapes, dtype=torch.int32, device="cpu")
    for lanes_view in (out.states, out.word_ends, out.word_begins):
        lanes_view.zero_()
    states, word_ends, word_begins, words = (
        view.numpy() for view in (out.states, out.word_ends, out.word_begins, out.words)
    )
    word_ends[:count] = np.maximum(lengths - 2, 0) + begins
    word_begins[:count] = begins
    np.concatenate(payload.lanes, out=words[: ends[-1]].view(np.uint32))
    for word in (0, 1):  # a coder's state before the first symbol is its last two words
        has_word = lengths > word
        states[word : 2 * count : 2][has_word] = words[word_ends[:count][has_word] + word]
    return out


def fits(payload: Payload) -> bool:
    """Whether a payload has no more than ESCAPES_MAX escapes; the last byte of each is below 128."""
    return np.count_nonzero(np.frombuffer(payload.escapes, np.uint8) < 128) <= ESCAPES_MAX


def _escapes(payload: Payload) -> list[int]:
    """The numbers that stand for escapes, see FORMAT.md."""
    if not fits(payload):
        raise Error(f"a tile has more than {ESCAPES_MAX} escapes")
    reader, values = Reader(payload.escapes), []
    while reader.left:
        values.append(reader.varint(2 * SYMBOL_MAX))
    return values
