"""What a page loads, and what it says where something cannot be loaded."""

from collections.abc import Callable

import pytest

from lapic.codec.selftest import GOLDEN
from tests.web.pages import Browser, to_text

TEXT = to_text((GOLDEN / "pixel-q1.lapic").read_bytes())
DECODE = """async ([data]) =>
    lapic.decode(fromBase64(data)).then(image => image.width, error => [error.name, error.message])"""


@pytest.fixture
def page(open_page: Callable[..., Browser]) -> Browser:
    return open_page()


def test_nothing_is_loaded_before_it_is_needed(page: Browser) -> None:
    assert {url.split("/")[-1] for url in page.requests} == {"blank.html", "lapic.js"}
    page.call("async () => lapic.prepare()")
    fetched = {url.split("/")[-1] for url in page.requests if "/packs/" in url}
    assert fetched == {"packs.json", "filter.onnx"}
    page.call(DECODE, TEXT)
    names = [url.split("/")[-1] for url in page.requests]
    assert "features.onnx" in names
    assert not {"analysis.onnx", "hyper-analysis.onnx", "realism.onnx"} & set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("**/packs.json", "the model cannot be loaded: packs.json: it cannot be reached"),
        ("**/features.onnx", "features.onnx: it cannot be reached"),
        ("**/lapic-worker.js", "the worker of lapic ended"),
        ("**/ort-wasm*.wasm", "the runtime cannot be loaded: "),
    ],
)
def test_what_cannot_be_loaded_is_said_and_tried_again(page: Browser, pattern: str, sentence: str) -> None:
    page.page.route(pattern, lambda route: route.abort())
    name, message = page.call(DECODE, TEXT)
    assert name == "LapicError"
    assert sentence in message
    assert "\n" not in message
    page.page.unroute(pattern)
    assert page.call(DECODE, TEXT) == 1


def test_a_damaged_pack_is_noticed(page: Browser) -> None:
    page.page.route("**/features.onnx", lambda route: route.fulfill(body=b"no graph"))
    assert "is damaged: features.onnx has 8 bytes" in page.call(DECODE, TEXT)[1]
    page.page.route("**/tables.bin", lambda route: route.fulfill(body=b"no table"))
    page.call("async () => { globalThis.lapic = await import('/lapic.js?again'); }")
    assert "is damaged: tables.bin has 8 bytes" in page.call(DECODE, TEXT)[1]


def test_a_server_that_refuses_is_quoted(page: Browser) -> None:
    page.page.route("**/tables.bin", lambda route: route.fulfill(status=403, body=b""))
    assert page.call(DECODE, TEXT)[1].endswith("tables.bin: the server says 403")


def test_a_worker_of_another_site_cannot_be_started(page: Browser) -> None:
    page.call("async () => lapic.configure({ base: 'http://localhost:1/' })")
    name, message = page.call(DECODE, TEXT)
    assert name == "LapicError"
    assert message.startswith("the worker of lapic cannot be started: ")
