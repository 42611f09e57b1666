"""Decoding to a tensor without host synchronisation, here on a CPU by Triton's interpreter where there is no GPU."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import lapic
from lapic import bitstream
from lapic.bitstream import Error, entropy
from lapic.codec.decode import picture_filter
from lapic.codec.model import latents
from lapic.codec.model.codec_weights import load, load_for
from lapic.codec.picture.tiling import Rect

triton = pytest.importorskip("triton", reason="Triton is not installed: nothing can run the kernel")
from lapic.codec import realtime  # noqa: E402, it imports Triton
from lapic.codec.exact import kernels  # noqa: E402
from lapic.codec.gpu import crc, entropy_decode, entropy_encode, pyramid, synthesis  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.crop((100, 100, 150, 140))


@pytest.fixture(scope="module")
def decoder() -> realtime.RealtimeDecoder:
    return realtime.RealtimeDecoder(load(device=DEVICE), 50, 40, lanes=32, words=1000)


def with_filter(data: bytes) -> bytes:
    header, tiles = bitstream.read(data)
    model = load()
    coefficients = np.zeros((3, picture_filter.FEATURES), np.int16)
    coefficients[0, :2] = 3, -5
    body = bytes([8]) + bitstream.encode_values(
        model.tables, coefficients, model.integers[picture_filter.SCALE].numpy().astype(np.uint8)
    )
    return bitstream.write(replace(header, chunks={picture_filter.FILTER: body}), tiles)


def test_a_stream_of_files_gives_their_pictures(
    decoder: realtime.RealtimeDecoder, small: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entropy, "LANE_SYMBOLS", 100)
    files = [lapic.encode(small, quality, effort=0, tile=0, lanes=True) for quality in (5,)]
    grey = small.convert("L")
    files += [with_filter(files[0]), *(lapic.encode(image, 10, effort=0) for image in (grey, grey.convert("RGB")))]
    shown = list(decoder.stream(files))
    for data, picture in zip(files, shown, strict=True):
        expected = np.asarray(lapic.decode(data, device="cpu")).reshape(40, 50, -1)
        assert picture.dtype == torch.uint8
        assert not picture.is_inference()  # or it could not be changed in place
        assert picture.shape == expected.shape
        assert np.abs(picture.cpu().numpy().astype(int) - expected).max() <= (0 if DEVICE == "cpu" else 4)
    assert not torch.equal(shown[0], shown[1])


def test_a_stream_gives_all_pictures_before_a_file_that_is_no_good(
    decoder: realtime.RealtimeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(data: bytes) -> realtime.Launched:
        if data != b"good":
            raise Error("not a lapic file")
        return realtime.Launched(torch.zeros(40, 50, 3), torch.tensor(True), None)

    def files() -> Iterator[bytes]:
        yield b"good"
        raise OSError("the camera is gone")

    monkeypatch.setattr(decoder, "_launch", launch)
    for stream, error in (([b"good", b"bad", b"good"], Error), (files(), OSError)):
        pictures = decoder.stream(stream)
        assert next(pictures).shape == (40, 50, 3)
        with pytest.raises(error):
            next(pictures)
    assert len(list(decoder.stream([b"good"] * 3))) == 3
    assert not list(decoder.stream([]))


def test_what_it_is_not_for_is_refused(decoder: realtime.RealtimeDecoder, small: Image.Image) -> None:
    good = lapic.encode(small, 5, effort=0)
    header, [tile] = bitstream.read(good)
    wrong = tile.payload[:-5] + bytes([tile.payload[-5] ^ 1]) + tile.payload[-4:]
    damaged, lied = (
        bitstream.write(header, [bitstream.Tile(*parts)]) for parts in ((wrong, tile.crc), (tile.payload, 1))
    )
    parts = bitstream.read_payload(tile.payload)
    escaped = bitstream.write_payload(parts.first, b"\0" * 1025, [lane.astype("<u4").tobytes() for lane in parts.lanes])
    lanes_of = bitstream.write_payload(parts.first, b"", [b"\1\0\0\0"] * 33)
    refused = {
        "checksum": damaged,
        "50 x 40": lapic.encode(small.crop((0, 0, 40, 40)), 5, effort=0),
        "this decoder is for eye,": lapic.encode(small, 70, effort=0),
        "one tile": bitstream.write(replace(header, tile=64, width=100), [tile, tile]),
        "1024 escapes": bitstream.write(header, [bitstream.Tile(escaped, tile.crc)]),
        "more than 32 lanes": bitstream.write(header, [bitstream.Tile(lanes_of, tile.crc)]),
    }
    for reason, data in refused.items():
        with pytest.raises(Error, match=reason):
            decoder(data)
    with pytest.raises(Error, match="checksum"):
        decoder(lied)


@pytest.mark.parametrize("noisy", [False, True])
def test_it_makes_the_file_of_the_encoder(small: Image.Image, monkeypatch: pytest.MonkeyPatch, noisy: bool) -> None:
    for module in (entropy, entropy_encode):
        monkeypatch.setattr(module, "LANE_SYMBOLS", 60)
    dots = np.random.default_rng(0).integers(0, 2, (20, 30, 1), np.uint8).repeat(3, axis=2) * 255
    dots[0, 0] = 255, 0, 0  # else `lapic.encode` would code it as grey
    image, quality = (Image.fromarray(dots), 100) if noisy else (small, 20)
    model = load_for("auto", quality, DEVICE, "psnr")  # which escapes at quality 100
    encode = realtime.RealtimeEncoder(model, *image.size, quality, lanes=64, capacity=500)
    found = encode(torch.from_numpy(np.array(image)).to(DEVICE))
    expected = lapic.encode(image, quality, effort=0, tile=0, lanes=True, device=DEVICE, tune="psnr")
    assert found == expected
    [tile] = bitstream.read(found)[1]
    assert bool(bitstream.read_payload(tile.payload).escapes) == noisy


def test_tensors_that_are_no_such_pictures_are_refused() -> None:
    encode = realtime.RealtimeEncoder(load(device=DEVICE), 50, 40, 20)
    for wrong in (torch.zeros(40, 50, 3), torch.zeros(40, 50, 3, dtype=torch.int16), np.zeros((40, 50, 3), np.uint8)):
        with pytest.raises(TypeError, match=r"^a picture is a tensor of torch.uint8, not (torch\.\w+|ndarray)$"):
            encode(wrong)
    for shape in ((50, 3), (), (40, 50, 1), (3, 40, 50), (1, 40, 50, 3), (50, 40, 3)):
        with pytest.raises(ValueError, match=r"^this encoder is for pictures \(40, 50, 3\), not \(.*\)$"):
            encode(torch.zeros(shape, dtype=torch.uint8, device=DEVICE))


def test_arguments_out_of_range_are_refused() -> None:
    model = load("eye", DEVICE)
    make, encoder = realtime.RealtimeDecoder, partial(realtime.RealtimeEncoder, model, 50, 40, 20)
    for attempt, reason in (
        (lambda: make(model, 0, 40), "a picture of 0 x 40 does not fit the format"),
        (lambda: make(model, 8192, 8192), "a tile of 8192 x 8192 has more than 65536 places of 16 x 16 pixels"),
        (lambda: make(model, 50, 40, lanes=-1), "lanes -1 is outside 0 to 65536"),
        (lambda: make(model, 50, 40, words=-1), "words -1 is outside 0 to 2147483647"),
        (lambda: encoder(lanes=0), "lanes 0 is outside 1 to 65536"),
        (lambda: encoder(capacity=0), "capacity 0 is outside 1 to 1048575"),
        (lambda: encoder(lanes=65536, capacity=32768), "capacity 32768 is outside 1 to 32767"),
    ):
        with pytest.raises(ValueError, match=f"^{reason}$"):
            attempt()
    with pytest.raises(Error, match=r"^the model eye is for qualities 1 to 60: quality 90 needs another$"):
        realtime.RealtimeEncoder(model, 50, 40, 90)


def test_all_is_launched_on_the_device_of_the_model(
    decoder: realtime.RealtimeDecoder, small: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton launches on the current GPU, which need not be the model's."""
    entered: list[torch.device] = []

    @contextmanager
    def on_device(device: torch.device) -> Iterator[None]:
        entered.append(device)
        yield
        entered.clear()

    def work(*_: object) -> tuple[object, ...]:
        assert entered == [model.device]
        return made

    model, encode = decoder.model, realtime.RealtimeEncoder(decoder.model, 50, 40, 20)
    for module in (realtime, entropy_decode):
        monkeypatch.setattr(module, "on_device", on_device)
    monkeypatch.setattr(decoder, "decode_packed", work)
    monkeypatch.setattr(encode, "encode_pixels", work)
    monkeypatch.setattr(entropy_decode, "decode_packed", work)
    monkeypatch.setattr(realtime, "payload_of", lambda _: b"")
    monkeypatch.setattr(realtime, "capture_graph", lambda work, _: work)
    monkeypatch.setattr(decoder, "graphs", {})
    data = lapic.encode(small, 5, effort=0)
    header, [tile] = bitstream.read(data)
    made = torch.zeros(40, 50, 3, dtype=torch.uint8), torch.tensor(True)
    assert torch.equal(decoder(data).cpu(), made[0])
    made = None, SimpleNamespace(crc=0)
    encode(torch.zeros(40, 50, 3, dtype=torch.uint8))
    made = 1, 2, True
    payload = bitstream.read_payload(tile.payload)
    assert entropy_decode.decode_symbols(model, header, tile, Rect(0, 0, 3, 4), payload) == (1, 2)


def test_a_cpu_without_the_interpreter_is_refused() -> None:
    code = """
import lapic
from lapic.codec.model.codec_weights import load
from lapic.codec.realtime import RealtimeDecoder, RealtimeEncoder
for make in (RealtimeDecoder, RealtimeEncoder):
    try:
        make(load(device="cpu"), 50, 40, 20)
    except lapic.Error as error:
        print(error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    lines = found.stdout.splitlines()
    assert len(lines) == 2, found.stderr
    assert all("TRITON_INTERPRET=1" in line for line in lines)


class Nothing:
    """A kernel that does nothing, however it is launched."""

    def __getitem__(self, grid: tuple[int, ...]) -> "Nothing":
        return self

    def __call__(self, *inputs: object, **settings: object) -> None:
        pass


@pytest.mark.parametrize("name", ["photo", "fast"])
def test_it_runs_without_host_synchronisation(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Tensors without contents, whose numbers nobody can ask for, go all the way."""
    meta, model = torch.device("meta"), load(name, dtype=torch.float16)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which does not know such a device
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(latents, "arithmetic_on", lambda _: kernels.DEVICE)
    for module in (crc, entropy_decode, entropy_encode, kernels, pyramid, synthesis):
        for kernel, value in vars(module).items():
            if isinstance(value, triton.runtime.KernelInterface):
                monkeypatch.setattr(module, kernel, Nothing())
    moved = {part: getattr(model, part).to(meta) for part in ("centroid", "threshold")}
    moved["integers"] = {part: tensor.to(meta) for part, tensor in model.integers.items()}
    empty = replace(model, **moved, device=meta, transforms=copy.deepcopy(model.transforms).to(meta))
    with torch.inference_mode():
        decoder = realtime.RealtimeDecoder(empty, 700, 600)
        assert (decoder.fused is not None) == (name == "photo")
        (picture, whole), (other, _) = (decoder.decode_packed(filtered, channels=3) for filtered in (True, False))
        rounded, pushed = realtime.RealtimeEncoder(empty, 700, 600, quality=30).encode_pixels()
    assert picture.shape == other.shape == (600, 700, 3)
    assert whole.device == rounded.z.device == pushed.places.device == meta
    with pytest.raises(RuntimeError, match="meta"):
        bool(whole)
