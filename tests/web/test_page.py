"""The page in a headless Chromium, as `lapic view` serves it, by hand and by keyboard."""

import base64
import io
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lapic
from lapic.codec.command.serve import PageServer, Site, page_folder
from lapic.codec.selftest import GOLDEN
from tests.web import reference

PHOTO = (GOLDEN / "photo-q90-tiles.lapic").read_bytes()
DAMAGED = {  # files that the command refuses as well
    "empty": b"",
    "foreign": b"GIF89a, or something else",
    "truncated": PHOTO[: len(PHOTO) // 2],
    "header": PHOTO[:12] + bytes([PHOTO[12] ^ 1]) + PHOTO[13:],
    "tile": PHOTO[:-40] + bytes([PHOTO[-40] ^ 16]) + PHOTO[-39:],
    "longer": PHOTO + b"and more",
    "newer": PHOTO[:8] + b"\x01" + PHOTO[9:],
}
NO_PHOTOS = {  # name, contents, sentence
    "empty": ("empty.jpg", b"", "the file is empty"),
    "text": ("text.png", b"no picture at all", "not a picture that this browser can open"),
    "truncated": ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a picture that this browser can open"),
}
WAIT = 60_000  # ms, for a machine that is busy


class Page:
    """A page of `lapic view`, with all that it asked for and complained about."""

    def __init__(self, chromium: Any, address: str, **settings: Any) -> None:
        self.context = chromium.new_context(**settings)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.address = address
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)

    def open(self, *files: tuple[str, bytes]) -> None:
        """Choose files, and wait until the first is shown or refused."""
        given = [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files]
        self.page.locator("#files").set_input_files(given)
        self.page.locator("#name", has_text=files[0][0]).wait_for()
        self.settle()

    def settle(self) -> None:
        self.page.locator("#progress").wait_for(state="hidden")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def sizes(self) -> dict[str, int]:
        """The bytes in the table, by the names of their rows."""
        rows = self.page.locator("#panel tbody tr").all()
        found = {row.locator("th").inner_text(): row.locator("td").first.get_attribute("title") for row in rows}
        return {name: int(re.sub(r"\D", "", text)) for name, text in found.items()}

    def canvas(self) -> np.ndarray:
        """What the canvas shows, (h, w, 3), once it is drawn."""
        script = """() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(
            () => resolve(document.querySelector("#view canvas").toDataURL()))))"""
        data = base64.b64decode(self.page.evaluate(script).partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def saved(self, button: str) -> tuple[str, bytes]:
        """Name and bytes of what a button saves."""
        with self.page.expect_download() as waiting:
            self.page.locator(button).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def set_slider(self, name: str, value: float) -> None:
        self.page.locator(f"#{name}").fill(str(value))
        self.page.wait_for_timeout(400)  # more than the pause before work begins
        self.settle()


@pytest.fixture(scope="module")
def server(chromium: Any) -> Iterator[PageServer]:
    with PageServer(Site(page_folder(), [GOLDEN / "photo-q10.lapic", GOLDEN / "grey-q50.lapic"])) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def page(chromium: Any, server: PageServer) -> Iterator[Page]:
    page = Page(chromium, f"{server.address}index.html")
    yield page
    assert not page.complaints
    page.context.close()


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> bytes:
    stream = io.BytesIO()
    photo.crop((60, 20, 236, 164)).save(stream, "PNG")
    return stream.getvalue()


def assert_shows(png: bytes, data: bytes, **view: float) -> None:
    """A saved picture is that of a .lapic file, but for rounding."""
    with Image.open(io.BytesIO(png)) as image:
        found = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(found - reference.decode(data, **view)).max() <= 1


def test_an_empty_page_says_what_to_do(chromium: Any, server: PageServer) -> None:
    page = Page(chromium, f"{server.address}index.html")
    assert "Drop photos or .lapic files here" in page.text("#stage")
    assert not page.page.locator("#panel").is_visible()
    assert not page.page.locator("#view").is_visible()
    page.context.close()


def test_a_photo_is_made_a_file_that_decodes_to_what_is_shown(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    sizes = page.sizes()
    name, data = page.saved("#save")
    assert (name, len(data)) == ("photo.lapic", sizes["lapic"])
    assert sizes["Original"] == len(small) > len(data)
    name, shown = page.saved("#save-picture")
    assert name == "photo.png"
    assert_shows(shown, data)
    assert lapic.info(data)["quality"] == 50
    assert "Checksums match (1 tile)" in page.text("#checksum")
    assert page.text("#status").startswith("photo.png: quality 50, ")


def test_a_lower_quality_is_a_smaller_file(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    before = page.sizes()["lapic"]
    page.set_slider("quality", 20)
    assert page.sizes()["lapic"] < before
    assert lapic.info(page.saved("#save")[1])["quality"] == 20
    page.set_slider("quality", 50)
    assert page.sizes()["lapic"] == before


@pytest.mark.parametrize(("peer", "form"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF")])
def test_peers_have_at_most_as_many_bytes(peer: str, form: str, page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.page.locator(".pane.left select").select_option(peer)
    page.page.locator("#panel tbody tr", has_text=re.compile(f"^{form}", re.IGNORECASE)).wait_for()
    page.settle()
    sizes = {name.upper(): size for name, size in page.sizes().items()}
    assert 0.6 * sizes["LAPIC"] < sizes[form] <= sizes["LAPIC"]
    page.page.locator(".pane.left select").select_option("original")


def test_realism_is_compared_with_none(page: Page) -> None:
    data = (GOLDEN / "photo-q10.lapic").read_bytes()
    page.open(("photo-q10.lapic", data))
    assert not page.page.locator("#divider").is_visible()
    assert not page.page.locator("#quality").is_visible()
    faithful = page.saved("#save-picture")[1]
    page.set_slider("realism", 1)
    assert page.page.locator("#divider").is_visible()
    realistic = page.saved("#save-picture")[1]
    page.set_slider("realism", 0)
    assert_shows(faithful, data)
    assert_shows(realistic, data, realism=1)


def test_facts_and_metadata_are_shown(page: Page) -> None:
    data = (GOLDEN / "metadata-q30.lapic").read_bytes()
    page.open(("metadata.lapic", data))
    page.page.locator("summary").click()
    facts = lapic.info(data)
    text = page.text("#panel dl")
    for part in (f"{facts['width']} x {facts['height']}", facts["model"]["id"], "ICC profile, EXIF, XMP", "one tile"):
        assert part in text
    page.page.locator("summary").click()


@pytest.mark.parametrize(("profile", "said"), [
    (b"no profile at all", "sRGB: the ICC profile cannot be read"),
    (bytes(16) + b"RGB ".ljust(20) + b"acsp" + bytes(92), "ICC profile without a name, converted to sRGB"),
])  # fmt: skip
def test_what_became_of_a_profile_is_said(profile: bytes, said: str, page: Page) -> None:
    with Image.open(GOLDEN / "photo-q10.lapic.png") as image:
        picture = image.convert("RGB")
    picture.info["icc_profile"] = profile
    page.open(("profile.lapic", lapic.encode(picture, effort=0)))
    page.page.locator("summary").click()
    assert said in page.text("#panel dl")
    page.page.locator("summary").click()


def test_regions_are_shown(page: Page) -> None:
    page.open(("regions.lapic", (GOLDEN / "regions-q40.lapic").read_bytes()))
    page.page.locator("summary").click()
    assert "86 % of the picture at up to quality 69.86" in page.text("#panel dl")
    page.page.locator("summary").click()


def test_files_are_dropped_anywhere(page: Page, small: bytes) -> None:
    script = """text => {
        const data = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([data], "dropped.png"));
        const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
        return document.querySelector("header").dispatchEvent(drop);
    }"""
    assert page.page.evaluate(script, base64.b64encode(small).decode()) is False, "or the browser would leave the page"
    page.page.locator("#name", has_text="dropped.png").wait_for()
    page.settle()
    assert page.sizes()["Original"] == len(small)


MOVE_ON_AT_ONCE = """([first, second]) => new Promise(resolve => {
    const slider = document.querySelector("#quality"), progress = document.querySelector("#progress");
    const move = value => { slider.value = value; slider.dispatchEvent(new Event("input", { bubbles: true })); };
    new MutationObserver((_, observer) => {
        if (progress.hidden) return;
        observer.disconnect();
        move(second);
        resolve();
    }).observe(progress, { attributes: true });
    move(first);
})"""


def test_what_is_saved_has_the_quality_that_is_shown(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.set_slider("quality", 20)
    page.page.locator("#quality").fill("90")
    assert page.page.locator("#save").is_disabled()
    assert page.page.locator("#save-picture").is_disabled()
    page.page.wait_for_function("() => !document.querySelector('#save').disabled")
    page.settle()
    _, data = page.saved("#save")
    assert lapic.info(data)["quality"] == 90
    assert page.text("#panel tbody tr:has-text('lapic') td:nth-of-type(2)") == "90"


def test_the_fast_encoder_has_the_qualities_of_its_model(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.set_slider("quality", 80)
    for encoder, model, quality in (("fast", "fast", 60), ("auto", "eye", 60)):
        page.page.locator("#encoder").select_option(encoder)
        page.page.wait_for_function("() => !document.querySelector('#save').disabled")
        page.settle()
        info = lapic.info(page.saved("#save")[1])
        assert (info["model"]["name"], info["quality"]) == (model, quality)
        assert page.text("#quality-value") == "60"
    page.set_slider("quality", 80)
    assert lapic.info(page.saved("#save")[1])["model"]["name"] == "eye-high"


def test_what_is_saved_is_of_the_encoder_that_is_shown(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    assert page.page.evaluate("""() => {
        const encoder = document.querySelector("#encoder");
        encoder.value = "fast";
        encoder.dispatchEvent(new Event("change"));
        return document.querySelector("#save").disabled;
    }""")
    page.page.wait_for_function("() => !document.querySelector('#save').disabled")
    page.settle()
    page.open(("other.png", small))
    assert lapic.info(page.saved("#save")[1])["model"]["name"] == "fast"
    page.page.locator("#encoder").select_option("auto")
    page.page.wait_for_function("() => !document.querySelector('#save').disabled")
    page.settle()


def test_sliders_that_move_together_are_both_heard(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.page.locator("#quality").fill("30")
    page.set_slider("realism", 0.5)
    assert (page.text("#quality-value"), page.text("#realism-value")) == ("30", "0.5")
    assert lapic.info(page.saved("#save")[1])["quality"] == 30
    page.set_slider("realism", 0)


HOLD_READING = """() => {
    globalThis.timers = [];
    const pauses = setTimeout;
    globalThis.setTimeout = (act, ms) => ms === 200 ? timers.push(act) : pauses(act, ms);
    const released = new Promise(resolve => { globalThis.release = resolve; });
    const slow = (owner, name) => {
        const read = owner[name];
        owner[name] = async function (...given) {
            if ((given[0] ?? this).size > 8) await released;
            return read.apply(this, given);
        };
    };
    slow(globalThis, "createImageBitmap");
    slow(Blob.prototype, "arrayBuffer");
}"""


@pytest.mark.parametrize(("kind", "name", "label"), [
    ("photo", "next.png", "176 x 144"), ("lapic", "next.lapic", "163 x 109"), ("empty", "next.jpg", ""),
])  # fmt: skip
def test_a_slider_that_moved_before_another_file_leaves_it(
    kind: str, name: str, label: str, chromium: Any, server: PageServer, small: bytes
) -> None:
    data = {"photo": small, "lapic": (GOLDEN / "photo-q10.lapic").read_bytes(), "empty": b""}[kind]
    guest = Page(chromium, f"{server.address}index.html")
    guest.open(("photo.png", small))
    guest.page.evaluate(HOLD_READING)
    for slider in ("quality", "realism"):
        guest.page.locator(f"#{slider}").press("ArrowRight")
    guest.page.locator("#files").set_input_files([{"name": name, "mimeType": "", "buffer": data}])
    guest.page.locator("#name", has_text=name).wait_for()
    assert guest.page.evaluate("() => timers.length") == 2, "both sliders wait before they act"
    guest.page.evaluate("() => timers.forEach(act => act())")
    guest.page.evaluate("() => release()")
    if kind == "empty":
        guest.page.locator("#error", has_text="the file is empty").wait_for()
    else:
        guest.page.locator("#status", has_text=f"{name}: ").wait_for(state="attached")
        assert not guest.page.locator("#error").is_visible()
        assert label in guest.page.locator("#view canvas").get_attribute("aria-label")
    assert guest.text("#quality-value") == "51"
    guest.context.close()


def test_a_file_that_is_looked_at_leaves_the_quality_of_the_next_photo(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.set_slider("quality", 25)
    page.open(("photo-q10.lapic", (GOLDEN / "photo-q10.lapic").read_bytes()))
    page.open(("photo.png", small))
    assert lapic.info(page.saved("#save")[1])["quality"] == 25


def test_a_peer_that_fails_stops_no_other(chromium: Any, server: PageServer, small: bytes) -> None:
    guest = Page(chromium, f"{server.address}index.html")
    guest.page.route("**/avif-worker.js", lambda route: route.abort())
    guest.open(("photo.png", small))
    right = guest.page.locator(".pane.right select")
    right.select_option("avif")
    guest.page.locator("#error", has_text="the AVIF encoder cannot be loaded").wait_for()
    right.select_option("jpeg")
    guest.page.locator("#panel tbody tr", has_text="JPEG").wait_for()
    assert not guest.page.locator("#error").is_visible()
    guest.context.close()


def test_pictures_of_a_folder_that_is_dropped_are_opened(
    chromium: Any, server: PageServer, small: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in (("b.png", small), ("a.lapic", PHOTO), ("notes.txt", b"text")):
        (folder / name).write_bytes(data)
    guest = Page(chromium, f"{server.address}index.html")
    session = guest.context.new_cdp_session(guest.page)
    drag = {"x": 200, "y": 200, "data": {"items": [], "files": [str(folder)], "dragOperationsMask": 1}}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind} | drag)
    guest.page.locator("#name", has_text="a.lapic").wait_for()
    names = [button.get_attribute("aria-label") for button in guest.page.locator("#strip button").all()]
    assert names == ["a.lapic", "b.png"]
    guest.context.close()


@pytest.mark.parametrize(("address", "sentence"), [
    ("http://[", "http://[: not the address of a file"), ("", "open=: not the address of a file"),
    ("&list=http://[", "http://[: not the address of a list"),
    ("%25ZZ.lapic", "%ZZ.lapic: cannot be read: the server answers 404"), ("data:text/plain,x", "of this site alone"),
])  # fmt: skip
def test_a_wrong_link_is_one_sentence(address: str, sentence: str, chromium: Any, server: PageServer) -> None:
    guest = Page(chromium, f"{server.address}index.html#open={address}")
    guest.page.locator("#error", has_text=sentence).wait_for()
    assert "unexpected" not in guest.text("#error")
    guest.context.close()


def test_the_picture_has_the_focus_of_the_button_that_opened_it(
    chromium: Any, server: PageServer, small: bytes
) -> None:
    guest = Page(chromium, f"{server.address}index.html")
    guest.page.locator("#choose-first").focus()
    guest.open(("photo.png", small))
    assert guest.page.evaluate("() => document.activeElement.id") == "view"
    guest.context.close()


def test_a_slider_that_moves_on_ends_the_work_before(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.page.evaluate(MOVE_ON_AT_ONCE, ["35", "12"])
    page.set_slider("quality", 12)
    assert lapic.info(page.saved("#save")[1])["quality"] == 12
    assert not page.page.locator("#error").is_visible()
    page.set_slider("quality", 50)


def test_zoom_and_pan_by_mouse(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    box = page.page.locator("#view").bounding_box()
    x, y = box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 + 50
    level = page.page.locator("#zoom-level")
    page.page.mouse.move(x, y)
    for _ in range(10):
        page.page.mouse.wheel(0, -200)
    level.filter(has_text=re.compile(r"^[1-9]\d{3} %$")).wait_for()
    before = page.canvas()
    page.page.mouse.down()
    page.page.mouse.move(x - 80, y - 30)
    page.page.mouse.up()
    assert not np.array_equal(page.canvas(), before)
    for _ in range(10):
        page.page.mouse.wheel(0, 300)
    level.filter(has_text="100 %").wait_for()


def test_zoom_and_divider_by_keyboard(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.page.locator("#view").focus()
    for key, level in (("1", "100 %"), ("+", "150 %"), ("+", "225 %"), ("-", "150 %"), ("0", "100 %")):
        page.page.keyboard.press(key)
        page.page.locator("#zoom-level", has_text=level).wait_for()
    divider = page.page.locator("#divider")
    divider.focus()
    for key, value in (("End", "100"), ("ArrowLeft", "98"), ("Home", "0"), ("PageUp", "10")):
        page.page.keyboard.press(key)
        assert divider.get_attribute("aria-valuenow") == value


def test_the_divider_shows_the_left_picture_on_its_left(page: Page, small: bytes) -> None:
    page.open(("photo.png", small))
    page.page.locator("#divider").press("Home")
    for _ in range(5):
        page.page.locator("#divider").press("PageUp")
    page.page.locator("#zoom-level", has_text="100 %").wait_for()
    shown = page.canvas()
    top, left_edge = (round(length / 2) - half for length, half in zip(shown.shape, (72, 88), strict=False))
    found = shown[top + 30, left_edge : left_edge + 176]
    left, right = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[30] for data in (small, page.saved("#save-picture")[1])
    )
    assert np.array_equal(found[:87], left[:87])
    assert np.array_equal(found[89:], right[89:])
    assert np.abs(left.astype(int) - right).max() > 4


def assert_refused(page: Page, sentence: str) -> None:
    assert page.text("#error") == sentence
    for part in ("#view", "#panel", "#divider", ".pane.left", ".pane.right", "#progress"):
        assert not page.page.locator(part).is_visible(), part


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_gets_the_sentence_of_the_command(kind: str, page: Page) -> None:
    with pytest.raises(lapic.Error) as refused:
        lapic.decode(DAMAGED[kind])
    page.open((f"{kind}.lapic", DAMAGED[kind]))
    assert_refused(page, f"{kind}.lapic: {refused.value}")


@pytest.mark.parametrize("kind", NO_PHOTOS)
def test_what_is_no_photo_gets_a_sentence(kind: str, page: Page) -> None:
    name, data, sentence = NO_PHOTOS[kind]
    page.open((name, data))
    assert_refused(page, f"{name}: {sentence}")


def test_the_page_goes_on_after_an_error(page: Page, small: bytes) -> None:
    page.open(("damaged.lapic", DAMAGED["tile"]))
    page.open(("photo.png", small))
    assert not page.page.locator("#error").is_visible()
    assert page.page.locator("#view").is_visible()


def test_files_of_a_link_are_opened_and_chosen_from(page: Page, server: PageServer) -> None:
    page.page.evaluate("() => void (location.hash = 'list=list.json')")
    page.page.locator("#name", has_text="photo-q10.lapic").wait_for()
    page.settle()
    buttons = [
        page.page.locator(f'#strip button[aria-label="{name}"]').last for name in ("photo-q10.lapic", "grey-q50.lapic")
    ]
    assert [button.get_attribute("aria-current") for button in buttons] == ["true", None]
    buttons[1].click()
    page.page.locator("#name", has_text="grey-q50.lapic").wait_for()
    page.settle()
    assert [button.get_attribute("aria-current") for button in buttons] == [None, "true"]


def test_no_request_leaves_the_site(page: Page, small: bytes, chromium: Any, server: PageServer) -> None:
    """Nothing asks for anything but the page's own files; and the browser would refuse."""
    page.open(("photo.png", small))
    page.open(("photo-q10.lapic", (GOLDEN / "photo-q10.lapic").read_bytes()))
    page.set_slider("realism", 1)
    page.set_slider("realism", 0)
    assert any("realism" in url for url in page.requests)
    assert {url for url in page.requests if not url.startswith((server.address, "blob:", "data:"))} == set()
    asked: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, args=[0.01], daemon=True).start()
        elsewhere = f"http://127.0.0.1:{other.server_port}/photo.lapic"
        guest = Page(chromium, f"{server.address}index.html#open={elsewhere}")
        guest.page.locator("#error", has_text="photo.lapic: links open files of this site alone").wait_for()
        attempts = f"""async () => {{
            const image = new Image();
            image.src = "{elsewhere}";
            await image.decode().catch(() => {{}});
            return fetch("{elsewhere}").then(() => "answered", () => "refused");
        }}"""
        assert guest.page.evaluate(attempts) == "refused"
        guest.context.close()
        other.shutdown()
    assert asked == []


def test_every_control_has_a_name_and_is_reached_by_tab(page: Page, small: bytes) -> None:
    page.open(("photo.png", small), ("other.png", small))
    tree = page.page.locator("body").aria_snapshot()
    for control in (
        'button "Open…"', 'slider "Quality"', 'combobox "Encoder"', 'slider "Realism"', 'combobox "Left picture"',
        'combobox "Right picture"',
        'slider "Divider between the left and the right picture"', 'button "Zoom in"', 'button "Save photo.lapic"',
        'button "other.png"', 'img "photo.png, 176 x 144 pixels"', 'navigation "Open files"',
    ):  # fmt: skip
        assert control in tree, control
    page.page.locator("#choose").focus()
    reached = []
    for _ in range(14):
        page.page.keyboard.press("Tab")
        reached.append(page.page.evaluate("() => document.activeElement.id || document.activeElement.localName"))
    assert reached == [
        "view", "divider", "select", "select", "zoom-out", "zoom-in", "zoom-fit", "zoom-pixels", "quality", "encoder",
        "realism", "save", "save-picture", "summary",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(width: int, page: Page, small: bytes) -> None:
    page.page.set_viewport_size({"width": width, "height": 700})
    page.open((f"{60 * 'long'}.png", small))
    assert page.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    panes = [page.page.locator(f".pane.{side}").bounding_box() for side in ("left", "right")]
    assert panes[0]["x"] + panes[0]["width"] <= panes[1]["x"]
