"""The loader for `<img src="*.lapic">` in a headless Chromium, on pages of other people."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.web import reference
from tests.web.elements import PHOTO, Held, hear, pixels, value


def test_an_img_takes_the_size_of_the_next_file(show: Callable[[str], Any]) -> None:
    page = show('<img id="a" src="photo.lapic" alt="A cat">')
    hear(page, "a", "load")
    page.evaluate("() => { heard.length = 0; document.getElementById('a').src = 'dots.lapic'; }")
    page.wait_for_function("() => document.getElementById('a').naturalWidth === 50")
    page.wait_for_function("() => !document.getElementById('a').hasAttribute('width')")  # which the first look has
    assert value(page, "a", "[element.width, element.height]") == [50, 33]


def test_an_img_of_a_lapic_file_is_upgraded(show: Callable[[str], Any]) -> None:
    page = show('<img id="a" src="photo.lapic" alt="A cat"><img id="b" src="cut.lapic"><img id="c" src="icon.svg">')
    hear(page, "a", "load")
    page.wait_for_function("() => document.getElementById('a').naturalWidth === 163")
    assert np.abs(pixels(page, "a") - reference.decode(PHOTO)).max() <= 1
    assert value(page, "a", "[element.width, element.height]") == [163, 109]
    assert "truncated" in hear(page, "b", "error")
    assert value(page, "c", "element.src").endswith("/icon.svg")


WHOLE = "() => document.getElementById('a').naturalWidth === 163"
PICTURE_OF_10 = """async image => {
    const canvas = new OffscreenCanvas(10, 10);
    canvas.getContext("2d").fillRect(0, 0, 10, 10);
    image.src = URL.createObjectURL(await canvas.convertToBlob());
    await image.decode();
    return image.src;
}"""


def test_a_blob_of_the_page_replaces_a_file(visit: Callable[[str], Any]) -> None:
    page = visit('<img id="a" src="photo.lapic">')
    asked = Held(page, "**/packs.json")
    page.evaluate("async () => { await import('/lapic-loader.js'); }")
    asked.wait()
    address = page.evaluate(f"() => ({PICTURE_OF_10})(document.getElementById('a'))")
    asked.release()
    script = """async () => {
        const other = Object.assign(document.createElement("img"), { id: "b", src: "dots.lapic" });
        document.body.append(other);
    }"""
    page.evaluate(script)
    page.wait_for_function("() => document.getElementById('b').naturalWidth === 50")
    assert value(page, "a", "[element.src, element.naturalWidth]") == [address, 10]


def test_a_picture_stays_readable_until_it_is_replaced(show: Callable[[str], Any]) -> None:
    page = show('<img id="a" src="photo.lapic">')
    page.wait_for_function(WHOLE)
    script = """async () => {
        const image = document.getElementById("a"), copy = image.cloneNode();
        await copy.decode();
        return [copy.naturalWidth, image.src];
    }"""
    width, address = page.evaluate(script)
    assert width == 163
    page.evaluate("() => { document.getElementById('a').src = 'icon.svg'; }")
    assert page.evaluate("address => fetch(address).then(() => '', error => error.name)", address) == "TypeError"


def test_a_picture_keeps_its_shape_in_a_narrow_place(show: Callable[[str], Any]) -> None:
    page = show('<div style="width: 100px"><img id="a" src="photo.lapic" style="max-width: 100%"></div>')
    page.wait_for_function(WHOLE)
    page.wait_for_function("() => !document.getElementById('a').hasAttribute('width')")
    assert value(page, "a", "[element.width, element.height]") == [100, 67]
    assert not value(page, "a", "element.hasAttribute('height')")


def test_the_first_look_has_the_size_of_the_picture(show: Callable[[str], Any]) -> None:
    page = show("")
    script = """() => new Promise(resolve => {
        const image = Object.assign(document.createElement("img"), { src: "photo.lapic" });
        image.addEventListener("load", () => resolve([image.naturalWidth, image.width, image.height]), { once: true });
        document.querySelector("main").append(image);
    })"""
    assert page.evaluate(script) == [21, 163, 109]


def test_the_width_of_the_page_stays(show: Callable[[str], Any]) -> None:
    page = show('<img id="a" src="photo.lapic">')
    page.wait_for_function(WHOLE)
    page.evaluate("() => { Object.assign(document.getElementById('a'), { width: 300, src: 'dots.lapic' }); }")
    page.wait_for_function("() => document.getElementById('a').naturalWidth === 50")
    assert value(page, "a", "[element.width, element.height]") == [300, 198]


@pytest.mark.parametrize(
    "body",
    [
        '<picture><source srcset="icon.svg" type="image/svg+xml"><img id="a" src="photo.lapic"></picture>',
        '<img id="a" src="photo.lapic" srcset="icon.svg 1x">',
    ],
)
def test_another_source_that_the_browser_chose_stays(body: str, show: Callable[[str], Any]) -> None:
    page = show(body)
    hear(page, "a", "load")
    show_after(page, "dots.lapic")
    assert value(page, "a", "element.src").endswith("/photo.lapic")
    assert value(page, "a", "element.currentSrc").endswith("/icon.svg")


def test_a_source_that_the_browser_does_not_know_is_passed_over(show: Callable[[str], Any]) -> None:
    page = show('<picture><source srcset="a.new" type="image/x-new"><img id="a" src="photo.lapic"></picture>')
    page.wait_for_function(WHOLE)


def test_a_lazy_img_waits_until_it_is_near(show: Callable[[str], Any]) -> None:
    page = show('<p style="height: 9000px"></p><img id="a" src="photo.lapic" loading="lazy">')
    show_after(page, "dots.lapic")
    assert value(page, "a", "[element.naturalWidth, element.src.endsWith('/photo.lapic')]") == [0, True]
    page.evaluate("() => document.getElementById('a').scrollIntoView()")
    page.wait_for_function(WHOLE)


@pytest.mark.parametrize(("text", "realism"), [("2", 1), ("x", 0)])
def test_realism_is_limited_as_that_of_the_element(text: str, realism: float, show: Callable[[str], Any]) -> None:
    page = show(f'<img id="a" src="photo.lapic" data-realism="{text}">')
    page.wait_for_function(WHOLE)
    assert np.abs(pixels(page, "a") - reference.decode(PHOTO, realism=realism)).max() <= 1


def show_after(page: Any, name: str) -> None:
    """Show another file above, which the worker decodes after all that was asked for before."""
    script = """async name => {
        const image = Object.assign(document.createElement("lapic-image"), { src: name });
        document.querySelector("main").prepend(image);
        await image.decode();
    }"""
    page.evaluate(script, name)
