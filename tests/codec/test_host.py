"""Bytes and pixels are the same whatever the program around has set in torch, and its settings stay as they are."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import lapic
from lapic import bitstream
from lapic.codec import host
from lapic.codec.decode import decoder
from lapic.codec.model import codec_weights, translator_weights

State = Callable[[], AbstractContextManager]


@contextmanager
def set_to(get: Callable[[], Any], change: Callable[[Any], object], value: Any) -> Iterator[None]:
    """A setting of the process, which must be as it was set when the context ends."""
    before = get()
    change(value)
    try:
        yield
        assert get() == value
    finally:
        change(before)


def attribute(owner: object, name: str, value: object) -> State:
    return partial(set_to, partial(getattr, owner, name), partial(setattr, owner, name), value)


PRECISION = torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
DETERMINISTIC = torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
STATES: list[list[State]] = [
    [nullcontext, *(partial(set_to, torch.get_default_dtype, torch.set_default_dtype, kind)
                    for kind in (torch.float64, torch.bfloat16, torch.float16))],
    [nullcontext, *(partial(torch.autocast, "cpu", kind) for kind in (torch.bfloat16, torch.float16))],
    [nullcontext, torch.inference_mode, torch.no_grad, torch.enable_grad],
    [nullcontext, partial(torch.device, "meta")],
    [nullcontext, *(partial(set_to, *PRECISION, value) for value in ("high", "medium"))],
    [nullcontext, partial(set_to, *DETERMINISTIC, True)],
    [nullcontext, attribute(torch.backends.mkldnn, "enabled", False)],
    [nullcontext, *(partial(set_to, torch.get_num_threads, torch.set_num_threads, number) for number in (1, 2, 3))],
]  # fmt: skip
if hasattr(torch.backends.mkldnn, "conv"):
    STATES.append([nullcontext, attribute(torch.backends.mkldnn.conv, "fp32_precision", "bf16")])
host_states = st.tuples(*map(st.sampled_from, STATES))


@contextmanager
def within(states: tuple[State, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for state in states:
            stack.enter_context(state())
        yield


@cache
def picture() -> Image.Image:
    rows, columns = np.mgrid[:24, :40]
    noise = np.random.default_rng(0).normal(0, 12, (24, 40, 3))
    waves = 128 + 60 * np.sin(rows / 3)[..., None] + 50 * np.cos(columns[..., None] / (2, 3, 5))
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


def encoded(effort: int) -> bytes:
    return lapic.encode(picture(), 70, effort=effort, device="cpu")


def pixels(data: bytes) -> bytes:
    return lapic.decode(data, device="cpu").tobytes()


def restored() -> bytes:
    return lapic.restore(picture(), "denoise", device="cpu").tobytes()


@cache
def expected(effort: int) -> tuple[bytes, bytes]:
    data = encoded(effort)
    return data, pixels(data)


@settings(deadline=None, max_examples=25, phases=[Phase.generate])  # a failing example is short enough
@given(host_states, host_states, st.sampled_from([0, 1]))
def test_bytes_and_pixels_are_the_same_in_any_state(
    encoding: tuple[State, ...], decoding: tuple[State, ...], effort: int
) -> None:
    data, shown = expected(effort)
    with within(encoding):
        assert encoded(effort) == data
    with within(decoding):
        assert pixels(data) == shown


@settings(deadline=None, max_examples=6)
@given(host_states)
def test_restored_pixels_are_the_same_in_any_state(states: tuple[State, ...]) -> None:
    plain = restored()
    with within(states):
        assert restored() == plain


@pytest.mark.parametrize("state", [
    torch.inference_mode, partial(torch.autocast, "cpu", torch.bfloat16), partial(torch.device, "meta"),
    partial(set_to, torch.get_default_dtype, torch.set_default_dtype, torch.float64),
])  # fmt: skip
def test_models_loaded_first_in_a_state_serve_all_calls(state: State) -> None:
    (data, shown), plain = expected(1), restored()
    realistic = lapic.decode(data, device="cpu", realism=1).tobytes()
    for load in (codec_weights.load, translator_weights.load):
        load.cache_clear()
    with state():
        of_codec, of_translator = (
            codec_weights.load("eye-high", "cpu").transforms,
            translator_weights.load("camera", "cpu").net,
        )
        lapic.decode(data, device="cpu", realism=1)
    assert (encoded(1), pixels(data), restored()) == (data, shown, plain)
    assert lapic.decode(data, device="cpu", realism=1).tobytes() == realistic
    for weight in (*of_codec.parameters(), *of_translator.parameters()):
        assert not weight.is_inference()
        assert weight.device.type == "cpu"


def test_threads_do_not_change_the_setting_of_the_host_or_each_others_bytes() -> None:
    data, shown = expected(1)
    found, together = [], threading.Barrier(4)

    def work() -> None:
        together.wait()
        for _ in range(3):
            found.append((encoded(1), pixels(data)))

    with set_to(*PRECISION, "medium"):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [(data, shown)] * 12


def test_the_first_call_sets_and_the_last_sets_back() -> None:
    with set_to(*PRECISION, "medium"):
        first, second = host.isolation(), host.isolation()
        first.__enter__()
        assert host.keeps_float32("cpu")
        second.__enter__()
        first.__exit__(None, None, None)
        assert host.keeps_float32("cpu")
        second.__exit__(None, None, None)
        assert not host.keeps_float32("cpu")


def test_what_the_host_sets_meanwhile_stays() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with host.isolation():
            torch.set_float32_matmul_precision("highest")
            torch.set_float32_matmul_precision("high")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def _is_other(setting: host._Setting, value: object) -> bool:
    return value not in setting.accepted and type(value) is type(setting.accepted[0])


@pytest.mark.parametrize("cuda", [False, True])
def test_every_setting_is_held_and_set_back(cuda: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    kept = host._settings(cuda)
    others = ("tf32", "ieee", "medium", (True, False), True, False)  # one of which differs from what a setting has
    values = {setting: next(x for x in others if _is_other(setting, x)) for setting in kept}
    before = {setting: setting.get() for setting in kept}
    try:
        for setting, value in values.items():
            setattr(setting.owner, setting.name, value)
        with host.isolation():
            assert all(setting.get() in setting.accepted for setting in kept)
        assert {setting: setting.get() for setting in kept} == values
    finally:
        for setting, value in before.items():
            setting.restore(value)


def test_the_host_has_its_state_between_bands() -> None:
    header, tiles = bitstream.read(expected(0)[0])
    shown = decoder.decode_bands(codec_weights.load("eye-high", "cpu"), header, tiles)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for band in shown:
            assert torch.is_inference_mode_enabled()
            assert torch.is_autocast_enabled("cpu")
            assert band.tobytes() == expected(0)[1]


FORK = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "2"
import numpy as np
from PIL import Image
import lapic
from lapic.codec import threads

threads.free_cores = lambda enough: enough  # so that there is a pool of threads, on a busy machine too
image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 130, 3), np.uint8))

def decoded(data):
    return np.asarray(lapic.decode(data, device="cpu")).astype(int)

def encoded():
    return lapic.encode(image, 30, effort=1, tile=64, device="cpu")

data = encoded()
shown = decoded(data)
child = os.fork()
if not child:  # with one thread, whose sums may round otherwise
    same = np.abs(decoded(data) - shown).max() <= 4
    os._exit(0 if same and np.abs(decoded(encoded()) - shown).mean() < 8 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_encodes_and_decodes() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
