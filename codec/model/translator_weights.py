"""Weights of translators on disk and in memory: those of codec.nets.translator and of codec.nets.lptn."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.host import isolated
from lapic.codec.model.codec_weights import cached_by_file, default_dtype
from lapic.codec.model.shipped import SUFFIX, WEIGHTS
from lapic.codec.model.weights_file import damaged_weights, read_weights
from lapic.codec.nets.lptn import LPTN
from lapic.codec.nets.translator import Translator, TranslatorConfig

TRANSLATORS = WEIGHTS / "translators"


@dataclass
class LoadedTranslator:
    """A translator in memory."""

    name: str
    net: Translator | LPTN
    card: dict[str, str]
    device: torch.device

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the network; LPTN has one without a name."""
        return self.net.config.tasks if isinstance(self.net, Translator) else ("",)


def save(path: Path, net: Translator | LPTN, card: dict[str, str]) -> None:
    """Write a weights file: safetensors in float16, with kind, configuration and provenance as metadata."""
    tensors = {name: value.detach().half().contiguous() for name, value in net.state_dict().items()}
    if isinstance(net, Translator):
        metadata = {"kind": "translator", "config": json.dumps(asdict(net.config))}
    else:
        metadata = {"kind": "lptn", "config": json.dumps(net.counts())}
    files.write_output(str(path), serialise(tensors, metadata | {"card": json.dumps(card)}))


def find(name: str | os.PathLike[str]) -> Path:
    """The weights file of a shipped translator by its name, or else the name as a path, which need not exist.

    Raises:
        TypeError: `name` is neither a string nor a path.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"a translator is given by the path of its weights file, not by {type(name).__name__}")
    shipped = {path.stem: path for path in TRANSLATORS.glob(f"*{SUFFIX}")}
    return shipped.get(os.fspath(name), Path(name))


def read(name: str) -> tuple[Translator | LPTN, dict[str, str]]:
    """A translator in float32 and its card, by the name of a shipped one or the path of a weights file.

    Raises:
        Error: there is no such file, it is damaged, or it is no translator.
    """
    path = find(name)
    tensors, metadata = read_weights(path)
    if metadata.get("kind") not in ("translator", "lptn"):
        raise Error(f"weights {path.name} are not those of a translator")
    with damaged_weights(path):
        config = json.loads(metadata["config"])
        if metadata["kind"] == "lptn":
            net: Translator | LPTN = LPTN(**config)
        else:
            net = Translator(config_of(config))
        net.load_state_dict({key: value.float() for key, value in tensors.items()}, assign=True)
        return net, dict(json.loads(metadata["card"]))


def config_of(stored: dict[str, Any]) -> TranslatorConfig:
    """A configuration from its JSON. Raises TypeError or ValueError if it does not fit."""
    return TranslatorConfig(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    )


@cached_by_file(find)
@isolated
def load(name: str, device: str = "cpu", dtype: torch.dtype | None = None) -> LoadedTranslator:
    """A translator ready for use: as `read`, on a device ("cpu", "cuda", "cuda:N").

    Args:
        dtype: of the convolutions; None chooses by device.
    """
    net, card = read(name)
    torch_device = torch.device(device)
    dtype = dtype or default_dtype(torch_device)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and isinstance(net, Translator):
            module.to(dtype)  # LPTN outputs pixels directly: half precision would be visible
    net = net.to(torch_device, memory_format=torch.channels_last).requires_grad_(False).eval()
    return LoadedTranslator(Path(name).stem, net, card, torch_device)
