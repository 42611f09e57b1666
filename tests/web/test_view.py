"""`lapic view` and `lapic web`: what is served, to whom, and what is written. No browser is needed."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lapic
from lapic.codec.cli import main
from lapic.codec.command.serve import PageServer, Site

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "codec" / "golden" / "photo-q10.lapic"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of a few files, found as the built one is."""
    folder = tmp_path / "installed" / "page"
    (folder / "packs" / "photo").mkdir(parents=True)
    for name in ("index.html", "lapic.js", "lapic.js.map", "packs/photo/pack.json", "runtime.wasm"):
        (folder / name).write_text(name)
    (folder.parent / "secret.txt").write_text("not of the page")
    monkeypatch.setattr(lapic, "__file__", str(folder.parent / "__init__.py"))
    return folder


@pytest.fixture
def server(page: Path, tmp_path: Path) -> Iterator[PageServer]:
    pictures = [GOLDEN, tmp_path / "a b #1.png"]
    Image.new("RGB", (8, 8), "red").save(pictures[1])
    with PageServer(Site(page, pictures)) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


def get(server: PageServer, path: str, host: str | None = None, method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
    return connection.getresponse()


def run_lapic(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_page_and_the_pictures_are_served(server: PageServer) -> None:
    start = get(server, f"/{server.site.token}/")
    assert start.status == 302
    where, opened = start.headers["Location"].split("#")
    assert get(server, f"/{server.site.token}/{where}").read() == b"index.html"
    addresses = json.loads(get(server, f"/{server.site.token}/{opened.removeprefix('list=')}").read())
    assert [address.split("/")[-1] for address in addresses] == ["photo-q10.lapic", "a%20b%20%231.png"]
    pictures = [get(server, f"/{server.site.token}/{address}").read() for address in addresses]
    assert pictures == [path.read_bytes() for path in server.site.pictures]
    assert get(server, f"/{server.site.token}/packs/photo/pack.json").read() == b"packs/photo/pack.json"


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_name_that_is_not_utf8_is_served(server: PageServer, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff%41#.png"))
    path.write_bytes(b"contents")
    server.site.pictures.append(path)
    [*_, address] = json.loads(get(server, f"/{server.site.token}/list.json").read())
    assert address == "files/2/%FF%2541%23.png"
    assert get(server, f"/{server.site.token}/{address}").read() == b"contents"


def test_the_page_may_use_threads_and_streams_its_webassembly(server: PageServer) -> None:
    answer = get(server, f"/{server.site.token}/runtime.wasm")
    assert answer.headers["Content-Type"] == "application/wasm"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    head = get(server, f"/{server.site.token}/runtime.wasm", method="HEAD")
    assert (head.headers["Content-Length"], head.read()) == ("12", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/index.html", "/wrong/", "/wrong/index.html", "/%C3%A4/index.html", "/TOKEN/none.js", "/TOKEN/packs",
        "/TOKEN/../secret.txt", "/TOKEN/%2e%2e/secret.txt", "/TOKEN/..%2fsecret.txt", "/TOKEN//etc/passwd", "/TOKEN/.",
        "/TOKEN/files/2/x", "/TOKEN/files/-1/x", "/TOKEN/files/0", "/TOKEN/files/%C2%B2/x",
        f"/TOKEN/files/{5000 * '9'}/x",
        "/TOKEN/files/0/../../secret.txt",
        "/TOKEN/index.html%00",
        f"/TOKEN/{300 * 'a'}", "http://[/",
    ],
)  # fmt: skip
def test_nothing_else_is_served(path: str, server: PageServer) -> None:
    assert get(server, path.replace("TOKEN", server.site.token)).status == 404


def test_another_name_for_this_machine_is_refused(server: PageServer) -> None:
    """A site of somebody else can let its name lead here, and would then read what is served."""
    path = f"/{server.site.token}/index.html"
    assert get(server, path).status == 200
    assert get(server, path, host=f"evil.example:{server.server_port}").status == 421


def test_only_this_machine_is_served_at_an_address_of_its_own(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with PageServer(Site(server.site.page, [])) as other:
        assert other.address != server.address
        assert other.site.token != server.site.token


def test_a_picture_that_vanishes_is_not_found(server: PageServer) -> None:
    server.site.pictures[1].unlink()
    assert get(server, f"/{server.site.token}/files/1/x").status == 404
    assert get(server, f"/{server.site.token}/files/0/x").status == 200


def view_in_a_process(page: Path, *arguments: object) -> subprocess.Popen[str]:
    code = (
        f"import lapic\nlapic.__file__ = {str(page.parent / '__init__.py')!r}\nfrom lapic.codec.cli import run\nrun()"
    )
    command = [sys.executable, "-c", code, "view", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BROWSER": "true"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_view_prints_the_address_until_it_is_interrupted(page: Path, tmp_path: Path) -> None:
    process = view_in_a_process(page, GOLDEN, tmp_path / "none.lapic", "--no-browser")
    assert process.stdout and process.stderr
    address = process.stdout.readline().strip()
    host, port, token = address.removeprefix("http://").replace("/", ":").strip(":").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", f"/{token}/files/0/photo-q10.lapic")
    assert connection.getresponse().read() == GOLDEN.read_bytes()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 1, "a file was not there"
    assert process.stderr.read() == f"lapic: {tmp_path}/none.lapic: No such file or directory\n"


def test_the_end_by_the_user_is_no_failure(page: Path) -> None:
    process = view_in_a_process(page, GOLDEN)
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert (process.wait(timeout=30), process.stderr.read()) == (0, "")


def test_the_page_is_served_while_the_browser_starts(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "browser.py"
    browser.write_text(
        "import sys, urllib.request\nsys.exit(b'index' not in urllib.request.urlopen(sys.argv[1]).read())\n"
    )
    opened = []
    finished = threading.Event()

    def open_page(address: str) -> bool:
        """As `webbrowser` opens a browser in the foreground: it waits for its end."""
        opened.append(subprocess.run([sys.executable, browser, address], timeout=30).returncode)
        finished.set()
        return True

    def serve(self: PageServer) -> None:
        thread = threading.Thread(target=ThreadingHTTPServer.serve_forever, args=[self, 0.01], daemon=True)
        thread.start()
        assert finished.wait(30)
        self.shutdown()

    monkeypatch.setattr(webbrowser, "open", open_page)
    monkeypatch.setattr(PageServer, "serve_forever", serve)
    assert run_lapic("view", GOLDEN).exit_code == 0
    assert opened == [0]


def test_a_folder_gives_its_pictures(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.lapic", "a.PNG", "notes.txt", ".hidden.png", "c.tif"):
        (folder / name).write_bytes(b"x")
    served: list[Path] = []
    monkeypatch.setattr(PageServer, "serve_forever", lambda self: served.extend(self.site.pictures))
    assert run_lapic("view", folder, "--no-browser").exit_code == 0
    assert [path.name for path in served] == ["a.PNG", "b.lapic"]


def test_one_unreadable_picture_of_a_folder_does_not_stop_the_others(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    served: list[Path] = []
    whole = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(PageServer, "serve_forever", lambda self: served.extend(self.site.pictures))
    result = run_lapic("view", tmp_path, "--no-browser")
    assert (result.exit_code, result.stderr) == (1, f"lapic: {tmp_path}/b.png: Permission denied\n")
    assert [path.name for path in served] == ["a.png", "c.png"]


def test_what_browsers_do_not_open_is_one_line(page: Path, tmp_path: Path) -> None:
    (tmp_path / "c.tif").write_bytes(b"x")
    result = run_lapic("view", tmp_path / "c.tif", "--no-browser")
    assert result.exit_code == 1
    assert (
        result.stderr == f"lapic: {tmp_path}/c.tif: browsers do not open .tif: convert it to PNG, or encode it first\n"
    )


def test_nothing_to_show_is_one_line(page: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run_lapic("view", tmp_path / "empty", "--no-browser")
    assert (result.exit_code, result.stderr) == (1, "lapic: there are no pictures to show\n")
    result = run_lapic("view", tmp_path / "none.lapic")
    assert (result.exit_code, result.stderr) == (1, f"lapic: {tmp_path}/none.lapic: No such file or directory\n")


def test_a_page_that_is_not_built_is_one_line(page: Path, tmp_path: Path) -> None:
    (page / "index.html").unlink()
    for arguments in (["view", GOLDEN], ["web", tmp_path / "out"]):
        result = run_lapic(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("lapic: the page is not built here: run `make web`")
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_web_writes_the_page(page: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_lapic("web", out).exit_code == 0
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {"index.html", "lapic.js", "packs/photo/pack.json", "runtime.wasm"}


def test_web_replaces_only_when_told(page: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "own.txt").write_text("mine")
    (out / "lapic.js").write_text("old")
    refused = run_lapic("web", out)
    assert (refused.exit_code, refused.stderr) == (1, f"lapic: {out} is not empty: --force replaces the page in it\n")
    assert not (out / "index.html").exists()
    assert run_lapic("web", out, "--force").exit_code == 0
    assert [(out / name).read_text() for name in ("own.txt", "lapic.js")] == ["mine", "lapic.js"]
    assert not list(tmp_path.glob(".lapic-*"))


def test_web_that_cannot_write_is_one_line(page: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out, reason in (
        (tmp_path / "file", "Not a directory"),
        (tmp_path / "none" / "out", "No such file or directory"),
    ):
        result = run_lapic("web", out)
        assert (result.exit_code, result.stderr) == (1, f"lapic: cannot write {out}: {reason}\n")
