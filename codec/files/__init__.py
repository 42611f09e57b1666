"""Files, pipes and addresses such as s3://bucket/photo.png: whole inputs in, whole outputs out."""

import errno
import glob
import hashlib
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from lapic.bitstream import Error
from lapic.codec import streams
from lapic.codec.files import remote
from lapic.codec.files.listing import Listing, ignores_case, list_local
from lapic.codec.files.remote import all_files, is_address, local_name
from lapic.codec.files.remote import join as address_in

__all__ = [
    "HEIC_SUFFIXES",
    "Listing",
    "address_in",
    "all_files",
    "are_of_different_formats",
    "check_absent",
    "existing",
    "exists",
    "files_in",
    "foreign_suffixes",
    "ignores_case",
    "inside",
    "is_address",
    "is_folder",
    "is_own",
    "is_pattern",
    "list_folder",
    "local_name",
    "make_parent",
    "matches",
    "path_in",
    "picture_suffixes",
    "read_input",
    "replacing",
    "target_of",
    "write_output",
]
HEIC_SUFFIXES = {".heic", ".heics", ".heif", ".heifs", ".hif"}
KNOWN_SUFFIXES = {".avif", ".avifs", ".jxl", ".webp"} | HEIC_SUFFIXES  # of formats that Pillow may lack


def read_input(name: str) -> bytes:
    """All bytes of a file or an address, or of standard input for "-". Raises `Error` with the reason if that fails."""
    if is_address(name):
        return remote.read(name)
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        shown = "standard input" if name == "-" else name
        raise Error(f"cannot read {shown}: {error.strerror}") from None


def digest_of(path: Path) -> str:
    """The SHA-256 of a local file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_absent(name: str, force: bool) -> None:
    """Raise `Error` if no file of this name can be written, or if one exists and must not be replaced. Called before
    the work, so that none is wasted."""
    if name in streams.STANDARD_OUTPUT:
        return
    if is_address(name):
        if not force and remote.exists(name):
            raise Error(f"{name} exists: --force replaces it")
        return
    try:
        if stat.S_ISREG(os.stat(name).st_mode) and not force:
            raise Error(f"{name} exists: --force replaces it")
        if os.path.isdir(name):
            raise Error(f"cannot write {name}: {os.strerror(errno.EISDIR)}")
    except FileNotFoundError:
        folder = os.path.dirname(os.path.realpath(name))
        if not os.path.isdir(folder):
            raise Error(f"cannot write {name}: {os.strerror(errno.ENOENT)}") from None
    except OSError as error:
        raise Error(f"cannot write {name}: {error.strerror}") from None


def write_output(name: str, data: bytes, force: bool = True) -> None:
    """Write a file whole or not at all (as a temporary file, synced, then renamed), an address likewise, or to standard
    output for "-".

    A link is followed: the file that it points to is written. Devices and pipes are written to directly.

    Args:
        force: whether an existing file may be replaced.

    Raises `Error` with the reason if that fails; then no new file exists and an older one is unchanged.
    """
    if name in streams.STANDARD_OUTPUT:
        streams.write(data)
        return
    if is_address(name):
        remote.write(name, data, force)
        return
    path = Path(name)
    if os.path.isfile(path) or not os.path.exists(path):
        with replacing(path, force) as beside, beside.open("xb") as file:
            file.write(data)
        return
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Error(f"cannot write {name}: {error.strerror}") from None


@contextmanager
def replacing(name: str | Path, force: bool, suffix: str = ".part") -> Iterator[Path]:
    """A temporary path beside a file, with this suffix. When the block ends the temporary file gets the file's name,
    or, if that is a link, the name of the file that the link points to. For an address the temporary file is in the
    system's folder for such files, and its contents are written to the address.

    Raises `Error` as `write_output` does; if the block fails, the temporary file is removed.
    """
    if is_address(str(name)):
        with tempfile.TemporaryDirectory(prefix="lapic-") as folder:
            beside = Path(folder) / f"output{suffix}"
            yield beside
            remote.upload(str(name), beside, force)
        return
    given, path = name, Path(os.path.realpath(name))
    if os.path.lexists(path) and not path.is_file():
        raise Error(f"cannot write {given}: it is no regular file")
    beside = path.parent / f".lapic-{secrets.token_hex(8)}{suffix}"
    try:
        try:  # entered before the file exists, so that a signal at any point removes it
            yield beside
            beside.chmod(0o600)  # the umask may have left no permission to open it
            _sync(beside)
            beside.chmod(_mode(path))
            if force:
                os.replace(beside, path)
            else:
                _rename_to_new(beside, path)
        finally:
            _remove(beside)
        if os.name == "posix":
            with suppress(OSError):  # a folder that cannot be read, or a file system that flushes no folders
                _sync(path.parent)
    except FileExistsError:
        raise Error(f"{given} exists: --force replaces it") from None
    except OSError as error:
        raise Error(f"cannot write {given}: {error.strerror}") from None


def _rename_to_new(beside: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError where a file of that name is, in one step if the system can."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(beside, path)


def _remove(path: Path) -> None:
    """Remove a file if it is there."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:  # Windows removes none that is read-only, as one that was to replace such a file
        path.chmod(0o600)
        path.unlink()


def _sync(path: Path) -> None:
    """Flush a file's contents, or a folder's names, to disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode(path: Path) -> int:
    """Permissions for a new file as the umask gives them, or those of the file that is replaced."""
    if path.exists():
        return path.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def picture_suffixes() -> set[str]:
    """File name suffixes, in lower case, of all picture formats that Pillow reads, and of HEIC."""
    from PIL import Image

    return {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN} | HEIC_SUFFIXES


def foreign_suffixes() -> set[str]:
    """File name suffixes, in lower case, that mean a picture of another format than lapic's."""
    from PIL import Image

    return (set(Image.registered_extensions()) | KNOWN_SUFFIXES) - {".lapic"}


def are_of_different_formats(a: str, b: str) -> bool:
    """Whether two file name suffixes are those of picture formats that Pillow knows, or of HEIC, and of different
    ones."""
    from PIL import Image

    known = Image.registered_extensions() | dict.fromkeys(HEIC_SUFFIXES, "HEIF")
    formats = [known.get(suffix.lower()) for suffix in (a, b)]
    return None not in formats and formats[0] != formats[1]


def is_folder(name: str) -> bool:
    """Whether a name or an address is that of a folder; "-" is not. Raises `Error` if an address cannot be asked."""
    return remote.is_folder(name) if is_address(name) else name != "-" and os.path.isdir(name)


def matches(name: str) -> list[str]:
    """The names that a pattern matches, sorted; a name without wildcards, or of a file, is given back itself. Raises
    `Error` if an address cannot be asked."""
    if is_address(name):
        return remote.matches(name)
    if glob.has_magic(name) and not os.path.exists(name):
        return sorted(glob.glob(name, recursive=True))
    return [name]


def is_pattern(name: str) -> bool:
    """Whether a name has wildcards and is no file itself."""
    return matches(name) != [name]


def list_folder(folder: str | Path, suffixes: set[str], recursive: bool = False) -> Listing:
    """The files in a folder (and in the folders below it) with one of these suffixes, sorted.

    Hidden files and folders are left out, as are pipes, devices and broken links; links to folders are not followed.
    """
    if is_address(str(folder)):
        return remote.list_folder(str(folder), suffixes, recursive)
    return list_local(Path(folder), suffixes, recursive)


def files_in(path: Path, suffixes: set[str], recursive: bool = False) -> Iterator[Path]:
    """A file itself, or the files that `list_folder` finds in a folder. Raises `Error` if a folder cannot be read."""
    if not os.path.isdir(path):
        yield path
        return
    listing = list_folder(path, suffixes, recursive)
    for folder, reason in listing.unreadable.items():
        raise Error(f"cannot read {folder}: {reason}")
    yield from map(Path, listing.files)


def inside(name: str, folder: str | None) -> str:
    """The part of a file's name below a folder; without a folder, the last part of its name."""
    if is_address(name):
        return remote.inside(name, folder)
    return str(Path(name).relative_to(folder)) if folder is not None else Path(name).name


def target_of(folder: str, name: str, suffix: str) -> str:
    """The name in a folder of what is made of the file `name`, with another suffix. Raises `Error` if it is empty, as
    for the address of a web server without a path, or as `path_in` does."""
    if not Path(name).name:
        raise Error("it has no name by which its output could be called")
    if is_address(folder):
        return remote.join(folder, str(PurePosixPath(*Path(name).parts).with_suffix(suffix)))
    return str(path_in(folder, name).with_suffix(suffix))


def path_in(folder: str | Path, name: str) -> Path:
    """The path of a file in a local folder. Raises `Error` if the name leads out of the folder: to Windows "\\" and ":"
    in the name of an object are parts of a path."""
    inside = Path(name)
    if inside.anchor or ".." in inside.parts:
        raise Error(f"{name} is no name for a file in {folder}")
    return Path(folder) / inside


def existing(names: Iterable[str]) -> set[str]:
    """Those of the names under which something exists; addresses cost a listing of what is below their common folder.
    Raises `Error` if an address cannot be asked."""
    named = set(names)
    addresses = {name for name in named if is_address(name)}
    return {name for name in named - addresses if os.path.exists(name)} | remote.existing(addresses)


def exists(name: str) -> bool:
    """Whether something exists under a name, but "-"; an address costs one question, no listing. Raises `Error` if it
    cannot be asked."""
    return remote.exists(name) if is_address(name) else name != "-" and os.path.exists(name)


def make_parent(name: str) -> None:
    """Make the folder of a file if there is none; that of an address is made with the file. Raises `Error`."""
    if is_address(name):
        return
    parent = Path(name).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"cannot make {parent}: {error.strerror}") from None


def is_own(name: str) -> bool:
    """Whether other processes cannot open a name: "-", a pipe or device, or an address in this process' memory."""
    if is_address(name):
        return not remote.is_shared(name)
    return name == "-" or (os.path.exists(name) and not os.path.isfile(name))
