import bjontegaard
import pytest

from lapic.codec.evaluation.curves import Curve, bd, mean_curves, published


def by_name(name: str) -> Curve:
    return next(curve for curve in published() if curve.name == name)


def test_bd_figures_are_those_of_the_package() -> None:
    anchor, curve = by_name("bpg444"), by_name("jpeg")
    settings = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    four = (anchor.bpp, anchor.metrics["psnr"], curve.bpp, curve.metrics["psnr"])
    found = bd(anchor, curve)
    assert found.rate == pytest.approx(bjontegaard.bd_rate(*four, **settings))
    assert found.quality == pytest.approx(bjontegaard.bd_psnr(*four, **settings))
    assert found.rate == pytest.approx(143.0, abs=1)  # as others compute it from the same points
    assert found.warning is None


def test_bd_of_a_curve_that_costs_a_tenth_less() -> None:
    anchor = by_name("vtm")
    cheaper = Curve("x", "x", [0.9 * rate for rate in anchor.bpp], anchor.metrics)
    assert bd(anchor, cheaper).rate == pytest.approx(-10)
    assert bd(anchor, cheaper).quality > 0
    assert bd(anchor, anchor).rate == pytest.approx(0)


@pytest.mark.parametrize("metric", ["lpips", "butteraugli", "flip"])
def test_lower_is_better_for_distances(metric: str) -> None:
    a = Curve("a", "a", [0.1, 0.2, 0.4, 0.8], {metric: [0.4, 0.3, 0.2, 0.1]})
    b = Curve("b", "b", [0.2, 0.4, 0.8, 1.6], {metric: [0.4, 0.3, 0.2, 0.1]})
    assert bd(a, b, metric).rate == pytest.approx(100)
    assert bd(b, a, metric).rate == pytest.approx(-50)
    assert bd(a, b, metric).quality == pytest.approx(0.1, abs=0.02)  # worse by that much at equal rate


RATES = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]


def bent(metric: str, factors: list[float]) -> Curve:
    """A curve that takes so many times the bits of `RATES` for the same quality."""
    sign = -1 if metric == "butteraugli" else 1
    quality = [sign * 5.0 * number for number in range(len(RATES))]
    return Curve("b", "b", [factor * rate for factor, rate in zip(factors, RATES, strict=True)], {metric: quality})


@pytest.mark.parametrize("metric", ["psnr", "butteraugli"])
def test_bd_between_two_rates_of_the_anchor(metric: str) -> None:
    anchor, cheap_below = bent(metric, [1.0] * 8), bent(metric, [0.8] * 4 + [1.1] * 4)
    low, high = (bd(anchor, cheap_below, metric, span) for span in ((0.1, 0.2), (2, 5)))
    assert low.rate == pytest.approx(-20, abs=0.3)
    assert high.rate == pytest.approx(10, abs=0.3)
    assert (low.share, high.share) == (pytest.approx(1), pytest.approx(1))
    assert low.quality * (-1 if metric == "butteraugli" else 1) > 0
    assert bd(anchor, cheap_below, metric, (0.1, 5)).rate == pytest.approx(-4.5, abs=0.4)


def test_bd_between_rates_says_how_much_of_them_is_shared() -> None:
    anchor = bent("psnr", [1.0] * 8)
    short = Curve("s", "s", [0.2, 0.4, 0.8], {"psnr": [10.0, 15.0, 20.0]})
    found = bd(anchor, short, "psnr", (0.1, 1.6))
    assert found.rate == pytest.approx(0, abs=0.1)
    assert found.share == pytest.approx(0.5)
    assert bd(anchor, short, "psnr", (1.6, 3.2)).rate is None
    assert bd(anchor, short, "psnr", (7, 8)).warning == "b has no such rates"
    assert "only 25 %" in bd(anchor, Curve("s", "s", [0.2, 0.4], {"psnr": [10.0, 15]}), "psnr", (0.1, 1.6)).warning


def test_little_overlap_is_said() -> None:
    a = Curve("a", "a", [0.1, 0.2, 0.4, 0.8], {"psnr": [25.0, 28, 31, 34]})
    b = Curve("b", "b", [0.5, 1.0, 2.0, 4.0], {"psnr": [33.0, 36, 39, 42]})
    c = Curve("c", "c", [5.0, 6.0, 7.0], {"psnr": [45.0, 46, 47]})
    assert "11 %" in bd(a, b).warning
    assert bd(a, b).rate is not None
    assert bd(a, c).rate is None
    assert "overlap" in bd(a, c).warning


def test_rate_needs_a_shared_range_of_quality_alone() -> None:
    """A curve at a tenth of the bits, all of whose rates are below the other's."""
    anchor = Curve("a", "a", [1.0, 2.0, 4.0], {"psnr": [30.0, 33, 36]})
    cheap = Curve("b", "b", [0.1, 0.2, 0.4], {"psnr": [30.0, 33, 36]})
    found = bd(anchor, cheap)
    assert (found.rate, found.quality, found.warning) == (pytest.approx(-90), None, None)
    one = Curve("c", "c", [0.1], {"psnr": [30.0]})
    assert bd(anchor, one).warning == "fewer than two points"


def test_points_that_cost_more_for_less_do_not_break_bd() -> None:
    a = by_name("vtm")
    bent = Curve("x", "x", [*a.bpp, 0.6], {"psnr": [*a.metrics["psnr"], 20.0]})
    assert bd(a, bent).rate == pytest.approx(0, abs=2)


def test_what_a_narrow_curve_shares_is_a_part_of_its_own_range() -> None:
    wide = Curve("a", "a", [0.1, 0.2, 0.4, 0.8], {"psnr": [25.0, 28, 31, 34]})
    narrow = Curve("b", "b", [0.2, 0.3], {"psnr": [28.0, 29.5]})
    for found in (bd(wide, narrow), bd(narrow, wide)):
        assert (found.share, found.warning) == (pytest.approx(1), None)


def test_points_of_one_rate_do_not_break_bd() -> None:
    a = Curve("a", "a", [0.1, 0.2, 0.4, 0.8], {"psnr": [25.0, 28, 31, 34]})
    twice = Curve("b", "b", [0.1, 0.2, 0.2, 0.4, 0.8], {"psnr": [25.0, 28, 28.5, 31, 34]})
    assert bd(a, twice).rate == pytest.approx(0, abs=1e-6)
    assert bd(a, twice).quality == pytest.approx(0, abs=1e-6)


def point(picture: str, quality: float, bpp: float, psnr: float) -> dict:
    figures = {"bpp": bpp, "psnr": psnr, "ms_ssim": 0.9 + psnr / 1000, "encode_s": 0.1, "decode_s": 0.2}
    figures |= {"butteraugli": 100 / psnr, "flip": 4 / psnr}
    return {"codec": "c", "label": "C", "picture": picture, "quality": quality, **figures}


def test_means_are_over_pictures_at_each_quality() -> None:
    points = [point("p", 10, 0.2, 30), point("q", 10, 0.4, 34), point("p", 20, 0.6, 36), point("q", 20, 0.8, 38)]
    (curve,), remarks = mean_curves(points)
    assert curve.bpp == pytest.approx([0.3, 0.7])
    assert curve.metrics["psnr"] == [32, 37]
    assert curve.metrics["flip"] == pytest.approx([(4 / 30 + 4 / 34) / 2, (4 / 36 + 4 / 38) / 2])
    assert curve.metrics["butteraugli"][0] > curve.metrics["butteraugli"][1]
    assert curve.metrics["ms_ssim_db"][0] == pytest.approx(11.675, abs=0.001)  # of the mean MS-SSIM, 0.932
    assert not remarks


def test_a_failure_costs_its_own_point_of_the_mean_only() -> None:
    points = [point("p", 10, 0.2, 30), point("q", 10, 0.4, 34), point("p", 20, 0.6, 36)]
    points.append({"codec": "c", "label": "C", "picture": "q", "quality": 20, "error": "broke"})
    points += [point("p", 30, 0.8, 40), point("q", 30, 1.0, 42)]
    (curve,), remarks = mean_curves(points)
    assert curve.bpp == pytest.approx([0.3, 0.9])
    assert remarks == ["C: quality 20 is not in the means, it failed on q"]


def test_a_codec_that_failed_at_all_qualities_has_no_curve() -> None:
    failed = {"codec": "d", "label": "D", "picture": "p", "quality": 10, "error": "broke"}
    curves, remarks = mean_curves([point("p", 10, 0.2, 30), failed])
    assert [curve.name for curve in curves] == ["c"]
    assert remarks == ["D: quality 10 is not in the means, it failed on p"]


def test_a_curve_rises_in_bits_whatever_the_order_of_qualities() -> None:
    points = [point("p", 20, 0.6, 36), point("p", 30, 0.8, 38), point("p", 10, 0.2, 30)]
    (curve,), _ = mean_curves(points)
    assert (curve.bpp, curve.metrics["psnr"]) == ([0.2, 0.6, 0.8], [30, 36, 38])
    assert curve.seconds == {"encode_s": pytest.approx(0.1), "decode_s": pytest.approx(0.2)}


def test_a_metric_without_a_figure_for_some_picture_is_named() -> None:
    points = [point("p", 10, 0.2, 30), point("tiny", 10, 0.4, 34) | {"ms_ssim": None}]
    points += [point("p", 20, 0.6, 36), point("tiny", 20, 0.8, 38) | {"ms_ssim": None}]
    (curve,), remarks = mean_curves(points)
    assert set(curve.metrics) == {"psnr", "butteraugli", "flip"}
    assert remarks == ["MS-SSIM is not in means, plots and tables: it has no figure for tiny"]


def test_every_published_curve_is_whole() -> None:
    curves = published()
    assert len({curve.name for curve in curves}) == len(curves) >= 15
    for curve in curves:
        assert curve.bpp == sorted(curve.bpp)
        assert all(len(values) == len(curve.bpp) for values in curve.metrics.values())
        assert ("ms_ssim" in curve.metrics) == ("ms_ssim_db" in curve.metrics)
    assert any("ms_ssim_db" in curve.metrics for curve in curves)
