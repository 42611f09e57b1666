"""Training pictures: decoded once into memory by worker processes, then cropped at random."""

import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapic.codec import files
from lapic.codec.command.failures import about
from lapic.training.shards import list_files, list_shards, rgb_of, shard_pictures

Item = TypeVar("Item")
NOISE_FRACTION = 1 / 32  # of the crops are noise, on which a codec of photos alone spends four times the bits
PATTERN_FRACTION = 1 / 16  # are patterns of few colours, such as stripes, which a codec of photos alone codes badly
PATTERN_COUNT = 512  # patterns in a GPU's memory
MOST_GIB = 8.0  # of pictures in memory
READ_AHEAD = 4  # pictures that each process reads before they are taken
MOST_READERS = 61  # processes that Windows allows in a pool
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm"}


def list_pictures(folder: Path) -> list[Path]:
    """All picture files below `folder` but hidden ones, sorted. Raises FileNotFoundError when there is none."""
    paths = list_files(folder, SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no pictures in {folder}")
    return paths


def read_pair(folders: tuple[Path, Path], path: Path) -> np.ndarray:
    """A picture of the first folder and its partner of the same name (whatever the format) in the second, as one array
    (H, W, 6) uint8. Raises ValueError if there is no partner of the same size."""
    partner = _of_same_name(folders[1] / path.relative_to(folders[0]))
    if partner is None:
        raise ValueError(f"{path} has no partner in {folders[1]}")
    both = read_rgb(path), read_rgb(partner)
    if both[0].shape != both[1].shape:
        raise ValueError(f"{path} and {partner} differ in size")
    return np.concatenate(both, axis=2)


def _of_same_name(path: Path) -> Path | None:
    """The picture at `path`, else the first one beside it whose name differs in its suffix alone."""
    if path.is_file():
        return path
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    return next((one for one in beside if one.stem == path.stem and one.suffix.lower() in SUFFIXES), None)


def read_rgb(path: Path) -> np.ndarray:
    """One picture as (H, W, 3) uint8. Raises `Error` with its name if it cannot be read."""
    with about(str(path)):
        return rgb_of(files.read_input(str(path)))


def held_out(folder: Path | None) -> list[Tensor]:
    """A folder's pictures, (3, H, W) uint8; none without a folder. Raises ValueError: an edge is no multiple of 64."""
    pictures = []
    for path in list_pictures(folder) if folder else []:
        pixels = read_rgb(path)
        height, width = pixels.shape[:2]
        if height % 64 or width % 64:
            raise ValueError(f"{path} is of {width} x {height} pixels: edges of held-out pictures are multiples of 64")
        pictures.append(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    return pictures


def random_windows(
    rng: np.random.Generator, sizes: list[tuple[int, ...]], chance: np.ndarray, edge: int, count: int
) -> Iterator[tuple[int, slice, slice]]:
    """`count` square windows into pictures of these heights and widths: a picture's number, rows and columns.

    They are drawn one at a time, so the caller may draw from `rng` between them. chance: of each picture, see
    `by_area`.
    """
    for number in rng.choice(len(sizes), count, p=chance):
        top, left = (rng.integers(0, length - edge + 1) for length in sizes[number])
        yield number, slice(top, top + edge), slice(left, left + edge)


def by_area(sizes: list[tuple[int, ...]]) -> np.ndarray:
    """Chances of pictures of these heights and widths that let every pixel be drawn equally often."""
    area = np.array(sizes, dtype=np.float64).prod(axis=1)
    return area / area.sum()


def add_noise_crops(crops: np.ndarray, rng: np.random.Generator, fraction: float = NOISE_FRACTION) -> np.ndarray:
    """Crops (B, C, H, W) uint8, a fraction of them faded and with strong noise added, grey or coloured."""
    out = crops.copy()
    for slot in np.flatnonzero(rng.random(len(crops)) < fraction):
        fade, amplitude = rng.random(), 2 ** rng.uniform(2, 8)
        colours = crops.shape[1] if rng.random() < 0.5 else 1
        noise = rng.normal(128 * (1 - fade), amplitude, (colours, *crops.shape[2:]))
        out[slot] = (crops[slot] * fade + noise).round().clip(0, 255)
    return out


def pattern(rng: np.random.Generator, channels: int, edge: int) -> np.ndarray:
    """A pattern (C, edge, edge) uint8 of cells 1 to 4 pixels wide: stripes, checks, dots, or blocks that do not repeat;
    grey or coloured, of any contrast, half of them only of 0 and 255. Half of the cells are one pixel wide, most
    periods two cells, and a fifth of all are checkerboards, because the finest patterns are the hardest."""
    checks = rng.random() < 0.2
    period = (2, 2) if checks else rng.choice((1, 2, 3, 4, edge), 2, p=(0.25, 0.35, 0.1, 0.1, 0.2))
    colours = channels if rng.random() < 0.5 else 1
    tile = rng.random((colours, *period))
    if checks:
        tile[:, 1] = tile[:, 0, ::-1]
    if rng.random() < 1 / 2:
        tile = tile.round()
    else:
        contrast = rng.random()
        tile = tile * contrast + rng.random() * (1 - contrast)
    down, across = rng.choice((1, 2, 3, 4), 2, p=(0.5, 0.2, 0.15, 0.15))
    rows, columns = (np.arange(edge) // cell % length for cell, length in zip((down, across), period, strict=True))
    whole = (tile[:, rows[:, None], columns] * 255).round().astype(np.uint8)
    return np.broadcast_to(whole, (channels, edge, edge))


def add_pattern_crops(crops: np.ndarray, rng: np.random.Generator, fraction: float = PATTERN_FRACTION) -> np.ndarray:
    """Crops (B, C, P, P) uint8, a fraction of them replaced by a `pattern`."""
    out = crops.copy()
    for slot in np.flatnonzero(rng.random(len(crops)) < fraction):
        out[slot] = pattern(rng, *crops.shape[1:3])
    return out


def prefetch(batch: Callable[[int], Item], first: int, threads: int) -> Iterator[Item]:
    """batch(first), batch(first + 1), ... without end, computed by threads ahead of their use."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(batch, number) for number in range(first, first + 2 * threads))
        for number in itertools.count(first + 2 * threads):
            ready = waiting.popleft().result()
            waiting.append(pool.submit(batch, number))
            yield ready


def read_ahead(read: Callable[[Path], Item], paths: Iterable[Path], workers: int) -> Iterator[Item]:
    """What `read` makes of each path, in their order, computed by processes that are a few paths ahead."""
    workers = min(workers, MOST_READERS) if os.name == "nt" else workers
    with ProcessPoolExecutor(workers) as pool:
        futures = (pool.submit(read, path) for path in paths)
        waiting = deque(itertools.islice(futures, READ_AHEAD * workers))
        try:
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(itertools.islice(futures, 1))
                yield ready
        finally:
            pool.shutdown(cancel_futures=True)


def check_patch(patch: int, unit: int) -> None:
    """Raise ValueError unless the edge `patch` of crops is a multiple of `unit`."""
    if patch % unit:
        raise ValueError(f"the patch must be a multiple of {unit} pixels, not {patch}")


class Crops:
    """Random crops from a folder of pictures held in memory (3 bytes a pixel).

    Batch number `step` is a function of the seed and the step alone, so training resumes exactly.

    Args:
        folder: searched recursively; if it holds tar files, these are read as shards, see `lapic.training.shards`.
        patch: edge of the square crops in pixels.
        max_gib: reading ends at the first picture that does not fit into this much memory (they are read in a shuffled
            order).
        part: (rank, count) gives every process of a distributed run its own share of the pictures.
        read: what makes an array (H, W, C) of a file.

    Raises:
        FileNotFoundError: there are no pictures.
        ValueError: there are fewer than processes, or none is as large as a crop.
        Error: a picture cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        patch: int,
        seed: int = 0,
        max_gib: float = MOST_GIB,
        workers: int = 2,
        part: tuple[int, int] = (0, 1),
        read: Callable[[Path], np.ndarray] = read_rgb,
    ) -> None:
        self.patch, self.seed, self.rank = patch, seed, part[0]
        shards = list_shards(folder) if read is read_rgb else []
        paths = [] if shards else list_pictures(folder)
        if not shards and len(paths) < part[1]:
            raise ValueError(f"{folder} has {len(paths)} pictures: {part[1]} processes need as many or more")
        paths = [paths[number] for number in np.random.default_rng(seed).permutation(len(paths))]
        mine = paths[part[0] :: part[1]]
        self.pictures: list[np.ndarray] = []
        space = max_gib * 2**30
        with closing(shard_pictures(shards, SUFFIXES, part) if shards else read_ahead(read, mine, workers)) as pictures:
            for picture in pictures:
                if min(picture.shape[:2]) < patch or picture.nbytes > max_gib * 2**30:
                    continue
                if picture.nbytes > space:
                    break
                self.pictures.append(picture)
                space -= picture.nbytes
        if not self.pictures:
            share = f" of process {part[0] + 1} of {part[1]}" if part[1] > 1 else ""
            raise ValueError(f"no picture{share} in {folder} is as large as {patch} x {patch}")
        self.sizes = [picture.shape[:2] for picture in self.pictures]
        self.megapixels = sum(height * width for height, width in self.sizes) / 1e6
        self.chance = by_area(self.sizes)

    def sample(self) -> np.ndarray:
        """About four megapixels of crops to fit initial weights to, (N, C, patch, patch) uint8."""
        return self.batch(0, max(8, 4_000_000 // self.patch**2))

    def batch(self, step: int, size: int) -> np.ndarray:
        """`size` crops for training step `step`, (size, C, patch, patch) uint8, flipped and transposed at random."""
        rng = np.random.default_rng((self.seed, self.rank, step))
        out = np.empty((size, self.pictures[0].shape[2], self.patch, self.patch), dtype=np.uint8)
        windows = random_windows(rng, self.sizes, self.chance, self.patch, size)
        for slot, (number, rows, columns) in enumerate(windows):
            crop = self.pictures[number][rows, columns]
            flips = rng.integers(0, 2, 3)
            crop = crop[:: 1 - 2 * flips[0], :: 1 - 2 * flips[1]].transpose(2, 0, 1)
            out[slot] = crop.swapaxes(1, 2) if flips[2] else crop
        return out

    def hard_batch(self, step: int, size: int, patterns: float = PATTERN_FRACTION) -> np.ndarray:
        """As `batch`, with strong noise in some crops and patterns in place of a share `patterns` of them."""
        rng = np.random.default_rng((self.seed, self.rank, step, 1))
        return add_pattern_crops(add_noise_crops(self.batch(step, size), rng), rng, patterns)


class DeviceCrops:
    """Random crops of photos (H, W, 3) that lie in a device's memory, one behind the other.

    As `Crops.hard_batch`, but by the device's random numbers and without synchronising with the host.
    """

    def __init__(self, pictures: list[NDArray[np.uint8]], patch: int, device: str) -> None:
        self.patch, self.device = patch, device
        self.flat = torch.from_numpy(np.concatenate([picture.reshape(-1) for picture in pictures])).to(device)
        self.megapixels = len(self.flat) / 3e6
        sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        areas = sizes.prod(1)
        self.begin = (3 * (areas.cumsum(0) - areas)).to(device)
        self.sizes = sizes.to(device)
        self.until = (areas.cumsum(0) / areas.sum()).float().to(device)
        self.steps = torch.arange(patch, device=device)
        rng = np.random.default_rng(0)
        patterns = np.stack([pattern(rng, 3, patch).transpose(1, 2, 0) for _ in range(PATTERN_COUNT)])
        self.patterns = torch.from_numpy(patterns).to(device)

    def __call__(self, size: int) -> Tensor:
        """(size, 3, patch, patch) uint8, channels last."""
        number = torch.searchsorted(self.until, torch.rand(size, device=self.device)).clamp_(max=len(self.sizes) - 1)
        height, width = self.sizes[number].unbind(1)
        top, left = (
            (torch.rand(size, device=self.device) * (edge - self.patch + 1)).long().clamp_(max=edge - self.patch)
            for edge in (height, width)
        )
        flips = torch.rand(3, size, 1, device=self.device) < 0.5
        down, across = (torch.where(flip, self.patch - 1 - self.steps, self.steps) for flip in flips[:2])  # (B, P)
        turned = flips[2][..., None]
        rows = torch.where(turned, across[:, None, :], down[:, :, None]) + top[:, None, None]  # (B, P, P)
        columns = torch.where(turned, down[:, :, None], across[:, None, :]) + left[:, None, None]
        place = self.begin[number][:, None, None] + 3 * (rows * width[:, None, None] + columns)
        crops = self.flat[place[..., None] + torch.arange(3, device=self.device)]  # (B, P, P, 3)
        return self._add_hard_crops(crops).permute(0, 3, 1, 2)

    def _add_hard_crops(self, crops: Tensor) -> Tensor:
        """Add noise to some of the first crops and replace some of the last by patterns, so often that these become
        NOISE_FRACTION and PATTERN_FRACTION of all crops."""
        first, last = (math.ceil(fraction * len(crops)) for fraction in (NOISE_FRACTION, PATTERN_FRACTION))
        chance, fade, level, grey = torch.rand(4, first, 1, 1, 1, device=self.device)
        noise = torch.randn(first, *crops.shape[1:], device=self.device)
        noise = torch.where(grey < 0.5, noise[..., :1], noise)
        noisy = crops[:first] * fade + 128 * (1 - fade) + noise * 2 ** (2 + 6 * level)
        noisy = noisy.round().clamp(0, 255).to(torch.uint8)
        crops[:first] = torch.where(chance * first < NOISE_FRACTION * len(crops), noisy, crops[:first])
        chance = torch.rand(last, 1, 1, 1, device=self.device)
        patterned = self.patterns[torch.randint(PATTERN_COUNT, (last,), device=self.device)]
        crops[-last:] = torch.where(chance * last < PATTERN_FRACTION * len(crops), patterned, crops[-last:])
        return crops
