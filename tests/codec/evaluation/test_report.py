"""The report in a real browser, from disk, without a network; and its page as text."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from lapic.codec.cli import main
from lapic.codec.evaluation.curves import Curve
from lapic.codec.evaluation.report import write_report
from lapic.codec.evaluation.results import _write_csv

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("report")
    for number in range(3):
        photo.crop((60 * number, 20, 60 * number + 200, 190)).save(folder / f"p{number}.png")
    arguments = ["evaluate", folder, "--out", folder / "out", "--codecs", "lapic,jpeg,webp", "--metrics", "psnr"]
    for qualities in ("lapic=20,60", "jpeg=20,70", "webp=5,70"):
        arguments += ["--qualities", qualities]
    with pytest.MonkeyPatch.context() as patch:
        # six processes, whose figures nobody reads here
        patch.setattr("lapic.codec.evaluation.evaluate._memory", lambda *_: {})
        assert CliRunner().invoke(main, [str(argument) for argument in arguments]).exit_code == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1000, "height": 800}, offline=True)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on(
            "request",
            lambda request: page.complaints.append(request.url[:80]) if request.url.startswith("http") else None,
        )
        page.goto((folder / "out" / "report.html").as_uri())
        yield page
        browser.close()


def shown(page, section: int) -> list[str]:
    """What the two sides of a slider show, once both are loaded."""
    images = page.locator("section.picture").nth(section).locator("img-comparison-slider img")
    page.locator("section.picture").nth(section).scroll_into_view_if_needed()
    page.wait_for_function(
        "n => [...document.querySelectorAll('section.picture')[n].querySelectorAll('img')]"
        ".every(image => image.complete && image.naturalWidth === 200 && image.naturalHeight === 170)",
        arg=section,
    )
    return [images.nth(side).get_attribute("alt") for side in range(2)]


def test_pictures_load_on_both_sides(page) -> None:
    for number in range(3):
        assert shown(page, number) == [f"p{number}, JPEG (4:2:0)", f"p{number}, lapic"]
    assert page.complaints == []


def test_the_slider_moves(page) -> None:
    shown(page, 0)
    slider = page.locator("img-comparison-slider").first
    box = slider.bounding_box()
    at = "slider => slider.value"
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.wait_for_timeout(300)
    assert slider.evaluate(at) == pytest.approx(25, abs=2)
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert slider.evaluate(at) == pytest.approx(80, abs=2)


def test_sides_can_be_chosen(page) -> None:
    shown(page, 1)
    select = page.locator("section.picture").nth(1).locator("select").first
    select.select_option(label="original")
    assert shown(page, 1)[0] == "p1, original"
    select.select_option(label="WebP (4:2:0)")
    assert shown(page, 1)[0] == "p1, WebP (4:2:0)"
    caption = page.locator("section.picture").nth(1).locator(".chosen > div").first.inner_text()
    assert "bytes" in caption
    assert "PSNR" in caption
    assert page.complaints == []


def test_plots_and_tables_are_there(page) -> None:
    assert page.locator("figure svg").count() >= 1
    assert page.locator("figure svg").first.bounding_box()["height"] > 200
    assert "against JPEG (4:2:0)" in page.locator("table").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def write_page(folder: Path, label: str, error: str) -> str:
    """The report of one codec, one point and one picture; `label` and `error` stand for what others have written."""
    curve = Curve("jpeg", label, [0.2, 0.6, 1.2], {"psnr": [27.0, 31, 34]})
    point = {"codec": "jpeg", "label": label, "picture": label, "quality": 3, "encode_s": 0.000123, "decode_s": 12.345}
    results = {
        "machine": {"processor": label, "cores": 2}, "points": [point | {"error": error}] if error else [point],
        "workers": 1, "made": "today", "lapic": "0", "command": label, "memory": {}, "versions": {label: label},
        "lpips_net": "alex", "unreadable": {label: error} if error else {}, "remarks": [label],
    }  # fmt: skip
    shots = [{"label": label, "caption": label, "src": "data:,"}]
    pictures = [{"name": label, "width": 3, "height": 4, "shots": shots}]
    (folder / "plot.svg").write_text('<?xml version="1.0"?><svg id="a"></svg>')
    return write_report(folder, results, [curve], {"psnr": [folder / "plot.svg"]}, pictures).read_text()


def test_what_others_have_written_is_text(tmp_path: Path) -> None:
    page = write_page(tmp_path, "</script><b>{{ 7 * 6 }}", "<b>reason")
    assert "<b>" not in page
    assert "&lt;b&gt;reason" in page
    assert "{{ 7 * 6 }}" in page
    assert page.count("</script>") == 3
    assert '<svg id="plot-a">' in page


def test_names_need_not_be_unicode(tmp_path: Path) -> None:
    """A Latin-1 name in a file system of UTF-8, as Python has it; in the table and in the report."""
    name = b"caf\xe9".decode(errors="surrogateescape")
    assert r"caf\udce9" in write_page(tmp_path, name, "")
    _write_csv(tmp_path / "results.csv", [{"picture": name, "bpp": 0.5}, {"picture": "b", "bpp": 1, "psnr": 30}])
    assert (tmp_path / "results.csv").read_text().splitlines() == ["picture,bpp,psnr", r"caf\udce9,0.5,", "b,1,30"]


def test_failures_have_a_part_only_if_there_are_any(tmp_path: Path) -> None:
    failed, whole = write_page(tmp_path, "JPEG", "a reason"), write_page(tmp_path, "JPEG", "")
    for title in ("What failed", "Pictures left out"):
        assert title in failed
        assert title not in whole


def test_facts_and_times_are_shown_as_they_are(tmp_path: Path) -> None:
    page = write_page(tmp_path, "JPEG", "")
    assert "<li>1 picture, 1 point</li>" in page
    assert "2 cores; 1 process of one thread each" in page
    assert "<li>LPIPS with the network alex</li>" in page
    assert '<p class="note">JPEG</p>' in page  # a remark
    assert "<td>0.000123</td>" in page
    assert "<td>12.3</td>" in page
