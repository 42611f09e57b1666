"""Pages with the module of web/dist, and the server that they come from."""

import base64
import http.server
from pathlib import Path
from typing import Any

import numpy as np

DIST = Path(__file__).parents[2] / "web" / "dist"
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}

# The helpers of the scripts below: base64 to bytes and back, and the module.
PRELUDE = """
globalThis.fromBase64 = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
globalThis.toBase64 = bytes => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
};
globalThis.shown = image => ({ width: image.width, height: image.height, data: toBase64(image.data) });
globalThis.lapic = await import("/lapic.js");
"""


class Browser:
    """A page with the module as `lapic`, all its requests and complaints noted."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{address}/blank.html")
        page.evaluate(f"async () => {{ {PRELUDE} }}")

    def call(self, script: str, *arguments: Any) -> Any:
        """What an asynchronous function of JavaScript, given by its parameters and body, returns."""
        return self.page.evaluate(script, list(arguments))


def to_text(data: bytes) -> str:
    """Bytes as `fromBase64` takes them."""
    return base64.b64encode(data).decode()


def pixels(shown: dict[str, Any]) -> np.ndarray:
    """What `shown` returned, (h, w, 4) int16."""
    flat = np.frombuffer(base64.b64decode(shown["data"]), np.uint8)
    return flat.reshape(shown["height"], shown["width"], 4).astype(np.int16)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves web/dist and an empty page, with further headers."""

    extensions_map = {  # noqa: RUF012 - as in the base class
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def __init__(self, *arguments: Any, headers: dict[str, str], **named: Any) -> None:
        self.further = headers
        super().__init__(*arguments, directory=str(DIST), **named)

    def do_GET(self) -> None:
        if self.path != "/blank.html":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel='icon' href='data:,'><title>test</title>")
        return None

    def end_headers(self) -> None:
        for name, value in self.further.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
