"""Matrices as bytes in weights files."""

import torch

from lapic.codec.model import weights_file
from lapic.codec.model.codec_weights import load
from lapic.codec.model.shipped import WEIGHTS


def test_rows_of_bytes_are_as_near_as_their_scales_say() -> None:
    weight = (
        torch.randn(40, 30, 1, 1, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-7, 3, 40)[:, None, None, None]
    )
    numbers, scale = weights_file.rows_of_bytes(weight)
    assert (numbers.dtype, scale.dtype) == (torch.int8, torch.float16)
    largest = weight.flatten(1).abs().amax(1)
    found = weights_file.of_bytes(numbers, scale)
    error = (found - weight).flatten(1).abs().amax(1)
    assert (error <= scale.float() / 2 * 1.001).all()
    assert (scale.float() <= largest / 127 * 1.001 + 2**-24).all()
    assert numbers.abs().max() <= 127


def test_what_bytes_make_gives_the_same_bytes() -> None:
    weight = torch.randn(50, 64, 1, 1, generator=torch.Generator().manual_seed(1))
    weight[7] = 0
    first = weights_file.rows_of_bytes(weight)
    again = weights_file.rows_of_bytes(weights_file.of_bytes(*first))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not weights_file.of_bytes(*first)[7].any()


def test_the_float_tensors_of_a_file_are_those_of_its_model() -> None:
    tensors, _ = weights_file.read_weights(WEIGHTS / "eye.safetensors")
    in_bytes = {name for name in tensors if name.startswith("scales.")}
    assert len(in_bytes) > 30
    floats = weights_file.float_tensors(tensors)
    state = load("eye", dtype=torch.float32).transforms.state_dict()
    assert floats.keys() == state.keys()
    assert all(torch.equal(floats[name], value) for name, value in state.items())
    name = "synthesis.up.weight"
    row = tensors[f"transforms.{name}"][5].float() * tensors[f"scales.{name}"][5].float()
    assert torch.equal(floats[name][5], row)
    assert not in_bytes & {"scales.synthesis.linear.weight", "scales.synthesis.enter.weight"}
