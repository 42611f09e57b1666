"""Damaged files in a page: each gives a sentence, that of the command, or the picture that the codec gives."""

from pathlib import Path

import numpy as np
import pytest

import lapic
from lapic.bitstream import Error, Header, PixelFormat, Tile, read, write
from lapic.codec.selftest import GOLDEN
from tests.web import reference
from tests.web.mutants import is_zlib, mutants
from tests.web.pages import Browser, pixels, to_text

COUNT = 300
MAX_PIXELS = 10**6
MEMORY = 1500  # MiB: the most that the page's process may have used, runtime and both models included
DECODE = """async ([files, maxPixels]) => {
    const found = [];
    for (const file of files) {
        found.push(await lapic.decode(fromBase64(file), { maxPixels }).then(shown, error =>
            ({ message: error.message, known: error instanceof lapic.LapicError })));
    }
    return found;
}"""


@pytest.fixture(scope="module")
def outcomes(browser: Browser) -> list[tuple[bytes, dict]]:
    """The damaged files, and what the page makes of each."""
    files = list(mutants(COUNT))
    return list(zip(files, browser.call(DECODE, [to_text(file) for file in files], MAX_PIXELS), strict=True))


def test_a_damaged_file_gives_a_sentence_or_the_right_picture(outcomes: list[tuple[bytes, dict]]) -> None:
    pictures = 0
    for data, found in outcomes:
        try:
            read(data, max_pixels=MAX_PIXELS)
            image = lapic.decode(data, max_pixels=MAX_PIXELS)
        except Error as error:
            assert found.get("known"), (error, found)
            assert "\n" not in found["message"]
            if not is_zlib(str(error)) and "not installed" not in str(error):
                assert found["message"] == str(error), data.hex()
        else:
            shown = pixels(found)
            assert np.abs(shown[..., :3] - reference.decode(data)).max() <= 1
            assert np.array_equal(shown[..., 3], image.convert("RGBA").getchannel("A"))
            pictures += 1
    assert pictures >= 5
    assert len({found.get("message", "")[:30] for _, found in outcomes}) > 12  # the mutants fail in many ways


def test_afterwards_the_same_worker_decodes(browser: Browser, outcomes: list[tuple[bytes, dict]]) -> None:
    starts = [url for url in browser.requests if url.endswith("lapic-worker.js")]
    found = browser.call(DECODE, [to_text((GOLDEN / "pixel-q1.lapic").read_bytes())], MAX_PIXELS)
    assert pixels(found[0])[0, 0].tolist() == [208, 31, 90, 255]
    assert len(starts) == 1
    assert not browser.complaints


def test_memory_is_bounded(browser: Browser, outcomes: list[tuple[bytes, dict]]) -> None:
    session = browser.page.context.browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    peaks = [peak(int(process["id"])) for process in processes if process["type"] == "renderer"]
    assert peaks
    assert max(peaks) < MEMORY


def peak(process: int) -> int:
    """The most memory that a process has had, in MiB."""
    status = Path(f"/proc/{process}/status")
    if not status.is_file():
        pytest.skip("this system does not tell the memory of processes")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


@pytest.mark.parametrize("payload", [b"\0", b"\1", b"\0" + b"\x01\0\0\0" * 3, b"\2\0"])
def test_a_tiny_file_that_declares_a_large_tile_is_refused(browser: Browser, payload: bytes) -> None:
    model = read((GOLDEN / "photo-q10.lapic").read_bytes())[0].model
    data = write(Header(4096, 4096, PixelFormat.RGB, 50, model, tile=0), [Tile(payload, 12345)])
    found = browser.call(DECODE, [to_text(data)], 2**28)[0]
    assert found["known"]
    assert "checksum" in found["message"]
