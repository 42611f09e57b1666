"""A site of other people with .lapic files, and what its elements show."""

import dataclasses
import time
from typing import Any

import numpy as np

from lapic import bitstream
from lapic.codec.selftest import GOLDEN
from tests.web.pages import Handler

SECONDS = 60  # that a page may take to ask for something, on a machine that is busy

PHOTO = (GOLDEN / "photo-q10.lapic").read_bytes()  # 163 x 109


def resized(data: bytes, width: int, height: int) -> bytes:
    """A file whose header says another size; its tiles are damaged."""
    header, tiles = bitstream.read(data)
    other = dataclasses.replace(header, width=width, height=height, tile=1024, chunk_sizes={})
    rows, columns = other.grid()
    return bitstream.write(other, tiles[:1] * (rows * columns))


FILES = {
    "photo.lapic": PHOTO,
    "grey.lapic": (GOLDEN / "grey-q50.lapic").read_bytes(),
    "dots.lapic": (GOLDEN / "dots-q100.lapic").read_bytes(),  # 50 x 33
    "damaged.lapic": PHOTO[:-30] + bytes([PHOTO[-30] ^ 4]) + PHOTO[-29:],
    "cut.lapic": PHOTO[:100],
    "tall.lapic": resized(PHOTO, 16, 70_000),
}
SCRIPT = '<script type="module" src="/lapic-loader.js"></script>'
HEARD = """<script>
  globalThis.heard = [];
  for (const type of ["load", "error"]) document.addEventListener(type, ({ target, message }) => {
    if (target.id) heard.push([target.id, type, message ?? ""]);
  }, true);
</script>"""


class Site(Handler):
    """web/dist, the files above and one page."""

    body = ""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        data = f"<!doctype html>{HEARD}{Site.body}".encode() if name == "page.html" else FILES.get(name)
        if data is None:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if name == "page.html" else "image/x-lapic")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None


def hear(page: Any, name: str, kind: str) -> str:
    """Wait for an event of an element, and return its message."""
    script = """([name, kind]) => {
        const found = heard.find(([id, type, message]) => id === name && type === kind && (kind === "load" || message));
        return found && { message: found[2] };
    }"""
    return page.wait_for_function(script, arg=[name, kind]).json_value()["message"]


def pixels(page: Any, name: str) -> np.ndarray:
    """What an element shows, (h, w, 3)."""
    script = """name => {
        const element = document.getElementById(name);
        const source = element.shadowRoot?.querySelector("canvas") ?? element;
        const canvas = new OffscreenCanvas(source.naturalWidth ?? source.width, source.naturalHeight ?? source.height);
        const context = canvas.getContext("2d");
        context.drawImage(source, 0, 0);
        return [canvas.width, canvas.height, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
    }"""
    width, height, data = page.evaluate(script, name)
    return np.array(data).reshape(height, width, 4)[..., :3]


def value(page: Any, name: str, expression: str) -> Any:
    """An expression of JavaScript about `element`."""
    return page.evaluate(f"name => {{ const element = document.getElementById(name); return {expression}; }}", name)


class Held:
    """A request of a page that waits until it is let go."""

    def __init__(self, page: Any, pattern: str) -> None:
        self.page, self.routes = page, list[Any]()
        page.route(pattern, lambda route: self.routes.append(route))

    def wait(self) -> None:
        """Wait until it is asked for."""
        until = time.monotonic() + SECONDS
        while not self.routes:
            assert time.monotonic() < until, "the page did not ask for it"
            self.page.evaluate("0")  # which hears what has happened meanwhile

    def release(self) -> None:
        for route in self.routes:
            route.continue_()
