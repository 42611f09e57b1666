"""Coverage-guided fuzzing of the decoder with atheris (pip install atheris; Linux).

    python benchmarks/fuzz.py [-runs=1000000] [-max_len=4096] [other libFuzzer options]

Starts from the golden files. A mutator that knows the format takes a file apart, changes one thing (a field, a chunk, a
payload, the tile table) and puts it together with the right header checksum; others change raw bytes. Of the inputs
that parse, one in eight is entropy-decoded, and one in 256 decoded to pixels; in half of those the checksum of the
symbols is taken for right, so that nonsense gets past it. Only `bitstream.Error` may be raised; an input that takes
more than 5 seconds, or a process of more than 2 GiB, ends the run as a failure (libFuzzer's -timeout, -rss_limit_mb).
benchmarks/fuzz_command.py does the same to the encoder: mutated pictures, through the command.
"""

import os
import random
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from unittest import mock

if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv[1:]):  # before atheris, which need not be there
    print(__doc__)
    sys.exit()

import atheris
import torch

with atheris.instrument_imports(
    include=[
        "lapic.bitstream",
        "lapic.codec.picture.pillow",
        "lapic.codec.decode.decoder",
        "lapic.codec.picture.tiling",
    ]
):
    from lapic import bitstream
    from lapic.codec.decode import decoder
    from lapic.codec.picture import pillow, tiling
import lapic
from lapic.bitstream import container, entropy
from lapic.codec.decode import symbols as symbols_module
from lapic.codec.model.codec_weights import load, load_by_id
from lapic.codec.model.shipped import shipped
from lapic.codec.selftest import GOLDEN

MAX_PIXELS = 1_000_000
DECODE_PIXELS = 40_000
counts: Counter[str] = Counter()
began = time.monotonic()


def check(data: bytes) -> None:
    """Everything that a reader may do with a file."""
    counts["inputs"] += 1
    if counts["inputs"] % 50_000 == 0:  # libFuzzer ends the process without a chance for a last word
        report()
    draw = zlib.crc32(data)
    try:
        header, tiles = bitstream.read(data, MAX_PIXELS, salvage=bool(draw >> 20 & 1))
        counts["parsed"] += 1
        lapic.info(data)
        pillow.read_alpha(header.chunks, (header.width, header.height))
        if header.width * header.height > DECODE_PIXELS:
            return
        if draw % 8 == 0:
            counts["entropy-decoded"] += 1
            entropy_decode(header, tiles)
        if draw % 256 == 3:
            counts["decoded to pixels"] += 1
            lenient = mock.patch.object(entropy, "symbols_crc", lambda z, symbols: AnyNumber())
            with lenient if draw & 512 else mock.patch.dict({}):
                decoder.decode_pixels(load_by_id(header.model), header, tiles, missing=[] if draw & 1024 else None)
    except bitstream.Error:
        counts["refused"] += 1


class AnyNumber(int):
    """Equal to every checksum."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def entropy_decode(header: bitstream.Header, tiles: list[bitstream.Tile]) -> None:
    """The symbols of the first tile, with the true hyper-synthesis."""
    bounds = tiling.latent_bounds(header.width, header.height)
    rect = next(iter(bounds.cut(tiling.tile_edge(header.tile, bounds))))
    symbols_module.decode_symbols(load_by_id(header.model), header, tiles[0], rect)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one thing and repair the header's checksum; plain bytes if the file does not parse."""
    rng = random.Random(seed)
    try:
        header, tiles = bitstream.read(data, MAX_PIXELS)
    except bitstream.Error:
        return atheris.Mutate(data, max_size)
    fields = dict(vars(header))
    fields.pop("chunk_sizes")
    where = rng.randrange(7)
    if where == 0:
        return atheris.Mutate(data, max_size)
    if where == 1:
        return _with_checksum(atheris.Mutate(data[8:], max_size), data)
    if where == 2:
        fields["width"] = rng.choice([1, 16, 17, 64, 65, 200, 1000, 2**14, 2**24, rng.randrange(1, 300)])
        fields["height"] = rng.choice([1, 16, 63, 64, 200, 999, 2**24, rng.randrange(1, 300)])
    elif where == 3:
        fields["quality"] = rng.choice([1, 100, rng.randrange(256, 25601) / 256])
        fields["pixel_format"] = rng.choice(list(container.PixelFormat))
        fields["tile"] = rng.choice([0, 64, 128, 1024, 64 << 14])
    elif where == 4:
        kind = rng.choice([container.ICC, container.EXIF, container.XMP, container.ALPHA, b"abcd", b"Abcd"])
        old = header.chunks.get(kind, rng.randbytes(rng.randrange(60)))
        fields["chunks"] = header.chunks | {kind: atheris.Mutate(old, max(1, max_size - len(data)))}
    elif tiles:
        number = rng.randrange(len(tiles))
        payload = atheris.Mutate(tiles[number].payload, max(1, max_size - len(data) + len(tiles[number].payload)))
        tiles[number] = bitstream.Tile(payload, tiles[number].crc)
    try:
        new = container.Header(**fields)
        rows, columns = new.grid()
        count = min(rows * columns, 64)
        tiles = (tiles * count)[:count]
        return bitstream.write(new, tiles)[:max_size]
    except (ValueError, OverflowError, ZeroDivisionError):
        return atheris.Mutate(data, max_size)


def _with_checksum(body: bytes, data: bytes) -> bytes:
    """A changed body after the signature, with the CRC-32 put where the old header had it."""
    payload = sum(len(tile.payload) for tile in bitstream.read(data)[1])
    end = len(body) - payload - 4
    if end < 8:
        return data[:8] + body
    return data[:8] + body[:end] + zlib.crc32(body[:end]).to_bytes(4, "little") + body[end + 4 :]


def report() -> None:
    """What was run, on standard output."""
    text = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    print(f"{text}; {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    corpus = Path(os.environ.get("FUZZ_CORPUS", "/tmp/lapic-fuzz"))
    corpus.mkdir(exist_ok=True)
    for path in GOLDEN.glob("*.lapic"):
        (corpus / path.name).write_bytes(path.read_bytes())
    torch.set_num_threads(1)
    for name in shipped().values():
        load(name)
    defaults = ["-runs=1000000", "-max_len=16384", "-timeout=5", "-rss_limit_mb=2048", "-print_final_stats=1"]
    given = {argument.split("=")[0] for argument in sys.argv[1:]}
    arguments = [sys.argv[0], *(d for d in defaults if d.split("=")[0] not in given), *sys.argv[1:], str(corpus)]
    atheris.Setup(arguments, check, custom_mutator=lambda *given: mutate(*given)[: given[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
