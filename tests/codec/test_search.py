import numpy as np
import pytest
import torch
from PIL import Image

import lapic
from lapic import bitstream
from lapic.bitstream.entropy import entropy_bits
from lapic.codec.decode import decoder
from lapic.codec.decode import symbols as symbols_module
from lapic.codec.encode import draft, encoder, search
from lapic.codec.encode.objective import Objective
from lapic.codec.encode.rate import cost_of, rate_weight, symbol_bits
from lapic.codec.exact.quantise import OUTLIER_MAX, dequantise
from lapic.codec.metrics import psnr
from lapic.codec.model.codec_weights import load
from lapic.codec.model.latents import features_of
from lapic.codec.nets import levels
from lapic.codec.picture import tensors
from lapic.codec.picture.tiling import LATENT, latent_bounds


def objective(pixels: np.ndarray, shown: np.ndarray, data: bytes, quality: float) -> float:
    """lambda 255^2 MSE + bpp of a file, from the pixels that went in and came out."""
    weight = rate_weight(levels.fixed_point(quality, torch.device("cpu"))).item()
    return weight * np.square(shown - pixels.astype(float)).mean() + 8 * len(data) / (pixels.shape[0] * pixels.shape[1])


@pytest.mark.parametrize(("quality", "name", "saved"), [(5, "photo", 0.008), (50, "photo", 0.01),
                                                        (95, "photo-high", 0.014)])  # fmt: skip
def test_more_effort_makes_better_files(quality: float, name: str, saved: float, photo: Image.Image) -> None:
    """In float32, where processors agree: 1.5, 1.6 and 2.2 % are saved."""
    model, pixels, costs = load(name, dtype=torch.float32), np.asarray(photo), []
    for effort in (0, 2, 5):
        data = encoder.encode_pixels(model, pixels, quality, effort=effort, tune="psnr")
        costs.append(objective(pixels, decoder.decode_pixels(model, *bitstream.read(data)), data, quality))
    assert costs[1] < (1 - saved) * costs[0]
    assert costs[2] < costs[1]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_searched_file_decodes_like_any_other(mode: str, photo: Image.Image) -> None:
    image = photo.convert(mode).crop((0, 0, 200, 150))
    data = lapic.encode(image, 40, tile=64, effort=2)
    assert bitstream.read(data)[0].tile == 64
    assert lapic.decode(data).mode == mode
    plain = lapic.encode(image, 40, tile=64, effort=0)
    assert psnr(image, lapic.decode(data)) > psnr(image, lapic.decode(plain)) - 0.05
    assert lapic.encode(image, 40, tile=64, effort=2) == data


def test_tiles_are_searched_with_their_surroundings(large: Image.Image) -> None:
    """Many tiles cost little more than one and look alike: no tile is searched as if it ended at its border."""
    model, pixels = load("photo", dtype=torch.float32), np.asarray(large)[:384, :512]
    files = [encoder.encode_pixels(model, pixels, 50, tile=tile, effort=3) for tile in (0, 128)]
    shown = [decoder.decode_pixels(model, *bitstream.read(data)) for data in files]
    costs = [objective(pixels, *pair, 50) for pair in zip(shown, files, strict=True)]
    assert costs[1] < 1.04 * costs[0]
    assert np.abs(shown[0].astype(int) - shown[1]).max() < 60


def test_pieces_are_searched_with_their_surroundings(photo: Image.Image) -> None:
    """A picture wider than what is searched at once is as good where two pieces meet as without a search."""
    wide = photo.resize((1152, 768), Image.Resampling.LANCZOS)
    model, pixels = load("photo", dtype=torch.float32), np.asarray(wide)[:400]
    bounds = latent_bounds(1152, 400)
    left, *others = draft.Draft({}, bounds, lambda rect: torch.empty(0), pixels.shape, torch.tensor([12800])).pieces()
    border, errors = LATENT * left.right, []
    assert others
    for effort in (0, 1):
        shown = decoder.decode_pixels(model, *bitstream.read(encoder.encode_pixels(model, pixels, 50, effort=effort)))
        errors.append(np.square(shown - pixels.astype(float))[:, border - 48 : border + 48].mean())
    assert errors[1] < 1.2 * errors[0]


@pytest.mark.parametrize("size", [(16, 16), (768, 512), (1920, 1080), (3840, 2160), (20000, 16), (11000, 9000)])
def test_pieces_cover_a_picture_once(size: tuple[int, int]) -> None:
    bounds = latent_bounds(*size)
    pieces = draft.Draft({}, bounds, lambda rect: torch.empty(0), size, torch.tensor([12800])).pieces()
    counts = np.zeros((bounds.height, bounds.width), int)
    for piece in pieces:
        counts[piece.top : piece.bottom, piece.left : piece.right] += 1
    assert (counts == 1).all()
    areas = [piece.height * piece.width for piece in pieces]
    assert max(areas) <= draft.LARGEST
    assert min(areas) > 0.8 * max(areas)
    assert len(pieces) > 1 or max(areas) <= draft.SMALLEST


@pytest.mark.parametrize(("size", "tile"), [((640, 512), 256), ((800, 528), 0)])  # half of 800 is an odd latent
def test_a_piece_knows_what_its_tiles_hold_around_it(photo: Image.Image, size: tuple[int, int], tile: int) -> None:
    """Without a move each piece of a tile finds the means and scale indices that the whole tile has."""
    model, pixels = load("photo", dtype=torch.float32), np.asarray(photo.resize(size))
    bounds, quality = latent_bounds(*size), torch.tensor([12800])
    tiles = {
        rect: encoder.round_latents(model, latent, quality) for rect, latent in encoder.analyse(model, pixels, tile)
    }
    picture = draft.Draft(tiles, bounds, lambda rect: tensors.region(pixels, rect, model.device), pixels.shape, quality)
    bits = symbol_bits(model.tables)
    features = {rect: features_of(model, tile.z, quality, (rect.height, rect.width)) for rect, tile in tiles.items()}
    for piece in picture.pieces():
        region = picture.region(model, piece)
        state, target = search.SearchState.of(region), Objective.of(model, region, features, bits)
        state.move(target, region.latent, torch.zeros_like(region.latent, dtype=torch.bool), target.curvature(0.0))
        assert torch.allclose(state.latent, region.latent, atol=1e-4)
        for part, coded in zip(region.parts, state.coded, strict=True):
            whole = part.tile.coded.part(part.window).part(part.inner)
            assert torch.equal(coded.mean, whole.mean)
            assert torch.equal(coded.index, whole.index)
            assert torch.equal(coded.symbol, whole.symbol)


@pytest.mark.parametrize("kind", ["half a photo", "dots"])
def test_the_search_leaves_no_small_symbols_where_none_are_expected(kind: str, photo: Image.Image) -> None:
    """At scale index 0 a single symbol has all of that index coded, see `quantise.zero_outliers`."""
    pixels = np.full((96, 128, 3), 90, np.uint8)
    if kind == "dots":
        pixels[np.random.default_rng(1).random((96, 128)) < 0.003] = 255
    else:
        pixels[:, 64:] = np.asarray(photo)[100:196, 100:164]
    model = load("photo-high", dtype=torch.float32)
    header, [tile] = bitstream.read(encoder.encode_pixels(model, pixels, 75, effort=2))
    _, coded = symbols_module.decode_symbols(model, header, tile, latent_bounds(128, 96))
    symbols = coded.symbol[0].numpy()
    small = (symbols != 0) & (np.abs(symbols) <= OUTLIER_MAX)
    assert small.sum() > 100
    assert not (small & (coded.index[0].numpy() == 0)).any()


def test_symbols_cost_what_the_coder_makes_of_them() -> None:
    tables = load().tables
    bits = symbol_bits(tables)
    assert (bits >= 0).all()
    assert bits[0, 0] == 0
    index = np.repeat(np.arange(1, 64, dtype=np.uint8), 16)[None, :, None]
    symbols = (np.random.default_rng(0).integers(-3, 4, index.shape)).astype(np.int16)
    expected = bits[torch.from_numpy(index).long(), torch.from_numpy(symbols).long().abs()].sum().item()
    z = np.zeros((tables.hyper.shape[1], 1, 1), np.int8)
    found = entropy_bits(tables, 0, z, symbols, index) - entropy_bits(tables, 0, z, 0 * symbols, 0 * index)
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("effort", [-1, 10])
def test_effort_has_a_range(effort: int, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="effort"):
        lapic.encode(photo.crop((0, 0, 32, 32)), effort=effort)


def test_a_target_size_holds_with_effort(photo: Image.Image) -> None:
    data = lapic.encode(photo.crop((0, 0, 160, 160)), size=2000, effort=1)
    assert 0.97 * 2000 < len(data) <= 2000


def test_the_search_sees_what_the_decoder_shows(photo: Image.Image) -> None:
    """Though its gradient leaves out the stage at 1/4, which would take a large part of a step."""
    nets, quality = load("photo", dtype=torch.float32).transforms, levels.fixed_point(40, torch.device("cpu"))
    picture = tensors.to_picture(torch.from_numpy(np.asarray(photo)[100:196, 100:228].copy()))
    with torch.no_grad():
        gain = nets.gain(quality)
        latent = (nets.analysis(picture) * gain).round() / gain
    latent.requires_grad_()
    shown, whole = (nets.synthesis.picture(latent, quality, follow=follow) for follow in (False, True))
    assert torch.allclose(shown, whole, atol=1e-5)
    error = whole.detach() - picture
    (ours,), (true,) = (torch.autograd.grad(made, latent, error) for made in (shown, whole))
    assert torch.nn.functional.cosine_similarity(ours.flatten(), true.flatten(), dim=0) > 0.9
    assert not torch.allclose(ours, true, rtol=1e-3)


def test_a_step_never_makes_it_worse(monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
    """With every choice made wrong the search keeps what it had."""
    image = photo.crop((0, 0, 96, 96))
    plain = lapic.encode(image, 50, effort=0)
    monkeypatch.setattr(search, "cheapest_symbols", lambda wanted, *rest: wanted.round() + 7)
    assert lapic.encode(image, 50, effort=2) == plain


@pytest.mark.parametrize("corner", [(100, 100), (120, 140), (60, 200), (150, 60)])
@pytest.mark.parametrize(("name", "effort"), [("photo", 2), ("fast", 3)])  # of two steps both
def test_a_step_that_leads_astray_spoils_nothing(
    name: str, effort: int, corner: tuple[int, int], photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half precision a wild latent may burst the picture around it, and the gradients with it."""
    model, pixels, calls = load(name), np.asarray(photo)[corner[0] :, corner[1] :][:96, :128], []

    def bursting(objective: Objective, latent: torch.Tensor) -> torch.Tensor:
        calls.append(synthesise(objective, latent))
        burst = torch.zeros_like(calls[-1])
        burst[..., 40:44, 60:64] = float("nan") if len(calls) == 1 else 1e30
        return calls[-1] + burst if len(calls) < 3 else calls[-1]

    whole, synthesise = encoder.encode_pixels(model, pixels, 30, effort=effort), Objective.synthesise
    monkeypatch.setattr(Objective, "synthesise", bursting)
    data = encoder.encode_pixels(model, pixels, 30, effort=effort)
    assert len(calls) == 3
    shown, expected = (decoder.decode_pixels(model, *bitstream.read(one)).astype(float) for one in (data, whole))
    assert np.square(shown - pixels).mean() < 1.1 * np.square(expected - pixels).mean()
    assert len(data) < 1.1 * len(whole)


@pytest.mark.parametrize("name", ["eye", "fast"])
def test_the_cheapest_symbol_is_found(name: str) -> None:
    """Also where zero is taken without a comparison."""
    model = load(name, dtype=torch.float32)
    bits = symbol_bits(model.tables)
    target = torch.linspace(-2.5, 2.5, 501).reshape(1, 1, -1, 1).expand(4, 63, -1, 1).contiguous()
    index = torch.arange(1.0, 64).reshape(1, -1, 1, 1).expand_as(target).contiguous()
    curvature = torch.tensor([0.1, 1, 10, 100]).reshape(-1, 1, 1, 1).expand_as(target)

    def cost(symbol: torch.Tensor) -> torch.Tensor:
        error = dequantise(symbol, index, model.centroid) - target
        return curvature / 2 * error.square() + cost_of(bits, symbol, index)

    found = search.cheapest_symbols(target, curvature, bits, index, model.centroid)
    nearest = target.round()
    for other in (nearest, nearest - nearest.sign(), torch.zeros_like(target)):
        assert (cost(found) <= cost(other) + 1e-3).all()
    assert 0.3 < (found != 0).float().mean() < 0.9
