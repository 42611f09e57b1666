"""Small files must not cost much; whatever is done to a file, only `Error` is raised."""

import io
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lapic
from lapic import bitstream
from lapic.bitstream import Error, Header, PixelFormat, Tile, container, varint
from lapic.codec.cli import main
from lapic.codec.selftest import GOLDEN, golden

FILES = {name: (GOLDEN / name).read_bytes() for name in sorted(golden())}
MODEL = bitstream.read(FILES["photo-q10.lapic"])[0].model


def decode_or_error(data: bytes, decode: Callable[..., object] = lapic.decode, **settings: object) -> None:
    try:
        decode(data, max_pixels=10**6, **settings)
    except Error as error:
        assert str(error)
        assert "\n" not in str(error)


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=150, deadline=None)
def test_changed_bytes(name: str, data: st.DataObject) -> None:
    changed = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    decode_or_error(bytes(changed))
    decode_or_error(bytes(changed), lapic.salvage)


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=150, deadline=None)
def test_changed_files_with_the_right_header_checksum(name: str, data: st.DataObject) -> None:
    """So that damage gets past the container and into the payload's decoder."""
    header, tiles = bitstream.read(FILES[name])
    fields = {**vars(header), "chunk_sizes": {}}
    fields["width"] = data.draw(st.sampled_from([header.width, 1, 64, 300]))
    fields["height"] = data.draw(st.sampled_from([header.height, 1, 64, 300]))
    fields["quality"] = data.draw(st.sampled_from([header.quality, 1.0, 100.0]))
    fields["tile"] = data.draw(st.sampled_from([header.tile, 0, 64]))
    fields["chunks"] = data.draw(
        st.dictionaries(st.sampled_from([b"exif", b"alph", b"filt", b"Evil", b"meek"]), st.binary())
    )
    new = Header(**fields)
    rows, columns = new.grid()
    payloads = [tile.payload for tile in tiles] + [data.draw(st.binary(max_size=80))]
    chosen = st.builds(Tile, st.sampled_from(payloads), st.sampled_from([tile.crc for tile in tiles]))
    decode_or_error(bitstream.write(new, data.draw(st.lists(chosen, min_size=rows * columns, max_size=rows * columns))))


def bomb(size: int) -> bytes:
    """A zlib stream that inflates to `size` zeros."""
    return zlib.compress(bytes(size), 9)


def test_metadata_that_inflate_without_end_are_refused() -> None:
    data = container.write(Header(8, 8, PixelFormat.RGB, 50, MODEL, 0, {b"exif": b"x"}), [Tile(b"", 0)])
    head = data.index(b"exif")
    body = bomb(64 * 2**20)
    forged = data[:head] + b"exif" + varint.write_varint(len(body)) + body + b"\0\0\0\0\0\0\0\0\0"
    with pytest.raises(Error, match="larger than"):
        bitstream.read(forged)


def test_an_alpha_channel_that_is_a_bomb_is_refused() -> None:
    out = io.BytesIO()
    Image.new("L", (8000, 8000)).save(out, "PNG")
    data = bitstream.write(Header(8, 8, PixelFormat.RGB, 50, MODEL, 0, {b"alph": out.getvalue()}), [Tile(b"\0", 0)])
    began = time.monotonic()
    with pytest.raises(Error, match="alpha"):
        lapic.decode(data)
    assert time.monotonic() - began < 5


HOSTILE = """
import resource, sys, time
import lapic
from lapic.codec.model.codec_weights import load
load()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.monotonic()
try:
    lapic.decode(sys.stdin.buffer.read())
except lapic.Error as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, time.monotonic() - began, error)
"""


@pytest.mark.parametrize("payload", [b"\0", b"\1", b"\0" + b"\x01\0\0\0" * 3, b"\2\0"])
def test_a_tiny_file_that_declares_a_large_tile_costs_little(payload: bytes) -> None:
    data = bitstream.write(Header(4096, 4096, PixelFormat.RGB, 50, MODEL, tile=0), [Tile(payload, 12345)])
    assert len(data) < 64
    found = subprocess.run([sys.executable, "-c", HOSTILE], input=data, capture_output=True, check=True).stdout.decode()
    mebibytes, seconds, reason = found.split(maxsplit=2)
    assert int(mebibytes) < 150, found
    assert float(seconds) < 5, found
    assert "checksum" in reason


def test_pixels_are_limited_by_default_and_the_limit_can_be_raised(tmp_path: Path) -> None:
    rows = container.Header(2**24, 32, PixelFormat.RGB, 50, MODEL, 64)
    data = container.write(rows, [Tile(b"\0", 0)] * (2**24 // 64))
    (tmp_path / "wide.lapic").write_bytes(data)
    for command in (["decode", "wide.lapic", "out.png"], ["verify", "wide.lapic"]):
        result = CliRunner().invoke(main, [command[0], *(str(tmp_path / name) for name in command[1:])])
        assert result.exit_code == 1
        assert "more than 268435456 pixels" in result.stderr
    with pytest.raises(Error, match="checksum"):
        lapic.decode(data, max_pixels=None)


def test_encoding_is_limited_before_pixels_are_read(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = CliRunner().invoke(main, ["encode", str(tmp_path / "large.png"), str(tmp_path / "a.lapic")])
    assert result.exit_code == 1
    assert "more than 268435456 pixels" in result.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_truncation_is_refused_and_salvaged(name: str) -> None:
    data = FILES[name]
    for end in np.linspace(0, len(data) - 1, 12).astype(int):
        with pytest.raises(Error):
            lapic.decode(data[:end])
        decode_or_error(data[:end], lapic.salvage)
