"""The module and the element in Firefox, without a driver: a page does the work and posts what it found."""

import base64
import functools
import http.server
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lapic
from lapic.codec.picture.colour import PRIMARIES, SRGB_CURVE, power_curve, rgb_profile
from lapic.codec.selftest import GOLDEN, golden
from tests.web import reference
from tests.web.elements import FILES
from tests.web.pages import DIST, ISOLATED, PRELUDE, Handler, pixels, to_text

FIREFOX = shutil.which("firefox") or shutil.which("firefox-esr")
SECONDS = 180  # for a machine that is busy
NAMES = sorted(golden())
PHOTO = GOLDEN / "photo-q10.lapic"
WORK = """
const { files, realistic, profiled, grey, wide, photo } = await (await fetch("/inputs.json")).json();
const decode = (text, options) => lapic.decode(fromBase64(text), options).then(shown);
const found = { isolated: crossOriginIsolated, golden: {} };
for (const [name, text] of Object.entries(files)) found.golden[name] = await decode(text, {});
found.realistic = await decode(realistic, { realism: 1 });
found.srgb = await decode(profiled, {});
found.raw = await decode(profiled, { colorSpaceConversion: "none" });
found.grey = { srgb: await decode(grey, {}), raw: await decode(grey, { colorSpaceConversion: "none" }) };
found.wide = [...(await lapic.decode(fromBase64(wide))).data.slice(0, 4)];
const image = new ImageData(new Uint8ClampedArray(fromBase64(photo.data)), photo.width, photo.height);
found.file = toBase64(await lapic.encode(image, { quality: 40 }));
await import("/lapic-loader.js");
const load = (kind, loads) => new Promise((resolve, reject) => {
  const element = Object.assign(document.createElement(kind), { src: "/input.lapic" });
  element.addEventListener("load", () => --loads || resolve(element));
  if (kind === "lapic-image") element.addEventListener("error", ({ message }) => reject(new Error(message)));
  document.body.append(element);
});
const element = await load("lapic-image", 1);
found.element = [element.naturalWidth, element.naturalHeight];
const tall = Object.assign(document.createElement("lapic-image"), { src: "/tall.lapic" });
document.body.append(tall);
found.tall = await tall.decode().then(() => "", error => error.message);
const img = await load("img", 2);
found.img = [img.naturalWidth, img.naturalHeight];
"""
PAGE = f"""<!doctype html><link rel="icon" href="data:,"><title>test</title><body><script type="module">
const post = found => fetch("/found", {{ method: "POST", body: JSON.stringify(found) }});
try {{ {PRELUDE} {WORK} await post(found); }} catch (error) {{ await post({{ error: String(error) }}); }}
</script></body>"""


class Work(Handler):
    """Serves the module, the page with its inputs, and hears what it found."""

    def __init__(self, *arguments: Any, inputs: dict[str, Any], heard: queue.Queue[Any], **named: Any) -> None:
        self.inputs, self.heard = inputs, heard
        super().__init__(*arguments, **named)

    def do_GET(self) -> None:
        answers = {
            "/work.html": ("text/html", PAGE.encode()),
            "/inputs.json": ("application/json", json.dumps(self.inputs).encode()),
            "/input.lapic": ("application/octet-stream", PHOTO.read_bytes()),
            "/tall.lapic": ("application/octet-stream", FILES["tall.lapic"]),
        }
        if self.path not in answers:
            return super().do_GET()
        kind, body = answers[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)
        return None

    def do_POST(self) -> None:
        self.heard.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    photo = Image.open(f"{PHOTO}.png").convert("RGBA")
    coloured, grey, wide = photo.convert("RGB"), photo.convert("L").convert("RGB"), Image.new("RGB", (70_000, 1), "red")
    coloured.info["icc_profile"] = wide.info["icc_profile"] = rgb_profile(PRIMARIES[12], SRGB_CURVE)  # Display P3
    grey.info["icc_profile"] = rgb_profile(PRIMARIES[12], power_curve(1.0))
    return {
        "files": {name: to_text((GOLDEN / name).read_bytes()) for name in NAMES},
        "realistic": to_text(PHOTO.read_bytes()),
        "profiled": to_text(lapic.encode(coloured, effort=0)),
        "grey": to_text(lapic.encode(grey, effort=0)),
        "wide": to_text(lapic.encode(wide, effort=0)),
        "photo": {"data": to_text(photo.tobytes()), "width": photo.width, "height": photo.height},
    }


@pytest.fixture(scope="module")
def found(inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a page in Firefox found."""
    if not (DIST / "packs" / "packs.json").is_file():
        pytest.skip("the module is not built: make web")
    if not FIREFOX:
        pytest.skip("no Firefox here")
    heard: queue.Queue[Any] = queue.Queue()
    handler = functools.partial(Work, inputs=inputs, heard=heard, headers=ISOLATED)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = tmp_path_factory.mktemp("firefox")
    address = f"http://127.0.0.1:{server.server_port}/work.html"
    process = subprocess.Popen(
        [FIREFOX, "--headless", "--no-remote", "--profile", home, address],
        env={**os.environ, "HOME": str(home), "MOZ_HEADLESS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield heard.get(timeout=SECONDS)
    except queue.Empty:
        pytest.fail(f"Firefox found nothing in {SECONDS} s; its exit code is {process.poll()}")
    finally:
        process.terminate()
        process.wait(SECONDS)
        server.shutdown()
        server.server_close()


def test_golden_files_give_their_pixels(found: dict[str, Any]) -> None:
    assert "error" not in found, found
    assert found["isolated"], "or there are no threads"
    for name in NAMES:
        expected = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB")).astype(int)
        assert np.abs(pixels(found["golden"][name])[..., :3] - expected).max() <= 1, name


def test_realism_and_colours_are_those_of_the_codec(found: dict[str, Any]) -> None:
    realistic = reference.decode(PHOTO.read_bytes(), realism=1)
    assert np.abs(pixels(found["realistic"])[..., :3] - realistic).max() <= 1
    change = np.abs(pixels(found["srgb"]) - pixels(found["raw"]))
    assert change[..., :3].max() > 10
    assert change[..., 3].max() == 0


def test_a_grey_picture_with_a_profile_of_colours_is_converted(found: dict[str, Any]) -> None:
    shown, raw = (pixels(found["grey"][kind])[..., :3] for kind in ("srgb", "raw"))
    assert np.abs(shown - raw).max() > 10


def test_a_picture_that_no_canvas_holds_is_converted_or_gets_a_sentence(found: dict[str, Any]) -> None:
    red, _, blue, alpha = found["wide"]
    assert red > 250
    assert blue < 40
    assert alpha == 255
    assert found["tall"] == "this browser has no pictures of 16 x 70000: show a smaller one"


def test_a_photo_is_made_a_file(found: dict[str, Any], inputs: dict[str, Any]) -> None:
    data = base64.b64decode(found["file"])
    assert lapic.info(data)["quality"] == 40
    with Image.open(f"{PHOTO}.png") as photo:
        error = np.asarray(lapic.decode(data)).astype(int) - np.asarray(photo.convert("RGB"))
    assert np.square(error).mean() < 60


def test_elements_show_pictures(found: dict[str, Any]) -> None:
    assert found["element"] == found["img"] == list(Image.open(f"{PHOTO}.png").size)
