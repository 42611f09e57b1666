"""Trials on the way to a target: drafts and files of one picture, and their distance from it.

The analysis runs once for each model; a trial only quantises and codes. The PSNR of a draft needs no coding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic import bitstream
from lapic.bitstream import Error, Header
from lapic.codec.arguments import Progress, no_progress
from lapic.codec.decode.decoder import decode_pixels
from lapic.codec.encode import emphasis
from lapic.codec.encode.draft import Draft, pieces_at_once
from lapic.codec.encode.encoder import analyse, encode_latents, header_of, round_latents
from lapic.codec.metrics import psnr, psnr_of
from lapic.codec.model.codec_weights import Model
from lapic.codec.model.qualities import part_of, qualities_of
from lapic.codec.picture.tensors import region, to_pixels
from lapic.codec.picture.tiling import Rect, latent_bounds
from lapic.codec.threads import in_threads

DRAFTS = 16  # at most for one aim
FILES = 3  # with full effort, if one of them meets the target
DRAFTS_IN_A_FILE = 8  # progress of a file with full effort, in drafts
BYTES_CLOSE, DECIBEL_CLOSE = 0.005, 0.02  # excess at which the search stops: relative, dB
BYTES_REACH, DECIBEL_REACH = 0.02, 0.1  # largest excess of a result
LOSSLESS = 120.0  # dB, in place of an infinite PSNR; one wrong value in 3 x 2^24 pixels has 124


@dataclass(frozen=True)
class Target:
    """Exactly one of: `size`, bytes that must not be exceeded; `bpp`, bits per pixel of the whole file; `psnr`, dB."""

    size: float | None = None
    bpp: float | None = None
    psnr: float | None = None

    def check(self) -> None:
        """Raise ValueError unless exactly one target is given, and positive."""
        given = [value for value in (self.size, self.bpp, self.psnr) if value is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise ValueError("give one target, and a positive finite number: size, bpp or psnr")

    @property
    def kind(self) -> Literal["size", "bpp", "psnr"]:
        """Which of the three is given."""
        return "size" if self.size is not None else "bpp" if self.bpp is not None else "psnr"

    @property
    def close(self) -> float:
        """The excess at which the search stops."""
        return DECIBEL_CLOSE if self.kind == "psnr" else BYTES_CLOSE

    @property
    def reach(self) -> float:
        """The largest excess of a result."""
        return DECIBEL_REACH if self.kind == "psnr" else BYTES_REACH

    @property
    def aim(self) -> float:
        """The excess that is searched for: 0, or a little less where the target must not be exceeded."""
        return -self.close if self.kind == "size" else 0.0

    def allows(self, excess: float) -> bool:
        """Whether a file with this excess keeps to the target: a size is a limit."""
        return self.kind != "size" or excess <= 0


@dataclass(frozen=True)
class Place:
    """A quality and the model to encode with."""

    model: Callable[[], Model]
    quality: float


@dataclass(frozen=True)
class Trial:
    """A file made with full effort, and its excess over the target (log ratio of bytes, or dB)."""

    place: Place
    excess: float
    data: bytes


@dataclass
class Trials:
    """The encodings of one picture: drafts and files by their places."""

    pixels: NDArray[np.uint8]
    target: Target
    tile: int
    chunks: dict[bytes, bytes] | None
    effort: int
    lanes: bool
    tune: str
    progress: Progress
    weights: emphasis.Weights | None = None  # what errors count at each place; all alike without
    drafts: dict[Place, float] = field(default_factory=dict)  # the excess of each
    files: dict[Place, Trial] = field(default_factory=dict)
    sizes: dict[Place, int] = field(default_factory=dict)  # bytes of drafts, where `size_of` was asked
    latents: dict[bytes, list[tuple[Rect, Tensor]]] = field(default_factory=dict)  # by the models' ids
    steps: int = 0  # of progress that are done

    def draft(self, place: Place) -> float:
        """The excess of the picture encoded with effort 0."""
        if place not in self.drafts:
            if self.target.kind == "psnr":
                self.drafts[place] = self._decibels(self._draft_psnr(place))
            else:
                data = self._encode(place, 0)
                self.drafts[place] = self._bytes(data)
                if not self.effort:
                    self.files[place] = Trial(place, self.drafts[place], data)
            self._step_to(min(self.steps + 1, DRAFTS - 1))
        return self.drafts[place]

    def size_of(self, place: Place) -> int:
        """The bytes of the picture encoded with effort 0."""
        if place not in self.sizes:
            self.sizes[place] = len(self._encode(place, 0))
        return self.sizes[place]

    def file(self, place: Place) -> Trial:
        """The picture encoded with full effort."""
        if place not in self.files:
            data = self._encode(place, self.effort, partial(self._within_file, max(self.steps, DRAFTS)))
            if self.target.kind != "psnr":
                excess = self._bytes(data)
            elif not self.effort:
                excess = self.draft(place)
            else:
                excess = self._decibels(self._psnr_of(place.model(), data))
            self.files[place] = Trial(place, excess, data)
        return self.files[place]

    def expected(self, place: Place) -> float:
        """The excess that a file would have: that of its draft, plus the difference of the two in files near that
        quality."""
        files = [trial for trial in self.files.values() if trial.place.model is place.model] or [*self.files.values()]
        files.sort(key=lambda trial: trial.place.quality)
        changes = [trial.excess - self.draft(trial.place) for trial in files]
        change = np.interp(place.quality, [trial.place.quality for trial in files], changes) if files else 0.0
        return self.draft(place) + float(change)

    def between(self, model: Callable[[], Model], lowest: float, highest: float) -> list[Place]:
        """The places of a model's drafts at these qualities and between them, from the lowest up."""
        places = [place for place in self.drafts if place.model is model and lowest <= place.quality <= highest]
        return sorted(places, key=lambda place: place.quality)

    def best(self) -> Trial | None:
        """The file nearest to the target of those that it allows."""
        allowed = [trial for trial in self.files.values() if self.target.allows(trial.excess)]
        return min(allowed, key=lambda trial: abs(trial.excess), default=None)

    def refusal(self, trial: Trial) -> Error:
        """The error for a target out of reach, with the figure of the nearest file."""
        height, width = self.pixels.shape[:2]
        if self.target.kind == "size":
            gives, wanted = f"{len(trial.data)} bytes", f"{self.target.size:.15g}"
        elif self.target.kind == "bpp":
            gives, wanted = f"{8 * len(trial.data) / (height * width):.3f} bpp", f"{self.target.bpp:g}"
        else:
            gives, wanted = f"{trial.excess + (self.target.psnr or 0):.2f} dB", f"{self.target.psnr:g}"
        side = "more" if trial.excess > 0 else "less"
        found = f"quality {trial.place.quality:g} gives {gives}"
        return Error(f"the target cannot be reached: {found}, {side} than {wanted}")

    def finish(self) -> None:
        """Report that all steps are done."""
        total = self._steps_in_all()
        self.progress(total, total)

    def _bytes(self, data: bytes) -> float:
        """The excess of a file's size."""
        limit = self.target.size or (self.target.bpp or 0) * self.pixels.shape[0] * self.pixels.shape[1] / 8
        return math.log(len(data) / limit)

    def _decibels(self, value: float) -> float:
        """The excess of a PSNR."""
        return min(value, LOSSLESS) - (self.target.psnr or 0)

    def _encode(self, place: Place, effort: int, progress: Progress = no_progress) -> bytes:
        """The bytes of a file."""
        model = place.model()
        header = self._header(place)
        return encode_latents(model, header, self._latents(model), self.pixels, effort, progress, self.lanes, self.tune)

    def _header(self, place: Place) -> Header:
        """The header of a file."""
        model = place.model()
        chunks = (self.chunks or {}) | emphasis.chunk(model, place.quality, self.weights)
        return header_of(model, self.pixels, place.quality, self.tile, chunks)

    def _latents(self, model: Model) -> list[tuple[Rect, Tensor]]:
        """The latents of the picture, analysed once for each model."""
        if model.identity not in self.latents:
            self.latents[model.identity] = list(analyse(model, self.pixels, self.tile))
        return self.latents[model.identity]

    def _psnr_of(self, model: Model, data: bytes) -> float:
        """PSNR in dB of a file's picture. A grey one that came as RGB decodes to three equal channels."""
        decoded = decode_pixels(model, *bitstream.read(data))
        return psnr(self.pixels, decoded[..., 0] if self.pixels.ndim < decoded.ndim else decoded)

    @torch.no_grad()
    def _draft_psnr(self, place: Place) -> float:
        """PSNR in dB of the picture encoded with effort 0. Only the synthesis runs: nothing is entropy-coded."""
        model, channels = place.model(), 3 if self.pixels.ndim == 3 else 1
        quality = qualities_of(self._header(place), model.device)
        bounds = latent_bounds(self.pixels.shape[1], self.pixels.shape[0])
        tiles = {
            rect: round_latents(model, latent, part_of(quality, rect.within(bounds)))
            for rect, latent in self._latents(model)
        }
        draft = Draft(tiles, bounds, partial(region, self.pixels, device=model.device), self.pixels.shape, quality)

        def square_error(piece: Rect) -> int:
            part = draft.region(model, piece)
            latent = part.latent / model.transforms.gain(part.quality)
            decoded = model.transforms.synthesis.picture(latent, part.quality)
            rows, columns = part.inside()
            pixels, original = (
                to_pixels(picture[0, :, rows, columns], channels).int() for picture in (decoded, part.picture)
            )
            return int((pixels - original).square().sum(dtype=torch.int64))

        found = in_threads(square_error, draft.pieces(), pieces_at_once(model.device))
        return psnr_of(sum(found) / self.pixels.size)

    def _steps_in_all(self) -> int:
        return DRAFTS + (FILES * DRAFTS_IN_A_FILE if self.effort else 0)

    def _step_to(self, steps: int) -> None:
        """Report that so many steps are done, unless more are."""
        if steps > self.steps:
            self.steps = steps
            self.progress(steps, self._steps_in_all())

    def _within_file(self, before: int, done: int, total: int) -> None:
        """Report the progress within a file as that of the whole; `finish` reports the last step."""
        if self.effort:
            self._step_to(min(before + DRAFTS_IN_A_FILE * done // total, self._steps_in_all() - 1))
