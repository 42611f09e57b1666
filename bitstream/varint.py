"""Bytes in sequence: fixed-size fields and LEB128 integers, read with bounds checks."""

from lapic.bitstream.error import Error


def write_varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, lowest first, high bit set on all but the last. `value` >= 0."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """A position in a byte string. Every method raises `Error` instead of reading past the end."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data, self.position = bytes(data), 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.left:
            raise Error(f"truncated: {count} bytes expected at offset {self.position}, {self.left} are there")
        self.position += count
        return self.data[self.position - count : self.position]

    def uint(self, size: int) -> int:
        """A little-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def varint(self, largest: int = 2**32 - 1) -> int:
        """An unsigned LEB128 integer in its shortest form, at most `largest`."""
        value = shift = 0
        while True:
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            if value > largest or shift > 63:
                raise Error(f"a number at offset {self.position - 1} is larger than {largest}")
            if byte < 0x80:
                if byte == 0 and shift:
                    raise Error(f"a number at offset {self.position - 1} is not in its shortest form")
                return value
            shift += 7
