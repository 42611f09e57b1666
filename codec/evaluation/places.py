"""Pictures and results of an evaluation that are at addresses: both are copied, for codecs measure local files."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lapic.bitstream import Error
from lapic.codec import files

SOURCES = "sources"  # the folder in that of the results for pictures from addresses


def fetch(places: tuple[str, ...], out: Path, say: Callable[[str], None]) -> tuple[tuple[Path, ...], bool]:
    """The local paths of files and folders; pictures at addresses are copied below `out`, each once.

    Args:
        say: hears one line about each address that cannot be read.

    Returns:
        The paths, and whether all addresses could be read.
    """
    paths, complete, copied = [], True, set[str]()
    for number, place in enumerate(places):
        if not files.is_address(place):
            paths.append(Path(place))
            continue
        folder = out / SOURCES / str(number)
        try:
            sources = [source for source in _pictures(place) if source not in copied]
            paths += _copies(sources, folder)
            copied.update(sources)
        except Error as error:
            say(f"lapic: {error}")
            complete = False
    return tuple(paths), complete


def _pictures(address: str) -> list[str]:
    """The pictures at an address: itself, what a pattern matches, or those in a folder."""
    found: list[str] = []
    for name in files.matches(address):
        if not files.is_folder(name):
            found.append(name)
            continue
        listing = files.list_folder(name, files.picture_suffixes())
        for folder, reason in listing.unreadable.items():
            raise Error(f"cannot read {folder}: {reason}")
        found += listing.files
    if not found:
        raise Error(f"{address} has no pictures")
    return found


def _copies(sources: list[str], folder: Path) -> list[Path]:
    """Copies of pictures in a folder, of those that share a name all but the first in folders of their own below it."""
    copies, seen = [], Counter[str]()
    for source in sources:
        name = files.inside(source, None)
        seen[name] += 1
        path = files.path_in(folder if seen[name] == 1 else folder / str(seen[name]), name)
        files.make_parent(str(path))
        files.write_output(str(path), files.read_input(source))
        copies.append(path)
    return copies


@contextmanager
def results_folder(out: str) -> Iterator[Path]:
    """A local folder with what is at `out`: the folder itself, or a copy of what is at an address, of which new and
    changed files are written there when the block ends, also by an interruption.

    Raises:
        Error: the address cannot be read or written.
    """
    if not files.is_address(out):
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="lapic-") as name:
        folder = Path(name)
        known = {}
        for address in files.all_files(out):
            path = files.path_in(folder, files.inside(address, out))
            files.make_parent(str(path))
            known[path] = files.read_input(address)
            path.write_bytes(known[path])
        try:
            yield folder
        finally:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                inside = path.relative_to(folder)
                if inside.parts[0] != SOURCES and path.read_bytes() != known.get(path):
                    files.write_output(files.address_in(out, inside.as_posix()), path.read_bytes())
