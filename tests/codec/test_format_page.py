"""The tables of docs/FORMAT.md say what is in the weights, in the code and in a golden file."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from lapic.bitstream import container, entropy
from lapic.codec import defaults
from lapic.codec.decode import picture_filter
from lapic.codec.exact import context, hyper
from lapic.codec.model.shipped import WEIGHTS, shipped
from lapic.codec.selftest import GOLDEN
from tests import reference, reference_pixels

PAGE = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text()
FIRST_GENERATION = ["eye", "eye-high", "photo", "photo-high"]
SYNTHESIS = "transforms.synthesis."


def tables(section: int) -> list[list[list[str]]]:
    """The tables of a section: rows of cells, the first row the headings."""
    text = re.search(rf"^## {section}\. .*?(?=^## |\Z)", PAGE, re.M | re.S).group()
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if line[:4] != "|---"]
        for block in re.findall(r"(?:^\|.*\n)+", text, re.M)
    ]


def table(section: int, *headings: str) -> list[list[str]]:
    """The rows of the only table of a section with these headings."""
    [found] = [rows[1:] for rows in tables(section) if rows[0] == list(headings)]
    return found


def codes(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]*\d", cell)]


Sizes = dict[str, int]
Tensors = set[tuple[str, tuple[int, ...], str]]
SIZES, SECOND = (
    {row[0]: int(row[column]) for row in table(3, "size", "value", "second generation", "of") if row[column]}
    for column in (1, 2)
)


def shape(cell: str, sizes: Sizes = SIZES, **more: int) -> tuple[int, ...]:
    """`(4N, K+W)` as numbers."""
    parts = re.sub(r"(?<=\d)(?=[A-Za-z(])", "*", cell.strip("()") if cell.count("(") == 1 else cell[1:-1]).split(",")
    return tuple(int(eval(part, {}, sizes | more)) for part in parts)


def test_the_annotated_file_is_the_file() -> None:
    data, at = (GOLDEN / "pixel-q1.lapic").read_bytes(), 0
    for offset, cell, field, value in table(11, "offset", "bytes", "field", "value"):
        assert int(offset) == at
        part = bytes.fromhex(codes(cell)[0])
        assert part == data[at : at + len(part)], field
        for word in re.findall(r"0x([0-9A-F]{8})", value):
            assert int(word, 16) == int.from_bytes(part, "little"), field
        if len(part) <= 2 and re.match(r"\d", value):
            assert int(numbers(value)[0]) == int.from_bytes(part, "little"), field
        at += len(part)
    assert at == len(data)
    assert zlib.crc32(data[8:23]) == int.from_bytes(data[23:27], "little")


def test_the_annotated_file_decodes_as_the_page_says() -> None:
    data, tensors = (GOLDEN / "pixel-q1.lapic").read_bytes(), load_file(WEIGHTS / "photo.safetensors")
    file = reference.read_file(data)
    [ans] = reference.Payload(file.payloads[0], tensors).lanes
    steps = table(11, "symbol", "state before", "q", "value", "state after")
    for channel, (symbol, before, q, value, after) in enumerate(steps):
        assert symbol == f"z of channel {channel}"
        assert ans.state == int(before, 16)
        assert ans.state % 2**24 == int(q)
        assert ans.decode(tensors["tables.hyper"][0, channel]) - 63 == int(value)
        assert ans.state == int(after, 16)
    values = [numbers(value) for _, value in table(11, "what", "value")]
    z, s, k, m = (array.ravel() for array in reference.decode_tile(file.payloads[0], 1, 1, file.quality, tensors))
    for numbered, found in zip(values[:2], (z, s), strict=True):
        channels = np.flatnonzero(found)
        assert numbered == np.stack([channels, found[channels]], axis=1).ravel().tolist()
    assert values[2] == [m[4], k[4]]
    shift = abs(tensors["centroid"][k[4], abs(s[4])])
    gain = np.exp(reference_pixels.level(tensors["transforms.log_gain"], file.quality)[4])
    assert values[3] == [pytest.approx((m[4] / 32 + s[4] - np.sign(s[4]) * shift) / gain, abs=1e-4)]
    assert [round(value) for value in values[4]] == values[5] == reference_pixels.decode(data, tensors).ravel().tolist()
    assert values[5] == np.asarray(Image.open(GOLDEN / "pixel-q1.lapic.png")).ravel().tolist()


def exact_tensors(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and type of all tensors that section 5 lists, and those of its text."""
    for layers, kind, weight, bias in table(5, "layer", "kind", "weight", "bias"):
        for layer in codes(layers):
            assert kind == ("depthwise" if weight.endswith("9)") else "pointwise")
            yield f"integers.{layer}.weight", shape(weight, sizes), "int16"
            if bias.startswith("("):
                yield f"integers.{layer}.bias", shape(bias, sizes), "int32"
    yield "integers.level.enter", shape("(L, X)", sizes), "int32"
    yield "integers.level.leave", shape("(L, 2M)", sizes), "int32"
    yield "integers.filter.scale", (3, 76), "int32"


def float_tensors(
    section: int, prefix: str = "", heading: str = "layer", sizes: Sizes = SIZES
) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and type of all tensors that the table of layers of a section lists."""
    for layers, kind, weight, bias in table(section, heading, "kind", "weight", "bias"):
        for layer in codes(layers):
            if kind in ("1x1", "3x3"):
                ends = (1, 1) if kind == "1x1" else ()
                yield f"{prefix}{layer}.weight", (*shape(weight, sizes), *ends), "float16"
                if bias != "none":
                    yield f"{prefix}{layer}.bias", shape(bias, sizes), "float16"
            elif kind == "modulation":
                yield f"{prefix}{layer}", shape(weight, sizes), "float16"
            else:
                channels = sizes[kind.removeprefix("block of ")]
                for cell, inner, taps, offset in table(7, "layer of a block", "kind", "weight", "bias"):
                    [name] = codes(cell)
                    ends = (1, 1) if inner == "1x1" else ()
                    yield f"{prefix}{layer}.{name}.weight", (*shape(taps, c=channels), *ends), "float16"
                    yield f"{prefix}{layer}.{name}.bias", shape(offset, c=channels), "float16"


def found_in(path: Path, prefixes: tuple[str, ...]) -> Tensors:
    """Name, shape and type of the tensors of a file. Bytes are checked against section 6, and count as of the type that
    their kind has else."""
    found, tensors = set(), load_file(path)
    for name, tensor in tensors.items():
        kind = str(tensor.dtype)
        if name.startswith("integers.") and name.endswith("weight"):
            assert kind == ("int8" if np.abs(tensor.astype(int)).max() <= 127 else "int16"), name
            kind = "int16"
        elif kind == "int8":
            scale = tensors[name.replace("transforms.", "scales.")]
            assert (scale.shape, str(scale.dtype)) == (tensor.shape[:1], "float16")
            kind = "float16"
        if name.startswith(prefixes):
            found.add((name, tensor.shape, kind))
    return found


@pytest.mark.parametrize("name", FIRST_GENERATION)
def test_the_tensors_are_those_of_the_page(name: str) -> None:
    check_tensors(WEIGHTS / f"{name}.safetensors", {*exact_tensors(SIZES), *float_tensors(7, SYNTHESIS)}, SIZES)
    assert set(float_tensors(9)) == found_in(WEIGHTS / "realism" / f"{name}.safetensors", ("",))


def test_the_tensors_of_the_second_generation_are_those_of_the_page() -> None:
    synthesis = float_tensors(7, SYNTHESIS, "layer of the second generation", SECOND)
    check_tensors(WEIGHTS / "fast.safetensors", {*exact_tensors(SECOND), *synthesis}, SECOND)


def test_the_realistic_decoder_of_the_second_generation_is_that_of_the_page() -> None:
    left_out = ("see.", "there.0.blocks.1.", "back.0.blocks.1.")
    listed = float_tensors(9, sizes=SECOND | {"B": 0})  # of `see`, which is another layer
    others = {tensor for tensor in listed if not tensor[0].startswith(left_out)}
    see = set(float_tensors(9, "", "layer of the second generation", SECOND))
    assert others | see == found_in(WEIGHTS / "realism" / "fast.safetensors", ("",))


def check_tensors(path: Path, listed: Tensors, sizes: Sizes) -> None:
    assert listed == found_in(path, ("integers.", SYNTHESIS))
    others = {
        ("tables.hyper", shape("(L, Z, 127)", sizes), "int32"),
        ("tables.lengths", (64,), "int32"),
        ("centroid", (64, 4), "float32"),
        ("transforms.log_gain", shape("(L, M)", sizes), "float16"),
    }
    assert others <= found_in(path, ("tables.", "centroid", "transforms.log_gain"))


def test_the_models_are_those_of_the_page() -> None:
    rows = table(6, "model", "id", "used by the encoder for qualities")
    assert {bytes.fromhex(codes(row[1])[0]): codes(row[0])[0] for row in rows} == shipped()


def test_the_limits_are_those_of_the_code() -> None:
    limits = {what: limit for what, limit, _ in table(10, "what", "limit", "beyond it")}
    expected = {
        "format version": [container.VERSION],
        "quality field Q": [256, 100 * container.QUALITY_ONE],
        "chunks": [container.MAX_CHUNKS],
        "lanes of a tile": [2, entropy.LANES_MAX],
        "symbols s, coefficients a": [-entropy.SYMBOL_MAX, entropy.SYMBOL_MAX],
        "n of `filt`": [0, picture_filter.FINEST],
        "activations": [0, hyper.ACTIVATION_MAX],
        "symbols S that the context sees": [-context.SYMBOL_SEEN, context.SYMBOL_SEEN],
        "means m": [-hyper.MEAN_MAX, hyper.MEAN_MAX],
        "scale indices k": [0, hyper.SCALES - 1],
    }
    assert {what: numbers(limits[what].replace("..", " ")) for what in expected} == expected
    assert f"{defaults.MAX_PIXELS:,}" in limits["pixels of a picture"]
    for what, value in (
        ("width, height", container.MAX_EDGE),
        ("inflated `iccp`, `exif`, `xmpd`", container.MAX_METADATA),
    ):
        assert "2^24" in limits[what]
        assert value == 2**24
    assert "2^16" in limits["places of a tile"]
    assert container.MAX_TILE == 2**16


def test_the_page_says_extension_and_media_type() -> None:
    from lapic.codec import pillow_plugin

    assert f"`{pillow_plugin.SUFFIX}`, the media type `{pillow_plugin.MIME}`" in PAGE
