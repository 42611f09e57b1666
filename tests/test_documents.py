"""What the documents say: examples run, links lead somewhere, commands exist, figures are those of results/."""

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from benchmarks.page import SECTIONS, page, table

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"])
CURRENT = [path for path in DOCUMENTS if path.parent.name != "notebook"]  # the notebook has what was true on its days
EXAMPLE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+) -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
LONGEST = {"README.md": 120, "docs/MODELS.md": 260, "docs/BENCHMARKS.md": 260}
SHARED = 0.5  # percent points that rounding the points of a curve may move a BD-rate


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def examples(path: Path) -> list[str]:
    """The Python of a document that runs as it stands."""
    return [found["code"] for found in EXAMPLE.finditer(path.read_text()) if not found["reason"]]


def anchors(path: Path) -> set[str]:
    """What can be linked to in a document, as GitHub names its headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tables(name: str) -> dict[str, dict[str, Any]]:
    """The tables of a file of results by their names."""
    results = json.loads((ROOT / "results" / SECTIONS[name] / f"{name}.json").read_text())
    return {table["name"]: table for table in results["tables"]}


@pytest.mark.parametrize("path", [path for path in CURRENT if examples(path)], ids=name_of)
def test_python_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(ROOT / "examples" / "chelsea.png") as image:
        image.convert("RGB").resize((96, 64)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    for code in examples(path):
        exec(compile(code, name_of(path), "exec"), {"__name__": "example"})


def test_the_readme_has_python_that_runs() -> None:
    assert examples(ROOT / "README.md")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_resolve(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text()):
        leads_to = (path.parent / target).resolve() if target else path
        assert leads_to.exists(), target
        assert not anchor or anchor in anchors(leads_to), f"{target}#{anchor}"


def commands() -> dict[str, click.Group]:
    from lapic.codec.cli import main as lapic
    from lapic.training.cli import main as lapic_train

    return {"lapic": lapic, "lapic-train": lapic_train}


@pytest.mark.parametrize("path", CURRENT, ids=name_of)
def test_commands_exist_as_they_are_written(path: Path) -> None:
    known = commands()
    text = path.read_text()
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^(lapic(?:-train)?) ([a-z]+)(.*?)(?:  +#.*)?$", shell, re.MULTILINE)
    lines += re.findall(r"`(lapic(?:-train)?) ([a-z]+)([^`]*)`", text)
    for program, name, rest in lines:
        assert name in known[program].commands, f"{program} {name}"
        parameters = known[program].commands[name].params
        options = {one for parameter in parameters for one in (*parameter.opts, *parameter.secondary_opts)}
        for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest):
            assert option in options | {"--help"}, f"{program} {name} {option}"


@pytest.mark.parametrize("name", LONGEST)
def test_documents_stay_short(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= LONGEST[name]


def test_the_benchmarks_are_those_of_the_results() -> None:
    assert (ROOT / "docs" / "BENCHMARKS.md").read_text() == page(), "run: python benchmarks/page.py"
    found = {path.stem: path.parent.name for path in (ROOT / "results").glob("*/*.json")}
    assert found == SECTIONS


def test_every_table_says_where_its_figures_come_from() -> None:
    for name in SECTIONS:
        for content in tables(name).values():
            assert all(len(row) == len(content["columns"]) for row in content["rows"]), content["name"]
            assert "date" in content or "caption" in content, content["name"]


def test_an_evaluation_becomes_tables_of_the_page() -> None:
    from benchmarks.tables import tables as tables_of

    curves = [
        {"name": "lapic", "label": "lapic", "bpp": [0.1, 0.3, 0.6], "metrics": {"psnr": [27.0, 31, 34]}},
        {"name": "jpeg", "label": "JPEG", "bpp": [0.2, 0.6, 1.2], "metrics": {"psnr": [27.0, 31, 34]}},
    ]
    machine = {"processor": "a processor", "cores": 2, "python": "3.11"}
    origin = {"command": "lapic evaluate PHOTOS/", "machine": machine, "made": "2026-11-28T00:00:00+00:00"}
    points, differences, *_ = tables_of(origin | {"curves": curves, "plane": []})
    assert "| lapic | 0.3000 | 31.00 |" in table(points)
    assert "| JPEG | -50.0 |" in table(differences)
    assert "*`lapic evaluate PHOTOS/`; 2 cores, a processor; Python 3.11; 2026-11-28*" in table(differences)


@pytest.mark.parametrize(("name", "label"), [("lapic", "lapic"), ("lapic-ssim", "lapic, tune ssim")])
def test_bd_rates_follow_from_the_points(name: str, label: str) -> None:
    from lapic.codec.evaluation.curves import Curve, bd

    metrics = ["psnr", "ms_ssim_db", "ssimulacra2", "lpips"]
    curves = {}
    for codec, rows in groupby(tables("kodak")["points"]["rows"], key=lambda row: row[0]):
        _, bpp, *columns = zip(*rows, strict=True)
        curves[codec] = Curve(codec, codec, list(bpp), dict(zip(metrics, map(list, columns), strict=True)))
    for against, *rates in tables("kodak")[name]["rows"]:
        anchor = next(curve for codec, curve in curves.items() if codec.split(" (")[0] == against.split(" (")[0])
        for metric, rate in zip(metrics, rates, strict=True):
            assert bd(anchor, curves[label], metric).rate == pytest.approx(rate, abs=SHARED), (against, metric)


def test_bd_rates_of_the_default_follow_from_the_points() -> None:
    from lapic.codec.evaluation.curves import Curve, bd

    metrics = ["psnr", "ms_ssim_db", "ssimulacra2", "lpips"]
    peers = {}
    for codec, rows in groupby(tables("kodak")["points"]["rows"], key=lambda row: row[0]):
        _, bpp, *columns = zip(*rows, strict=True)
        peers[codec] = Curve(codec, codec, list(bpp), dict(zip(metrics, map(list, columns), strict=True)))
    points = [row for row in tables("eye")["points"]["rows"] if row[0] == "lapic"]
    _, bpp, *columns = zip(*points, strict=True)
    lapic = Curve("lapic", "lapic", list(bpp), dict(zip(metrics, map(list, columns), strict=False)))
    assert [row[0] for row in tables("eye")["peers"]["rows"]] == ["JPEG XL", "WebP (4:2:0)", "JPEG (4:2:0)"]
    for peer, *rates in tables("eye")["peers"]["rows"]:
        for metric, rate in zip(metrics, rates, strict=True):
            assert bd(peers[peer], lapic, metric).rate == pytest.approx(rate, abs=0.05), (peer, metric)


def test_the_readmes_figures_are_those_of_the_results() -> None:
    from lapic.codec.evaluation.curves import bd, published

    curves = {curve.name: curve for curve in published()}
    rates = {name: bd(curves["jpeg"], curves[name]).rate for name in ("jpeg", "webp", "mbt2018-mean", "bpg444", "av1")}
    rates["lapic"] = tables("eye")["published"]["rows"][0][1]
    seconds = {what: median for what, median, *_ in tables("speed")["cpu"]["rows"]}
    rows = re.findall(
        r"^\| \**([\w.-]+)[^|]*\| \**(-?\d+) %\** \| ?\**([\d.]*)\** \|$", (ROOT / "README.md").read_text(), re.M
    )
    names = {"JPEG": "jpeg", "WebP": "webp", "BPG": "bpg444", "AV1": "av1"}
    decoders = {"JPEG": "JPEG decode", "WebP": "WEBP decode", "lapic": "lapic decode", "AV1": "AVIF decode"}
    assert [row[0] for row in rows] == ["JPEG", "WebP", "mbt2018-mean", "lapic", "BPG", "AV1"]
    for name, rate, time in rows:
        assert float(rate) == round(rates[names.get(name, name)]), name
        assert not time or float(time) == seconds[decoders.get(name, "mbt2018-mean decompress")], name


def test_the_version_is_the_same_everywhere() -> None:
    """The changelog begins with the version of the code; who cites, cites the newest release."""
    import lapic

    headings = re.findall(r"^## (\d+\.\d+\.\d+), (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, _, development = lapic.__version__.partition(".dev")
    assert headings[0][0] == version
    assert bool(development) == (headings[0][1] == "not released yet")
    number, date = next(heading for heading in headings if heading[1] != "not released yet")
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {number}\ndate-released: {date}\n" in citation
