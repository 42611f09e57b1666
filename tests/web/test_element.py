"""`<lapic-image>` in a headless Chromium, on pages of other people."""

import functools
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapic.codec.selftest import GOLDEN
from tests.web import reference
from tests.web.elements import FILES, PHOTO, Held, hear, pixels, value
from tests.web.pages import DIST, Handler


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
    assert value(page, "a", "element.shadowRoot.querySelector('canvas').width") == 0, "its pixels are freed"
    page.evaluate("() => { heard.length = 0; document.getElementById('a').src = 'photo.lapic'; }")
    hear(page, "a", "load")
    assert value(page, "a", "element.naturalWidth") == 163


def test_what_is_no_address_fails_as_an_img_does(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="http://[" alt="words"></lapic-image>')
    assert hear(page, "a", "error") == "cannot read http://[: it is no address"


def test_a_file_that_is_taken_away_before_its_size_is_known_shows_nothing(visit: Callable[[str], Any]) -> None:
    page = visit('<lapic-image id="a" src="photo.lapic"></lapic-image>')
    asked = Held(page, "**/packs.json")
    page.evaluate("async () => { await import('/lapic-loader.js'); }")
    asked.wait()
    page.evaluate("() => document.getElementById('a').removeAttribute('src')")
    asked.release()
    page.evaluate("async () => (await import('/lapic.js')).info(await (await fetch('/photo.lapic')).arrayBuffer())")
    assert value(page, "a", "[element.complete, element.naturalWidth]") == [True, 0]
    page.evaluate("() => { document.getElementById('a').src = 'photo.lapic'; }")
    hear(page, "a", "load")
    assert value(page, "a", "element.naturalWidth") == 163


def test_it_keeps_its_style_in_another_document(show: Callable[[str], Any]) -> None:
    page = show('<iframe id="f"></iframe><lapic-image id="a" src="photo.lapic" width="100"></lapic-image>')
    hear(page, "a", "load")
    script = """() => {
        const element = document.getElementById("a");
        document.getElementById("f").contentDocument.body.append(element);
        const before = element.width;
        element.setAttribute("width", "200");
        return [before, element.width];
    }"""
    assert page.evaluate(script) == [100, 200]


def test_a_picture_that_the_browser_cannot_hold_gives_a_sentence(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="tall.lapic" alt="A tower"></lapic-image>')
    assert hear(page, "a", "error") == "this browser has no pictures of 16 x 70000: show a smaller one"
    assert page.locator("#a").get_by_text("A tower").is_visible()


def test_properties_count_that_were_set_before_it_was_defined(visit: Callable[[str], Any]) -> None:
    page = visit('<lapic-image id="a"></lapic-image>')
    page.evaluate(
        "() => { Object.assign(document.getElementById('a'), { src: 'photo.lapic', alt: 'A cat', width: 50 }); }"
    )
    page.evaluate("async () => { await import('/lapic-image.js'); }")
    hear(page, "a", "load")
    assert value(page, "a", "[element.getAttribute('alt'), element.width]") == ["A cat", 50]
    page.evaluate("() => { heard.length = 0; document.getElementById('a').src = 'dots.lapic'; }")
    hear(page, "a", "load")
    assert value(page, "a", "element.naturalWidth") == 50


DECODE_WHILE = """async change => {
    const element = document.getElementById("a");
    const next = new Promise(resolve => element.addEventListener("load", resolve));
    const decoded = element.decode().then(() => "decoded", error => error.name);
    await Promise.resolve();
    if (change === "remove") element.remove();
    else {
        element.setAttribute(...change);
        await next;
    }
    const later = new Promise(resolve => setTimeout(resolve, 0, "pending"));
    return [await Promise.race([decoded, later]), element.naturalWidth];
}"""


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (["loading", "eager"], ["decoded", 163]),
        ("remove", ["AbortError", 0]),
    ],
)
def test_decode_of_a_lazy_picture_settles(change: Any, found: list[Any], show: Callable[[str], Any]) -> None:
    far = '<p style="height: 9000px"></p>'
    page = show(f'{far}<lapic-image id="a" src="photo.lapic" loading="lazy"></lapic-image>')
    assert page.evaluate(DECODE_WHILE, change) == found


def test_decode_follows_a_file_that_replaces_another(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="photo.lapic"></lapic-image>')
    assert page.evaluate(DECODE_WHILE, ["src", "dots.lapic"]) == ["decoded", 50]


def test_decode_needs_a_file_and_a_document(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a"></lapic-image>')
    message = "element.decode().then(() => '', error => error.message)"
    assert value(page, "a", message) == "there is no picture to decode: src is missing"
    script = f"""() => {{
        const element = Object.assign(document.createElement("lapic-image"), {{ src: "photo.lapic" }});
        return {message};
    }}"""
    assert page.evaluate(script) == "there is no picture to decode: the element is in no document"


def test_a_picture_that_is_moved_stays(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="photo.lapic"></lapic-image><div></div>')
    hear(page, "a", "load")
    script = """() => {
        const element = document.getElementById("a");
        const other = Object.assign(document.createElement("lapic-image"), { id: "b", src: "dots.lapic" });
        document.querySelector("main div").append(element, other);
        return element.complete;
    }"""
    assert page.evaluate(script)
    hear(page, "b", "load")  # the worker works in the order of the calls
    assert value(page, "a", "heard.map(([id]) => id)") == ["a", "b"]
    assert np.abs(pixels(page, "a") - reference.decode(PHOTO)).max() <= 1


def test_an_alt_that_is_set_after_a_failure_is_shown(show: Callable[[str], Any]) -> None:
    page = show('<lapic-image id="a" src="cut.lapic"></lapic-image>')
    hear(page, "a", "error")
    page.evaluate("() => { document.getElementById('a').alt = 'A cat'; }")
    assert page.locator("#a").get_by_text("A cat").is_visible()


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
