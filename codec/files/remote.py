"""Addresses of files on other machines, such as s3://bucket/photo.png, by fsspec. Credentials come from where fsspec
and the storage's own library look for them: the environment, their configuration files, the machine's role.

fsspec is imported with the first address: names of local files never need it.
"""

import errno
import glob
import os
import posixpath
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lapic.bitstream.error import Error
from lapic.codec.files.listing import Listing, others

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter would be a drive of Windows
DRIVE = re.compile(r"/[A-Za-z]:")
LOCAL = ("file://", "local://")
WEB = ("http://", "https://")  # a page may list any links: only addresses that end with "/" are folders
PASSWORD = re.compile(r"[^:/]+://[^/@]*:[^/@]*@")
EXCLUSIVE = ("s3://", "s3a://", "gs://", "gcs://", "memory://")  # can refuse to replace, in one step
MAX_MESSAGE = 300  # characters of a library's message


def is_address(name: str) -> bool:
    """Whether a name is an address that fsspec opens, rather than a local file's."""
    return ADDRESS.match(name) is not None


def local_name(name: str) -> str:
    """A name as it is, an address with its scheme in lower case, or the path of an address of a local file, such as
    file:///home/photo.png.

    Raises:
        Error: an address holds a password, which manifests and messages would show.
    """
    if not is_address(name):
        return name
    _refuse_password(name)
    scheme, _, rest = name.partition("://")
    name = f"{scheme.lower()}://{rest}"
    path = next((name[len(local) :] for local in LOCAL if name.startswith(local)), name)
    path = path.removeprefix("localhost") if path.startswith("localhost/") else path
    return path[1:] if os.name == "nt" and DRIVE.match(path) else path  # of file:///C:/photo.png


def _refuse_password(address: str) -> None:
    """Raise `Error` if an address holds a password."""
    if PASSWORD.match(address):
        raise Error(f"{address.split('://')[0]}://: a password does not belong in an address: see docs/SCALE.md")


def is_shared(address: str) -> bool:
    """Whether other processes see what is there, too."""
    return not address.startswith("memory://")


def read(address: str) -> bytes:
    """All bytes. Raises `Error` with the reason if that fails."""
    with _errors("read", address):
        filesystem, path = _open(address)
        return filesystem.cat_file(path)


def write(address: str, data: bytes, force: bool) -> None:
    """Write whole or not at all: an object in one request, or in parts that become an object together; on a file system
    that can rename, under another name first. Raises `Error` if that fails, or if something is there and not `force`.
    """
    _put(address, lambda filesystem, path, mode: filesystem.pipe_file(path, data, **mode), force)


def upload(address: str, file: Path, force: bool) -> None:
    """Write a local file, as `write` does."""
    _put(address, lambda filesystem, path, mode: filesystem.put_file(str(file), path, **mode), force)


def _put(address: str, put: Callable[[Any, str, dict[str, str]], object], force: bool) -> None:
    """Put something in its place by `put(filesystem, path, options)`."""
    from fsspec import AbstractFileSystem

    try:
        with _errors("write", address):
            filesystem, path = _open(address)
            if type(filesystem).mv is AbstractFileSystem.mv:  # it copies: an object store, whose writes are whole
                if not force and address.startswith(EXCLUSIVE):
                    put(filesystem, path, {"mode": "create"})
                    return
                _refuse_existing(filesystem, path, force)
                put(filesystem, path, {})
                return
            parent, name = posixpath.split(path)
            beside = f"{parent}/.lapic-{secrets.token_hex(8)}{PurePosixPath(name).suffix}"
            filesystem.makedirs(parent, exist_ok=True)
            try:
                put(filesystem, beside, {})
                _refuse_existing(filesystem, path, force)
                filesystem.mv(beside, path)
            except BaseException:
                with suppress(Exception):  # it is there in part, or not at all
                    filesystem.rm_file(beside)
                raise
    except FileExistsError:
        raise Error(f"{address} exists: --force replaces it") from None


def _refuse_existing(filesystem: Any, path: str, force: bool) -> None:
    """Raise FileExistsError if something is there and not `force`."""
    if not force and filesystem.exists(path):
        raise FileExistsError


def exists(address: str) -> bool:
    """Whether something is there. Raises `Error` if the storage does not answer."""
    with _errors("read", address):
        filesystem, path = _open(address)
        return filesystem.exists(path)


def is_folder(address: str) -> bool:
    """Whether an address ends as that of a folder, or has something below it. Raises `Error` if the storage does not
    answer."""
    if address.endswith("/") or address.startswith(WEB):
        return address.endswith("/")
    with _errors("read", address):
        filesystem, path = _open(address)
        return filesystem.isdir(path)


def matches(address: str) -> list[str]:
    """The addresses that a pattern matches, sorted; one without wildcards is given back itself. Raises `Error` if the
    storage does not answer."""
    if not glob.has_magic(address) or address.startswith(WEB):  # which has ? before a query
        return [address]
    with _errors("read", address):
        filesystem, path = _open(address)
        if filesystem.exists(path):
            return [address]
        before = address[: glob.magic_check.search(address).start()]  # type: ignore[union-attr]
        base = before[: before.rindex("/") + 1]
        start = filesystem._strip_protocol(base)
        return [join(base, _below(found, start)) for found in _sorted(filesystem.glob(path))]


def list_folder(address: str, suffixes: Collection[str], recursive: bool) -> Listing:
    """The files below an address with one of these suffixes, sorted; hidden files and folders are left out."""
    listing = Listing()
    try:
        with _errors("read", address):
            filesystem, path = _open(address)
            found = _sorted(filesystem.find(path, maxdepth=None if recursive else 1))
            if not found and not filesystem.exists(path):
                raise FileNotFoundError
    except Error as error:
        listing.unreadable[address] = str(error).removeprefix(f"cannot read {address}: ")
        return listing
    for file in found:
        below = _below(file, path)
        name = PurePosixPath(below)
        if not name.name:  # what some tools leave in the place of a folder
            continue
        if any(part.startswith(".") for part in name.parts):
            listing.left_out["hidden"] += 1
        elif name.suffix.lower() not in suffixes:
            listing.left_out[others(suffixes)] += 1
        else:
            listing.files.append(join(address, below))
    return listing


def all_files(address: str) -> list[str]:
    """The addresses of all files below one, sorted; none if nothing is there. Raises `Error` if the storage does not
    answer."""
    with _errors("read", address):
        filesystem, path = _open(address)
        try:
            return [join(address, _below(found, path)) for found in _sorted(filesystem.find(path))]
        except FileNotFoundError:
            return []


def existing(addresses: Collection[str]) -> set[str]:
    """Those of some addresses of one storage at which something is, by a listing of their common folder. Raises `Error`
    if the storage does not answer."""
    if not addresses:
        return set()
    scheme = next(iter(addresses)).partition("://")[0]
    folders = [address.partition("://")[2].split("/")[:-1] for address in addresses]
    base = f"{scheme}://{'/'.join(os.path.commonprefix(folders))}"  # noqa: RUF071, they are lists of parts
    return set(all_files(base)) & set(addresses)


def inside(address: str, folder: str | None) -> str:
    """The part of an address below that of a folder; without a folder, the last part of its path. Escapes of a web
    address, such as %20, are resolved."""
    if folder is not None:
        below = address.removeprefix(folder.rstrip("/")).lstrip("/")
    else:
        below = PurePosixPath(urlsplit(address).path if address.startswith(WEB) else address).name
    return "/".join(map(_unescaped, below.split("/"))) if address.startswith(WEB) else below


def _unescaped(part: str) -> str:
    """A part of a path without escapes, as it is if it would be no file's name."""
    name = unquote(part)
    return part if "/" in name or "\0" in name or name in (".", "..") else name


def join(folder: str, name: str) -> str:
    """The address of a file in a folder."""
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def _open(address: str) -> tuple[Any, str]:
    """The file system of an address, which asks its storage anew, and the path in it."""
    from fsspec.core import url_to_fs

    _refuse_password(address)
    filesystem, path = url_to_fs(address)
    filesystem.invalidate_cache()
    return filesystem, path


def _below(path: str, folder: str) -> str:
    """The part of a path below that of a folder; names of objects may have empty parts, as in a//b.png."""
    return path.removeprefix(folder.rstrip("/")).removeprefix("/")


def _sorted(paths: Collection[str]) -> list[str]:
    return sorted(paths, key=lambda path: path.split("/"))


@contextmanager
def _errors(verb: str, address: str) -> Iterator[None]:
    """Raise what the libraries of storages raise as an `Error` of one line; FileExistsError stays."""
    try:
        yield
    except (Error, FileExistsError):
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "fsspec").partition(".")[0]
        raise Error(f"cannot {verb} {address}: {package} is missing: pip install 'lapic[remote]'") from None
    except Exception as error:  # each storage's library has its own types
        raise Error(f"cannot {verb} {address}: {_why(error, address)}") from error


def _why(error: Exception, address: str) -> str:
    """The reason in one line."""
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:MAX_MESSAGE]
    if isinstance(error, FileNotFoundError) and (not message or message.lstrip("/") in address):
        return os.strerror(errno.ENOENT)
    if isinstance(error, OSError) and error.strerror and error.errno:
        return error.strerror
    if isinstance(error, NotImplementedError):
        return message or "its storage cannot do that"
    return message or type(error).__name__
