"""`<lapic-image>` and the loader for `<img src="*.lapic">` in a headless Chromium, on pages of other people."""

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapic.codec.selftest import GOLDEN
from tests.web import reference
from tests.web.pages import DIST, Handler

PHOTO = (GOLDEN / "photo-q10.lapic").read_bytes()  # 163 x 109
FILES = {
    "photo.lapic": PHOTO,
    "grey.lapic": (GOLDEN / "grey-q50.lapic").read_bytes(),
    "dots.lapic": (GOLDEN / "dots-q100.lapic").read_bytes(),  # 50 x 33
    "damaged.lapic": PHOTO[:-30] + bytes([PHOTO[-30] ^ 4]) + PHOTO[-29:],
    "cut.lapic": PHOTO[:100],
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


@pytest.fixture(scope="module")
def show(chromium: Any) -> Iterator[Callable[[str], Any]]:
    """Shows a page with this body; the same worker serves all bodies that are set without `reload`."""
    page = chromium.new_page()
    page.set_default_timeout(60_000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Site, headers={}))
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    Site.body = f"<main></main>{SCRIPT}"
    page.goto(f"http://127.0.0.1:{server.server_port}/page.html")

    def shown(body: str) -> Any:
        page.evaluate("body => { heard.length = 0; document.querySelector('main').innerHTML = body; }", body)
        return page

    yield shown
    page.close()
    server.shutdown()
    server.server_close()


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


def test_it_shows_the_picture_and_tells_of_it(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="photo.lapic" alt="A cat"></lapic-image>')
    hear(page, "a", "load")
    assert np.abs(pixels(page, "a") - reference.decode(PHOTO)).max() <= 1
    facts = "[element.naturalWidth, element.naturalHeight, element.width, element.height, element.complete]"
    assert value(page, "a", facts) == [163, 109, 163, 109, True]
    assert value(page, "a", "element.src").endswith("/photo.lapic")
    assert 'img "A cat"' in page.locator("main").aria_snapshot()


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="326"', [326, 218]),
        ('height="218"', [326, 218]),
        ('width="100" height="50"', [100, 50]),
        ('width="100" style="width: 200px"', [200, 134]),
    ],
)
def test_it_is_laid_out_as_img_is(attributes: str, size: list[int], show: Callable[[str], Any]) -> None:
    page = show(f'<lapic-image id="a" src="photo.lapic" {attributes}></lapic-image>')
    hear(page, "a", "load")
    assert value(page, "a", "[element.width, element.height]") == size


def test_realism_and_another_file_are_set_later(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="photo.lapic"></lapic-image>')
    hear(page, "a", "load")
    page.evaluate("() => { heard.length = 0; document.getElementById('a').realism = 1; }")
    hear(page, "a", "load")
    assert np.abs(pixels(page, "a") - reference.decode(PHOTO, realism=1)).max() <= 1
    page.evaluate(
        "() => { heard.length = 0; Object.assign(document.getElementById('a'), {src: 'grey.lapic', realism: 0}); }"
    )
    hear(page, "a", "load")
    assert np.abs(pixels(page, "a") - reference.decode(FILES["grey.lapic"])).max() <= 1
    assert value(page, "a", "heard.length") == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("damaged.lapic", "checksum does not match"),
        ("cut.lapic", "truncated"),
        ("none.lapic", "none.lapic: the server answers 404"),
    ],
)
def test_what_cannot_be_shown_gives_a_sentence_and_its_alt(
    name: str, sentence: str, show: Callable[[str], Any]
) -> None:
    page = show(f'<lapic-image id="a" src="{name}" alt="A cat"></lapic-image>')
    assert sentence in hear(page, "a", "error")
    assert value(page, "a", "[element.complete, element.naturalWidth]") == [True, 0]
    assert page.locator("#a").get_by_text("A cat").is_visible()
    assert value(page, "a", "element.decode().then(() => '', error => error.name)") == "LapicError"


def test_a_lazy_picture_waits_until_it_is_near(show: Callable[[str], Any]) -> None:
    far = '<p style="height: 9000px"></p>'
    page = show(f'{far}<lapic-image id="a" src="photo.lapic" loading="lazy"></lapic-image>')
    page.wait_for_timeout(300)
    assert value(page, "a", "[element.complete, heard.length]") == [False, 0]
    page.evaluate("() => document.getElementById('a').scrollIntoView()")
    hear(page, "a", "load")


def test_a_file_that_is_taken_away_is_shown_again(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="photo.lapic"></lapic-image>')
    hear(page, "a", "load")
    page.evaluate("() => document.getElementById('a').removeAttribute('src')")
    page.wait_for_function("() => document.getElementById('a').naturalWidth === 0")
    page.evaluate("() => { heard.length = 0; document.getElementById('a').src = 'photo.lapic'; }")
    hear(page, "a", "load")
    assert value(page, "a", "element.naturalWidth") == 163


def test_what_is_no_address_fails_as_an_img_does(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="http://[" alt="words"></lapic-image>')
    assert hear(page, "a", "error") == "cannot read http://[: it is no address"


def test_an_img_takes_the_size_of_the_next_file(show: Callable[[str], Any]) -> None:
    page = show('<img id="a" src="photo.lapic" alt="A cat">')
    hear(page, "a", "load")
    page.evaluate("() => { heard.length = 0; document.getElementById('a').src = 'dots.lapic'; }")
    page.wait_for_function("() => document.getElementById('a').naturalWidth === 50")
    assert value(page, "a", "[element.width, element.height]") == [50, 33]


def test_an_img_of_a_lapic_file_is_upgraded(show: Callable[[str], Any]) -> None:
    page = show('<img id="a" src="photo.lapic" alt="A cat"><img id="b" src="cut.lapic"><img id="c" src="icon.svg">')
    hear(page, "a", "load")
    page.wait_for_function("() => document.getElementById('a').naturalWidth === 163")
    assert np.abs(pixels(page, "a") - reference.decode(PHOTO)).max() <= 1
    assert value(page, "a", "[element.width, element.height]") == [163, 109]
    assert "truncated" in hear(page, "b", "error")
    assert value(page, "c", "element.src").endswith("/icon.svg")


def test_the_example_works_as_it_is(chromium: Any) -> None:
    lines = (DIST / "example.html").read_text().splitlines()
    assert len(lines) == 5
    page = chromium.new_page()
    page.set_default_timeout(60_000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, headers={}))
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    page.goto(f"http://127.0.0.1:{server.server_port}/example.html")
    page.evaluate("() => document.querySelector('lapic-image').decode()")
    page.wait_for_function("() => document.querySelector('img').naturalWidth > 100")
    assert page.evaluate("() => document.querySelector('lapic-image').width") == 600
    page.close()
    server.shutdown()
    server.server_close()
    assert Path(DIST / "photo.lapic").read_bytes() == (GOLDEN / "photo-q90-tiles.lapic").read_bytes()
