"""Milliseconds to decode and encode in a page of headless Chromium, beside jSquash's AVIF and JPEG XL decoders, and
bytes to fetch.

    make web && python benchmarks/web.py PICTURE [--models auto,fast] [--quality 50] [--threads 2] [--rounds 5]
        [--size 768x512]

The peers' files have at most the bytes of lapic's first model. "first" is the first call in a new page, with all that
it loads from this machine; the other figures are medians of `--rounds` calls after two more. "first look" is the
preview at 1/8.
"""

import argparse
import base64
import functools
import gzip
import http.server
import io
import shutil
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pillow_jxl  # noqa: F401, lets Pillow write JPEG XL
from PIL import Image
from playwright.sync_api import sync_playwright

import lapic
from lapic.codec.defaults import AUTO_MODEL
from lapic.codec.model.shipped import shipped

WEB = Path(__file__).parents[1] / "web"
PEERS = {"AVIF": "avif", "JPEG XL": "jxl"}
RUNTIME = "ort-wasm-simd-threaded"
LAPIC = """async ([file, options, threads]) => {
    const lapic = globalThis.lapic ??= await import("/dist/lapic.js");
    lapic.configure({ threads });
    const bytes = Uint8Array.from(atob(file), letter => letter.charCodeAt(0));
    let look = NaN;
    const begin = performance.now();
    const preview = options.scale ? undefined : () => look = performance.now() - begin;
    await lapic.decode(bytes, { ...options, preview });
    return [performance.now() - begin, look];
}"""
ENCODE = """async ([pixels, width, height, options, threads]) => {
    const lapic = globalThis.lapic ??= await import("/dist/lapic.js");
    lapic.configure({ threads });
    const data = Uint8ClampedArray.from(atob(pixels), letter => letter.charCodeAt(0));
    const begin = performance.now();
    await lapic.encode(new ImageData(data, width, height), options);
    return [performance.now() - begin, NaN];
}"""
PEER = """async ([file, name]) => {
    const begin = performance.now();
    const decode = (globalThis[name] ??= await import(`/node_modules/@jsquash/${name}/decode.js`)).default;
    const bytes = Uint8Array.from(atob(file), letter => letter.charCodeAt(0));
    await decode(bytes.buffer);
    return [performance.now() - begin, NaN];
}"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves web/ to cross-origin isolated pages, which may use threads."""

    extensions_map: ClassVar[dict[str, str]] = {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        "": "text/plain",
    }

    def end_headers(self) -> None:
        """Send the two headers that isolate a page."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def pages() -> Iterator[Callable[[], Any]]:
    """Opens new pages of one browser, each in a context without a cache."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(WEB)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        def opened() -> Any:
            page = browser.new_context().new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/package.json")
            return page

        yield opened
        browser.close()
    server.shutdown()


def peer_file(image: Image.Image, kind: str, limit: int) -> bytes:
    """The file of the highest quality with at most `limit` bytes."""
    best = b""
    low, high = 1, 100
    while low <= high:
        quality = (low + high) // 2
        out = io.BytesIO()
        image.save(out, kind, quality=quality)
        if out.tell() <= limit:
            best, low = out.getvalue(), quality + 1
        else:
            high = quality - 1
    return best


def compressed(*paths: Path) -> int:
    """Bytes of files after gzip -9."""
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--models", default="auto,fast", help="names of shipped models, with commas")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="768x512")
    args = parser.parse_args()
    models = args.models.split(",")
    if unknown := set(models) - {AUTO_MODEL, *shipped().values()}:
        parser.error(f"there is no model {', '.join(sorted(unknown))}")
    image = Image.open(args.picture).convert("RGB").resize(tuple(map(int, args.size.split("x"))))
    pixels = base64.b64encode(image.convert("RGBA").tobytes()).decode()
    jobs: dict[str, tuple[str, list[Any], int]] = {}
    files = {model: lapic.encode(image, args.quality, model=model) for model in models}
    for model, data in files.items():
        text = base64.b64encode(data).decode()
        label = "lapic" if model == AUTO_MODEL else f"lapic, {model}"
        how = {"quality": args.quality} | ({} if model == AUTO_MODEL else {"model": model})
        one_pass = len(lapic.encode(image, args.quality, model=model, effort=0))
        for threads in dict.fromkeys([1, args.threads]):
            for what, options in (("whole", {}), ("1/8 alone", {"scale": 8}), ("realism 1", {"realism": 1})):
                jobs[f"{label}, {what}, {threads} thread(s)"] = (LAPIC, [text, options, threads], len(data))
            jobs[f"{label}, encode, {threads} thread(s)"] = (ENCODE, [pixels, *image.size, how, threads], one_pass)
    for name, kind in PEERS.items():
        file = peer_file(image, kind, len(files[models[0]]))
        jobs[f"{name} (jSquash)"] = (PEER, [base64.b64encode(file).decode(), kind], len(file))
    print(f"{'':40}{'bytes':>9}{'first':>9}{'median':>9}{'first look':>12}")
    with pages() as opened:
        for name, (script, arguments, size) in jobs.items():
            page = opened()
            times = [page.evaluate(script, arguments) for _ in range(3 + args.rounds)]
            whole, look = (statistics.median(column) for column in zip(*times[3:], strict=True))
            print(f"{name:40}{size:9}{times[0][0]:9.0f}{whole:9.0f}{look:12.0f}".replace(" nan", "    "))
            page.context.close()
    modules = WEB / "node_modules" / "@jsquash"
    dist = WEB / "dist"
    print("\nKiB of code after gzip")
    print(f"lapic.js and its worker: {compressed(dist / 'lapic.js', dist / 'lapic-worker.js') / 1024:.0f}")
    print(f"the runtime's own: {compressed(dist / f'{RUNTIME}.wasm', dist / f'{RUNTIME}.mjs') / 1024:.0f}")
    for name, kind in PEERS.items():
        folder = modules / kind / "codec" / "dec"
        print(f"{name}: {compressed(folder / f'{kind}_dec.wasm', folder / f'{kind}_dec.js') / 1024:.0f}")


if __name__ == "__main__":
    main()
