"""What plots show of evaluations, by `lapic plot`."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from lapic.codec.cli import main
from lapic.codec.evaluation import plots
from lapic.codec.evaluation.curves import Curve

LAPIC = {"name": "lapic", "label": "lapic", "bpp": [0.1, 0.3, 0.6], "metrics": {"psnr": [29.0, 33, 36]}}
JPEG = {"name": "jpeg", "label": "JPEG", "bpp": [0.2, 0.6, 1.2], "metrics": {"psnr": [27.0, 31, 34]}}


def plot(out: Path, *results: Path) -> tuple[int, str]:
    found = CliRunner().invoke(main, ["plot", *map(str, results), "--out", str(out)])
    return found.exit_code, found.output


def store(path: Path, *curves: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"curves": curves}))
    return path


def test_evaluations_can_be_told_apart(tmp_path: Path) -> None:
    files = [store(tmp_path / name / "run" / "results.json", LAPIC, JPEG) for name in ("x", "y")]
    code, text = plot(tmp_path, *files, files[0])
    assert code == 0, text
    drawn = (tmp_path / "rd-psnr.svg").read_text()
    for name in ("x/run (1)", "y/run", "x/run (2)"):
        assert f">lapic, {name}<" in drawn
        assert f">JPEG, {name}<" in drawn
    of_lapic = [style for style in re.findall(r'style="(fill: none[^"]*)"', drawn) if "stroke-width: 2.2" in style]
    assert len(set(of_lapic)) == 3


def test_labels_that_differ_stay(tmp_path: Path) -> None:
    code, text = plot(tmp_path, store(tmp_path / "a.json", LAPIC), store(tmp_path / "b.json", JPEG))
    assert code == 0, text
    assert ">lapic<" in (tmp_path / "rd-psnr.svg").read_text()


def test_names_are_no_formulas(tmp_path: Path) -> None:
    code, text = plot(tmp_path, *(store(tmp_path / name / "results.json", LAPIC) for name in (r"x$\frac$", "y")))
    assert code == 0, text
    assert r">lapic, x$\frac$<" in (tmp_path / "rd-psnr.svg").read_text()


def test_plots_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw_half(figure: Figure, target: object, **_: object) -> None:
        with open(target, "wb") if isinstance(target, Path) else contextlib.nullcontext(target) as file:
            file.write(b"half")
        raise KeyboardInterrupt

    (tmp_path / "rd-psnr.svg").write_text("an older plot")
    monkeypatch.setattr(Figure, "savefig", draw_half)
    code, _ = plot(tmp_path, store(tmp_path / "a.json", LAPIC))
    assert code == 130
    assert (tmp_path / "rd-psnr.svg").read_text() == "an older plot"


def test_lpips_of_different_networks_is_not_drawn_together(tmp_path: Path) -> None:
    curve = LAPIC | {"metrics": {"psnr": [29.0, 33, 36], "lpips": [0.3, 0.2, 0.1]}}
    for name, net in (("a", "alex"), ("b", "squeeze"), ("c", "alex")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"curves": [curve], "lpips_net": net}))
    code, text = plot(tmp_path / "apart", tmp_path / "a.json", tmp_path / "b.json")
    assert code == 0
    assert text.splitlines()[0] == "LPIPS is not drawn: it is by different networks, alex and squeeze"
    assert not (tmp_path / "apart" / "rd-lpips.svg").exists()
    code, _ = plot(tmp_path / "alike", tmp_path / "a.json", tmp_path / "c.json")
    assert code == 0
    assert (tmp_path / "alike" / "rd-lpips.svg").exists()


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures that are written, by name."""
    written = {}
    monkeypatch.setattr(plots, "_write", lambda figure, out, name: written.setdefault(name, figure) and [])
    return written


def test_every_measured_curve_is_in_the_picture(tmp_path: Path, figures: dict[str, Figure]) -> None:
    far = Curve("jxl", "JPEG XL", [1.5, 2.0, 9.0], {"psnr": [40.0, 42, 50]})
    published = Curve("vtm", "VTM", [0.1, 20.0], {"psnr": [30.0, 60]}, measured=False)
    plots.draw([[Curve(**LAPIC), far]], [published], tmp_path, "title")
    (axes,) = figures["rd-psnr"].axes
    assert 2 < axes.get_xlim()[1] < 3
    assert 42 < axes.get_ylim()[1] < 45


def test_costs_are_written_as_numbers(tmp_path: Path) -> None:
    drawn = [Curve(**shown, seconds={"decode_s": cost}) for shown, cost in ((LAPIC, 0.01), (JPEG, 0.5))]
    plots.draw([drawn], [], tmp_path, "title")
    text = (tmp_path / "bd-over-decode.svg").read_text()
    assert ">0.1<" in text
    assert "mathdefault" not in text


def test_names_beside_costs_cover_none_another(tmp_path: Path, figures: dict[str, Figure]) -> None:
    alike = [
        Curve(f"c{number}", f"codec {number}", JPEG["bpp"], JPEG["metrics"], seconds={"decode_s": 0.1})
        for number in range(4)
    ]
    plots.draw([alike], [], tmp_path, "title")
    figure = figures["bd-over-decode"]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])
    assert len({tuple(point.get_facecolor()[0]) for point in figure.axes[0].collections}) == 4


@pytest.mark.parametrize(
    "stored",
    [
        {}, [], {"curves": 3}, {"curves": [3]}, {"curves": [{"name": "a"}]},
        *({"curves": [LAPIC | wrong]} for wrong in (
            {"bpp": "0.1"}, {"bpp": [0.1]}, {"bpp": [0.1, None, 0.3]}, {"bpp": [0, 1, 2]}, {"bpp": [], "metrics": {}},
            {"metrics": []}, {"metrics": {"psnr": 3}}, {"metrics": {"psnr": [1, 2, "x"]}}, {"label": 3},
            {"decoder": "x"}, {"seconds": 3}, {"seconds": {"decode_s": "x"}}, {"metrics": {"psnr": [1, 2, 1e999]}},
        )),
    ],
)  # fmt: skip
def test_what_is_no_evaluation_gets_one_line(stored: object, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(stored))
    code, text = plot(tmp_path / "out", tmp_path / "results.json")
    assert (code, text) == (1, f"lapic: {tmp_path}/results.json is not a results.json of lapic evaluate\n")


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    code, text = plot(tmp_path, store(tmp_path / "a.json"))
    assert (code, text) == (1, f"lapic: {tmp_path}/a.json holds no curves\n")
    code, text = plot(tmp_path, store(tmp_path / "a.json", LAPIC | {"metrics": {}}))
    assert (code, text) == (1, "lapic: no curve has a metric that can be drawn\n")
