"""Pictures in shards: tar files of the form that WebDataset reads, which large collections come in."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def list_shards(folder: Path) -> list[Path]:
    """All tar files below `folder`, sorted."""
    return sorted(folder.rglob("*.tar"))


def shard_pictures(shards: list[Path], suffixes: set[str], part: tuple[int, int] = (0, 1)) -> Iterator[np.ndarray]:
    """The pictures in shards, each as (H, W, 3) uint8.

    Args:
        suffixes: of the parts of a sample that are pictures; others, such as captions, are left out.
        part: (rank, count) gives every process of a distributed run its own shards, or if they are fewer than
            processes, its own pictures of each.

    Raises:
        ModuleNotFoundError: webdataset is missing.
        PIL.UnidentifiedImageError: a picture is none.
    """
    import webdataset

    rank, count = part
    by_shard = len(shards) >= count
    mine = shards[rank::count] if by_shard else shards
    samples = webdataset.WebDataset([str(shard) for shard in mine], shardshuffle=False, nodesplitter=_all_of_them)
    for number, data in enumerate(data for sample in samples for data in _pictures(sample, suffixes)):
        if by_shard or number % count == rank:
            with Image.open(io.BytesIO(data)) as image:
                yield np.asarray(image.convert("RGB"))


def _all_of_them(shards: Any) -> Any:
    """Shards as they are: they are split among processes already."""
    return shards


def _pictures(sample: dict[str, Any], suffixes: set[str]) -> Iterator[bytes]:
    """The pictures of a sample, whose parts are named by what follows the first dot of their files' names."""
    return (data for name, data in sample.items() if f".{name.rpartition('.')[2].lower()}" in suffixes)
