"""Pictures of the page for docs/WEB.md, after `make web`, with Chromium.

python benchmarks/web_page.py docs/
"""

import argparse
import io
import shutil
import threading
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from lapic.codec.command.serve import PageServer, Site, page_folder

EXAMPLES = Path(__file__).parents[1] / "examples"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, PHONE = (1120, 720), (390, 780)
GAP = 24
WAIT = 300_000  # ms


def settle(page: Any) -> None:
    page.wait_for_timeout(600)  # longer than the pause after a slider's move
    page.locator("#progress").wait_for(state="hidden")
    page.wait_for_timeout(200)


def shot(page: Any, size: tuple[int, int], scheme: str) -> Image.Image:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("() => document.activeElement.blur()")
    page.wait_for_timeout(400)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def beside(*pictures: Image.Image) -> Image.Image:
    """Pictures of one size in a row."""
    width, height = pictures[0].size
    row = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "#808080")
    for number, picture in enumerate(pictures):
        row.paste(picture, (number * (width + GAP), 0))
    return row


def main(folder: Path) -> None:
    site = Site(
        page_folder(), [EXAMPLES / name for name in ("coffee.png", "chelsea.png", "astronaut.png", "rocket.jpg")]
    )
    with PageServer(site) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page()
        page.set_default_timeout(WAIT)
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        page.goto(server.address)
        page.locator("#name", has_text="coffee").wait_for()
        settle(page)
        page.locator("#quality").fill("22")
        settle(page)
        light = shot(page, DESKTOP, "light")
        phone_light = shot(page, PHONE, "light")
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        page.locator(".pane.left select").select_option("jpeg")
        settle(page)
        for _ in range(2):
            page.locator("#zoom-in").click()
        dark = shot(page, DESKTOP, "dark")
        with page.expect_download() as waiting:
            page.locator("#save").click()
        data = Path(waiting.value.path()).read_bytes()
        given = {"name": "coffee.lapic", "mimeType": "application/octet-stream", "buffer": data}
        page.locator("#files").set_input_files([given])
        page.locator("#name", has_text="coffee.lapic").wait_for()
        settle(page)
        page.locator("#realism").fill("1")
        settle(page)
        phone_dark = shot(page, PHONE, "dark")
    beside(light, dark).save(folder / "web-desktop.jpg", quality=85)
    beside(phone_light, phone_dark).save(folder / "web-phone.jpg", quality=85)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where web-desktop.jpg and web-phone.jpg are written")
    main(parser.parse_args().folder)
