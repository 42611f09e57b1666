"""The page for browsers: where it is, how it is served to this machine alone, and how it is written as static files."""

import errno
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import lapic
from lapic.bitstream.error import Error

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
BYTES = "application/octet-stream"
LIST = "list.json"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # these two let the page use threads
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LEFT_OUT = ("*.map", ".*")  # of the built page
NO_NAME = re.compile(r"[/\\:]")  # on one system or another they lead to another folder or drive


def page_folder() -> Path:
    """The folder of the built page. Raises `Error` if it is not built."""
    folder = Path(lapic.__file__).parent / "page"
    if not (folder / "index.html").is_file():
        raise Error("the page is not built here: run `make web` in a clone (it needs Node.js), then install from it")
    return folder


@dataclass
class Site:
    """What is served: the page's files and the pictures, all below one random path."""

    page: Path
    pictures: list[Path]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def list(self) -> bytes:
        """The addresses of the pictures as JSON: they are numbered, since names may occur twice."""
        names = [quote(os.fsencode(path.name), safe="") for path in self.pictures]
        return json.dumps([f"files/{number}/{name}" for number, name in enumerate(names)]).encode()

    def find(self, address: str) -> Path | None:
        """The file at the path of a request, None if there is none."""
        parts = [unquote(part) for part in urlsplit(address).path.split("/")[1:]]
        if len(parts) < 2 or not secrets.compare_digest(parts[0].encode(), self.token.encode()):
            return None
        match parts[1:]:
            case ["files", number, _]:
                return {str(i): path for i, path in enumerate(self.pictures)}.get(number)
            case names if all(name and not name.startswith(".") and not NO_NAME.search(name) for name in names):
                path = self.page.joinpath(*names)
                return path if path.is_file() else None
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of one `Site`, asked for by the address that was printed."""

    server: "PageServer"
    protocol_version = "HTTP/1.1"
    server_version = "lapic"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Send a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Send a file's headers."""
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        site = self.server.site
        if self.headers.get("Host") != f"127.0.0.1:{self.server.server_port}":
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        if self.path == f"/{site.token}/":
            return self._send(HTTPStatus.FOUND, b"", {"Location": f"index.html#list={LIST}"}, with_body)
        if self.path == f"/{site.token}/{LIST}":
            return self._send(HTTPStatus.OK, site.list, {"Content-Type": TYPES[".json"]}, with_body)
        try:
            path = site.find(self.path)
            body = None if path is None else path.read_bytes()
        except (OSError, ValueError):  # ValueError: a malformed address
            path = body = None
        if path is None or body is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        kind = TYPES.get(path.suffix, BYTES) if site.page in path.parents else BYTES
        return self._send(HTTPStatus.OK, body, {"Content-Type": kind}, with_body)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class PageServer(ThreadingHTTPServer):
    """Serves a `Site` on a free port of 127.0.0.1, until `shutdown`."""

    daemon_threads = True

    def __init__(self, site: Site) -> None:
        self.site = site
        try:
            super().__init__(("127.0.0.1", 0), _Handler)
        except OSError as error:
            raise Error(f"cannot serve on 127.0.0.1: {error.strerror}") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/{self.site.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that closes its connection early."""


def write_page(output: Path, force: bool) -> list[Path]:
    """Write the page as static files and return their paths. A new folder appears whole or not at all, in an older one
    each file does.

    Args:
        output: a folder, which is made; one that exists has to be empty, unless `force` is given.
        force: replace the files of an older page in the folder; what else is in it stays.

    Raises `Error` with the reason if the page is not built or cannot be written.
    """
    page = page_folder()
    try:
        if output.exists() and not output.is_dir():
            raise Error(f"cannot write {output}: {os.strerror(errno.ENOTDIR)}")
        if output.is_dir() and any(output.iterdir()) and not force:
            raise Error(f"{output} is not empty: --force replaces the page in it")
        if not output.parent.is_dir():
            raise Error(f"cannot write {output}: {os.strerror(errno.ENOENT)}")
        beside = output.parent / f".lapic-{secrets.token_hex(8)}.part"
        try:
            shutil.copytree(page, beside, ignore=shutil.ignore_patterns(*LEFT_OUT))
            names = sorted(path.relative_to(beside) for path in beside.rglob("*") if path.is_file())
            if output.is_dir():
                for name in names:
                    (output / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(beside / name, output / name)
            else:
                os.replace(beside, output)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except shutil.Error as error:
        reason = re.sub(r"^\[Errno \d+\] |: '.*", "", str(error.args[0][0][2]), flags=re.DOTALL)
        raise Error(f"cannot write {output}: {reason}") from None
    except OSError as error:
        raise Error(f"cannot write {output}: {error.strerror}") from None
    return [output / name for name in names]
