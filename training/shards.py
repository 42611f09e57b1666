"""Pictures in shards: tar files of the form that WebDataset reads, which large collections come in."""

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.failures import about
from lapic.codec.picture.pillow import from_pil, open_image
from lapic.codec.picture.planes import in_colour


def list_shards(folder: Path) -> list[Path]:
    """All tar files below `folder`, sorted."""
    return list_files(folder, {".tar"})


def list_files(folder: Path, suffixes: set[str]) -> list[Path]:
    """All files below `folder` with one of these suffixes, sorted, without hidden ones and those in hidden folders."""
    return [Path(name) for name in files.list_folder(folder, suffixes, recursive=True).files]


def shard_pictures(shards: list[Path], suffixes: set[str], part: tuple[int, int] = (0, 1)) -> Iterator[np.ndarray]:
    """The pictures in shards, each as (H, W, 3) uint8.

    Args:
        suffixes: of the parts of a sample that are pictures; others, such as captions, are left out.
        part: (rank, count) gives every process of a distributed run its own shards, or if they are fewer than
            processes, its own pictures of each.

    Raises:
        ModuleNotFoundError: webdataset is missing.
        Error: a picture or a shard cannot be read.
    """
    import webdataset

    rank, count = part
    by_shard = len(shards) >= count
    mine = shards[rank::count] if by_shard else shards
    names = [str(shard.absolute()) for shard in mine]  # one with a colon could be taken for an address
    samples = webdataset.WebDataset(names, shardshuffle=False, nodesplitter=_all_of_them)
    for number, (name, data) in enumerate(_pictures(_readable(samples), suffixes)):
        if by_shard or number % count == rank:
            with about(name):
                pixels = rgb_of(data)
            yield pixels


def rgb_of(data: bytes) -> np.ndarray:
    """The picture in a file as (H, W, 3) uint8, upright, without alpha. Raises `Error` if it cannot be read."""
    pixels, _ = from_pil(open_image(data))
    return in_colour(pixels)


def _readable(samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Samples. Raises `Error` if a shard is damaged."""
    try:
        yield from samples
    except (tarfile.TarError, EOFError) as error:
        raise Error(f"a shard is damaged: {error}") from None


def _all_of_them(shards: Any) -> Any:
    """Shards as they are: they are split among processes already."""
    return shards


def _pictures(samples: Iterable[dict[str, Any]], suffixes: set[str]) -> Iterator[tuple[str, bytes]]:
    """The pictures of samples, whose parts are named by what follows the first dot of their files' names; each with its
    shard and name."""
    for sample in samples:
        for name, data in sample.items():
            if f".{name.rpartition('.')[2].lower()}" in suffixes:
                yield f"{sample['__url__']}: {sample['__key__']}.{name}", data
