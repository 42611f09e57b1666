"""Which pictures an evaluation is to measure, and which of them cannot be read."""

import os
from collections.abc import Callable
from pathlib import Path

from lapic.bitstream import Error
from lapic.codec import files


def find(given: tuple[Path, ...], say: Callable[[str], None]) -> tuple[dict[str, Path], dict[str, str]]:
    """The pictures in files and folders by unique names, each file once however often it is named, and why folders
    cannot be read, by their names.

    Args:
        say: hears how many files of a folder are left out.

    Raises:
        Error: there are no pictures.
    """
    found = files.Listing()
    for path in given:
        found.add(files.list_folder(path, files.picture_suffixes()) if path.is_dir() else files.Listing([str(path)]))
    if remark := found.summary():
        say(remark)
    if not found.files and not found.unreadable:
        raise Error("there are no pictures to measure")
    pictures: dict[str, Path] = {}
    once: dict[str, str] = {}
    for file in found.files:
        once.setdefault(os.path.realpath(file), file)
    for path in map(Path, once.values()):
        name, number = path.stem, 2
        while name in pictures:
            name, number = f"{path.stem}-{number}", number + 1
        pictures[name] = path
    return pictures, {str(folder): f"cannot read {folder}: {reason}" for folder, reason in found.unreadable.items()}


def digests(pictures: dict[str, Path], unreadable: dict[str, str]) -> dict[str, str]:
    """SHA-256 of each picture's file; a picture that cannot be read is moved from `pictures` to `unreadable`."""
    made = {}
    for name, path in list(pictures.items()):
        try:
            if not path.is_file():  # a pipe can be read once only
                raise Error(f"cannot read {path}: it is no regular file")
            made[name] = files.digest_of(path)
        except (OSError, Error) as error:
            unreadable[str(pictures.pop(name))] = (
                str(error) if isinstance(error, Error) else f"cannot read {path}: {error.strerror}"
            )
    return made
