"""Real time on a GPU: from the bytes of a file in the host's memory to a picture in the GPU's, and back.

A decode or encode launches some hundreds of kernels without host synchronisation, so it is captured once for a size as
a CUDA graph and replayed for each file. On a CPU, to try it out, Triton's interpreter runs the kernels each time: it
needs the environment variable TRITON_INTERPRET=1 before Triton is first imported.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from triton.runtime import JITFunction

from lapic import bitstream
from lapic.bitstream import MISMATCH, Error, Header, Payload, PixelFormat
from lapic.bitstream.container import QUALITY_MAP
from lapic.bitstream.entropy import LANES_MAX
from lapic.codec import arguments
from lapic.codec.decode import picture_filter
from lapic.codec.decode.decoder import View, synthesise
from lapic.codec.decode.picture_filter import FEATURES, of_coefficients
from lapic.codec.encode.draft import Rounded
from lapic.codec.encode.encoder import code_tile, round_latents
from lapic.codec.gpu.entropy_decode import decode_packed, lane_range
from lapic.codec.gpu.entropy_encode import Pushed, payload_of, push
from lapic.codec.gpu.graph import capture_graph, on_device
from lapic.codec.gpu.packed import PackedTile, pack
from lapic.codec.gpu.synthesis import FusedSynthesis, fusible
from lapic.codec.host import isolated
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.latents import shown_latents
from lapic.codec.nets import levels
from lapic.codec.picture.tensors import to_picture, to_pixels
from lapic.codec.picture.tiling import LATENT, latent_bounds

COUNT_MAX = 2**31 - 1  # words that a kernel can count


@dataclass(frozen=True)
class Launched:
    """A decode that may still go on.

    Attributes:
        picture: (H, W, 3 or 1) uint8, on the device.
        whole: on the host, whether the symbols are those of the encoder.
        done: the event after which both are there, None on a CPU.
    """

    picture: Tensor
    whole: Tensor
    done: torch.cuda.Event | None

    def checked(self) -> Tensor:
        """The picture, once it is there. Raises `Error` if its symbols are not those of the encoder."""
        if self.done:
            self.done.synchronize()
        if not self.whole:
            raise Error(MISMATCH)
        return self.picture


def _check_device(model: Model) -> None:
    """Raise `Error` if no kernel can run where a model is: on a CPU without Triton's interpreter."""
    if model.device.type == "cpu" and isinstance(lane_range, JITFunction):
        raise Error("coding in real time needs a GPU: to try it on a CPU, start Python with TRITON_INTERPRET=1")


class RealtimeDecoder:
    """Decodes files of one size, made by one model, to uint8 tensors on its device.

    Files must have one tile and lanes (`lapic.encode(..., tile=0, lanes=True)`) and no more than 1024 escapes, which
    only pictures far from photos have. Alpha and metadata are left to `lapic.decode`.

    Args:
        lanes, words: what files have at most; the words are of 32 bits. Without figures enough for 1.5 bits a pixel.

    Raises:
        ValueError: no file of one tile has that size, or lanes or words are out of range.
        TypeError: lanes or words are no numbers.
        Error: the model is on a CPU, and Triton's interpreter is not on.
    """

    @isolated
    def __init__(self, model: Model, width: int, height: int, lanes: int = 0, words: int = 0) -> None:
        _check_device(model)
        Header(width, height, PixelFormat.RGB, 1, model.identity, 0, {}).check()
        self.model, self.width, self.height = model, width, height
        self.words = arguments.whole("words", words, 0, COUNT_MAX) or 3 * width * height // 64 + 64
        lanes = arguments.whole("lanes", lanes, 0, LANES_MAX)
        self.lanes = lanes or self.words // 256 + 1  # they are half as long again
        numbers = partial(torch.zeros, PackedTile.size(self.lanes, self.words), dtype=torch.int32)
        pinned = {"device": "cpu", "pin_memory": model.device.type == "cuda"}
        # two, so that the next file can be packed while the last one is still being copied
        self.host = [PackedTile.over(numbers(**pinned), self.lanes) for _ in range(2)]
        self.packed = PackedTile.over(numbers(device=model.device), self.lanes)
        self.filter = of_coefficients(np.zeros((3, FEATURES), np.int16), 0, model.device)  # files' own are copied here
        self.graphs: dict[tuple[bool, int], Callable[[], tuple[Tensor, Tensor]]] = {}
        half = model.dtype == torch.float16 and fusible(model.config)
        self.fused = FusedSynthesis(model.transforms.synthesis) if half else None

    def __call__(self, data: bytes) -> Tensor:
        """The picture of a file, (H, W, 3), or (H, W, 1) for a grey one that came as grey; uint8.

        Raises:
            Error: the file is damaged, or not one of those that this decoder is for.
        """
        return self._launch(data).checked()

    def stream(self, files: Iterable[bytes]) -> Iterator[Tensor]:
        """The pictures of files one after another, each as by a call; one is read while the one before is computed."""
        launches, before = map(self._launch, files), None
        while True:
            try:
                launched = next(launches, None)
            except Exception:
                if before:  # is no worse for it
                    yield before.checked()
                raise
            if before:
                yield before.checked()
            if not launched:
                return
            before = launched

    @isolated
    @torch.inference_mode()
    def _launch(self, data: bytes) -> Launched:
        """Have a file decoded, without waiting for it."""
        header, tiles = bitstream.read(data)
        payload = self._payload(header, tiles)
        self.host.reverse()
        with on_device(self.model.device):
            self.packed.copy_(pack(payload, header.quality, tiles[0].crc, self.host[0]))
            own = picture_filter.read(self.model, header.chunks)
            if own:
                for place, part in zip(vars(self.filter).values(), vars(own).values(), strict=True):
                    place.copy_(part)
            kind = (own is not None, 3 if header.pixel_format == PixelFormat.RGB else 1)
            if kind not in self.graphs:
                self.graphs[kind] = capture_graph(lambda: self.decode_packed(*kind), self.model.device)
            picture, whole = self.graphs[kind]()
            with torch.inference_mode(False):  # so that the picture can be changed in place
                picture = picture.expand(-1, -1, header.channels).clone(memory_format=torch.contiguous_format)
            if self.model.device.type != "cuda":
                return Launched(picture, whole, None)
            on_host = torch.empty(whole.shape, dtype=torch.bool, pin_memory=True).copy_(whole, non_blocking=True)
            launched = Launched(picture, on_host, torch.cuda.Event())
            launched.done.record()
            return launched

    def _payload(self, header: Header, tiles: list[bitstream.Tile]) -> Payload:
        """What is to be decoded. Raises `Error` if this decoder is not for the file."""
        if len(tiles) > 1:
            raise Error("only a file of one tile is decoded in real time: encode with tile=0 and lanes=True")
        if (header.width, header.height) != (self.width, self.height):
            raise Error(f"this decoder is for {self.width} x {self.height} pixels by the model {self.model.name}")
        if header.model != self.model.identity:
            ids = header.model.hex(), self.model.identity.hex()
            raise Error(f"the file needs the model {ids[0]}, this decoder is for {self.model.name}, {ids[1]}")
        if QUALITY_MAP in header.chunks:
            raise Error("the file has regions of other quality (QMAP), which are not decoded in real time: decode it")
        payload = bitstream.read_payload(tiles[0].payload)
        if len(payload.lanes) > self.lanes or sum(map(len, payload.lanes)) > self.words:
            raise Error(f"the file has more than {self.lanes} lanes or {self.words} words")
        return payload

    def decode_packed(self, filtered: bool, channels: int) -> tuple[Tensor, Tensor]:
        """Decode what lies in `packed`, and in `filter` if `filtered`, without host synchronisation. This is what the
        graphs replay.

        Returns:
            the picture (H, W, channels) uint8, 3 or 1 channels; a truth value on the device, whether its symbols are
            those of the encoder.
        """
        bounds = latent_bounds(self.width, self.height)
        _, coded, whole = decode_packed(self.model, self.packed, (bounds.height, bounds.width))
        quality = self.packed.quality.long()
        latent = shown_latents(self.model, coded) / self.model.transforms.gain(quality)
        latent = latent.contiguous(memory_format=torch.channels_last)
        size = self.height, self.width
        if self.fused and not filtered:
            return self.fused(latent, quality, channels, size), whole
        if self.fused:
            picture = self.filter(self.fused(latent, quality, 0, size))
        else:
            picture = synthesise(self.model, latent, quality, quality, View(), self.filter if filtered else None, None)
        return to_pixels(picture[0, :, : self.height, : self.width], channels).contiguous(), whole


class RealtimeEncoder:
    """Encodes pictures of one size and quality, uint8 tensors on a model's device, as `lapic.encode` does with
    `effort=0, tile=0, lanes=True`, to the same bytes. A picture with more than 1024 escapes is coded by the host. One
    whose three channels are equal is coded as RGB, where `lapic.encode` codes grey: finding out takes host
    synchronisation.

    Args:
        lanes: how many a file may have, one for each 2,900 latents that are not 0. Where `lapic.encode` makes more of
            them, these are longer, and the bytes differ.
        capacity: how many words of 32 bits a lane may have. With more the host codes the picture.

    Raises:
        ValueError: the quality, lanes or capacity is out of range, or no file of one tile has that size.
        TypeError: lanes or capacity is no number.
        Error: the model was not trained for the quality; or it is on a CPU, and Triton's interpreter is not on.
    """

    @isolated
    def __init__(
        self, model: Model, width: int, height: int, quality: float, lanes: int = 2048, capacity: int = 4096
    ) -> None:
        _check_device(model)
        self.header = Header(width, height, PixelFormat.RGB, quality, model.identity, 0, {})
        self.header.check()
        model.check_quality(quality)
        self.model, self.lanes = model, arguments.whole("lanes", lanes, 1, LANES_MAX)
        self.capacity = arguments.whole("capacity", capacity, 1, COUNT_MAX // self.lanes)
        self.quality = levels.fixed_point(quality, model.device)
        self.level = levels.nearest_level(self.quality, len(model.tables.hyper))
        self.pixels = torch.zeros(height, width, 3, dtype=torch.uint8, device=model.device)
        self.graph: Callable[[], tuple[Rounded, Pushed]] | None = None

    @isolated
    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> bytes:
        """The file of a picture (H, W, 3) uint8.

        Raises:
            TypeError: it is no tensor, or not one of uint8.
            ValueError: it has another shape.
        """
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
            found = pixels.dtype if isinstance(pixels, Tensor) else type(pixels).__name__
            raise TypeError(f"a picture is a tensor of torch.uint8, not {found}")
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"this encoder is for pictures {tuple(self.pixels.shape)}, not {tuple(pixels.shape)}")
        with on_device(self.model.device):
            self.pixels.copy_(pixels)
            if self.graph is None:
                self.graph = capture_graph(self.encode_pixels, self.model.device)
            rounded, pushed = self.graph()
        payload = payload_of(pushed)
        if payload is None:
            return bitstream.write(self.header, [code_tile(self.model, rounded, int(self.level), lanes=True)])
        return bitstream.write(self.header, [bitstream.Tile(payload, int(pushed.crc) & 0xFFFFFFFF)])

    def encode_pixels(self) -> tuple[Rounded, Pushed]:
        """Encode what lies in `pixels` without host synchronisation. This is what the graph replays."""
        height, width = self.pixels.shape[:2]
        picture = F.pad(to_picture(self.pixels), (0, -width % LATENT, 0, -height % LATENT), mode="replicate")
        latent = self.model.transforms.analysis(picture.contiguous(memory_format=torch.channels_last))
        rounded = round_latents(self.model, latent, self.quality)
        return rounded, push(self.model, rounded.z, rounded.coded, self.level, self.lanes, self.capacity)
