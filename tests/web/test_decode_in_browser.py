"""Files decoded in a page: the golden ones, at 1/8 of the size, with realism, in threads; cancelled and in a queue."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

import lapic
from lapic.codec.decode.realism import REALISM
from lapic.codec.selftest import GOLDEN, golden
from tests.web import reference
from tests.web.pages import Browser, pixels, to_text

NAMES = sorted(golden())
PHOTO = (GOLDEN / "photo-q90-tiles.lapic").read_bytes()
DECODE = "async ([data, options]) => shown(await lapic.decode(fromBase64(data), options))"


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_gives_its_pixels(browser: Browser, name: str) -> None:
    """A decode that succeeds has found the symbols' checksums right."""
    data = (GOLDEN / name).read_bytes()
    found = pixels(browser.call(DECODE, to_text(data), {}))
    expected = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB")).astype(np.int16)
    assert np.abs(found[..., :3] - expected).max() <= 1
    alpha = lapic.decode(data).convert("RGBA").getchannel("A")
    assert np.array_equal(found[..., 3], alpha)


@pytest.mark.parametrize("name", [f"{name}.lapic" for name in (
    "photo-q10", "grey-q50", "metadata-q30", "alpha-q70", "regions-q40", "fast-q40",
)])  # fmt: skip
def test_an_eighth_and_realism_are_those_of_the_codec(browser: Browser, name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    for view in ({"scale": 8}, {"realism": 1}, {"realism": 0.6}, {"scale": 8, "realism": 0.6}):
        found = pixels(browser.call(DECODE, to_text(data), view))
        expected = reference.decode(data, **view)
        assert found.shape[:2] == expected.shape[:2]
        assert np.abs(found[..., :3] - expected).max() <= 1, view


def test_alpha_is_averaged_at_an_eighth(browser: Browser) -> None:
    data = (GOLDEN / "alpha-q70.lapic").read_bytes()
    alpha = np.asarray(lapic.decode(data).getchannel("A"))
    found = pixels(browser.call(DECODE, to_text(data), {"scale": 8}))[..., 3].astype(int)
    squares = [[alpha[y : y + 8, x : x + 8] for x in range(0, alpha.shape[1], 8)] for y in range(0, len(alpha), 8)]
    expected = np.array([[square.mean() for square in row] for row in squares])
    assert np.abs(found - expected).max() <= 0.5


def test_the_first_look_comes_once_and_is_the_picture_at_an_eighth(browser: Browser) -> None:
    script = """async ([data]) => {
        const looks = [], steps = [];
        const preview = image => { looks.push(shown(image)); steps.push("look"); };
        await lapic.decode(fromBase64(data), { preview, progress: (done, total) => steps.push([done, total]) });
        return [looks, steps, shown(await lapic.decode(fromBase64(data), { scale: 8 }))];
    }"""
    looks, steps, eighth = browser.call(script, to_text(PHOTO))
    assert looks == [eighth]
    assert steps.index("look") < len(steps) - 1
    progress = [step for step in steps if step != "look"]
    total = progress[-1][1]
    assert progress == [[done, total] for done in range(1, total + 1)]


def test_with_threads_the_pixels_are_the_same(open_page: Callable[..., Browser], browser: Browser) -> None:
    isolated = open_page(isolated=True)
    assert isolated.call("async () => crossOriginIsolated")
    isolated.call("async () => lapic.configure({ threads: 2 })")
    found = pixels(isolated.call(DECODE, to_text(PHOTO), {"realism": 0.5}))
    assert np.abs(found - pixels(browser.call(DECODE, to_text(PHOTO), {"realism": 0.5}))).max() <= 1
    assert not isolated.complaints
    isolated.page.close()


def test_a_cancelled_decode_ends_with_the_reason_and_the_next_one_works(browser: Browser) -> None:
    script = """async ([data]) => {
        const outcome = promise => promise.then(image => image.width, reason => String(reason));
        const decode = options => outcome(lapic.decode(fromBase64(data), options));
        const before = await decode({ signal: AbortSignal.abort("before") });
        const [running, waiting] = [new AbortController(), new AbortController()];
        const calls = [
            decode({ signal: running.signal, progress: () => running.abort("running") }),
            decode({ signal: waiting.signal }),
            decode({}),
        ];
        waiting.abort("waiting");
        return [before, ...(await Promise.all(calls))];
    }"""
    width = Image.open(GOLDEN / "photo-q90-tiles.lapic.png").width
    assert browser.call(script, to_text(PHOTO)) == ["before", "running", "waiting", width]


def test_calls_end_in_their_order(browser: Browser) -> None:
    script = """async ([datas]) => {
        const ended = [];
        const call = (data, at) => lapic.decode(fromBase64(data)).then(() => ended.push(at), () => ended.push(-at));
        await Promise.all(datas.map(call));
        return ended;
    }"""
    texts = [to_text(PHOTO), to_text(b"no file"), to_text((GOLDEN / "pixel-q1.lapic").read_bytes())]
    assert browser.call(script, texts) == [0, -1, 2]


def test_the_callers_bytes_stay_whole(browser: Browser) -> None:
    script = """async ([data]) => {
        const bytes = fromBase64(data);
        const around = new Uint8Array(bytes.length + 8);
        around.set(bytes, 4);
        const sizes = [];
        for (const given of [bytes, bytes.buffer, new DataView(bytes.buffer), around.subarray(4, -4)]) {
            sizes.push((await lapic.decode(given)).width);
        }
        return [sizes, toBase64(bytes), around.length - bytes.length];
    }"""
    text = to_text((GOLDEN / "pixel-q1.lapic").read_bytes())
    assert browser.call(script, text) == [[1, 1, 1, 1], text, 8]


def test_info_is_that_of_the_codec(browser: Browser) -> None:
    for name in NAMES:
        data = (GOLDEN / name).read_bytes()
        found = browser.call("async ([data]) => lapic.info(fromBase64(data))", to_text(data))
        metadata = found.pop("metadata")
        assert found.pop("realism") is (REALISM / f"{found['model']['name']}.safetensors").exists()
        found["format_version"] = found.pop("formatVersion")
        assert found == lapic.info(data)
        image = lapic.decode(data)
        for key, kept in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
            there = metadata.get(key)
            assert (bytes(there) if there else None) == image.info.get(kept)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("lapic.decode(new Uint8Array(0))", "not a lapic file: it is empty"),
        ("lapic.decode('text')", "the bytes of a file are needed, not string: read it first"),
        ("lapic.decode(bytes, { scale: 2 })", "scale 2 is not 1 or 8"),
        ("lapic.decode(bytes, { realism: 1.5 })", "realism 1.5 is outside 0..1"),
        ("lapic.decode(bytes, { maxPixels: 100 })", "163 x 109 is more than 100 pixels: raise the limit to decode it"),
        ("lapic.encode(new ImageData(1, 1), { quality: 0 })", "quality 0 is not in 1..100"),
        ("lapic.info(bytes.subarray(0, 20))", "truncated: 6 tiles cannot fit into 0 bytes"),
    ],
)
def test_what_cannot_be_done_is_said_in_the_commands_sentence(browser: Browser, call: str, sentence: str) -> None:
    script = f"""async ([data]) => {{
        const bytes = fromBase64(data);
        return await {call}.then(() => "done", error => [error instanceof lapic.LapicError, error.message]);
    }}"""
    found = browser.call(script, to_text(PHOTO))
    assert found[0]
    assert found[1].startswith(sentence.split(" tiles")[0])


def test_a_model_that_is_not_there_is_named(browser: Browser) -> None:
    header, tiles = lapic.bitstream.read(PHOTO)
    other = lapic.bitstream.write(lapic.bitstream.Header(**{**vars(header), "model": b"\1\2\3\4", "chunks": {}}), tiles)
    script = "async ([data]) => lapic.decode(fromBase64(data)).then(() => 0, error => error.message)"
    found = browser.call(script, to_text(other))
    assert found.startswith("model 01020304 is needed and not installed (shipped: ")


def test_no_request_leaves_the_machine(browser: Browser) -> None:
    browser.call(DECODE, to_text(PHOTO), {"realism": 1})
    assert browser.requests
    assert all(url.startswith((f"{browser.address}/", "data:", "blob:")) for url in browser.requests)
    assert not browser.complaints
