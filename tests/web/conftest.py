"""The module of web/dist in a headless Chromium, served from this machine."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.web.elements import SCRIPT, Site
from tests.web.pages import DIST, ISOLATED, Browser, Handler

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if not (DIST / "lapic.js").is_file() or not (DIST / "packs" / "packs.json").is_file():
        pytest.skip("the module is not built: make web")
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(chromium: Any) -> Iterator[Callable[..., Browser]]:
    """Opens a page, cross-origin isolated or not."""
    servers = []

    def opened(isolated: bool = False) -> Browser:
        handler = functools.partial(Handler, headers=ISOLATED if isolated else {})
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return Browser(chromium.new_page(), f"http://127.0.0.1:{servers[-1].server_port}")

    yield opened
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser(open_page: Callable[..., Browser]) -> Browser:
    return open_page()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a page whose body is `Site.body`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Site, headers={}))
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/page.html"
    server.shutdown()
    server.server_close()


@pytest.fixture
def visit(chromium: Any, site: str) -> Iterator[Callable[[str], Any]]:
    """Opens a page with this body, whose worker has not started yet."""
    pages = []

    def visited(body: str) -> Any:
        pages.append(chromium.new_page())
        pages[-1].set_default_timeout(60_000)
        Site.body = body
        pages[-1].goto(site)
        return pages[-1]

    yield visited
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def show(chromium: Any, site: str) -> Iterator[Callable[[str], Any]]:
    """Shows a body in one page, whose worker serves all bodies."""
    page = chromium.new_page()
    page.set_default_timeout(60_000)
    Site.body = f"<main></main>{SCRIPT}"
    page.goto(site)

    def shown(body: str) -> Any:
        page.evaluate("body => { heard.length = 0; document.querySelector('main').innerHTML = body; }", body)
        return page

    yield shown
    page.close()
