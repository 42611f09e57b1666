"""Codec models on disk by name and by id: those of the package, and own ones in the folders that are searched.

Reads the files' metadata only and needs no torch.
"""

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.defaults import AUTO_MODEL

WEIGHTS = Path(__file__).parents[1] / "weights"
SUFFIX = ".safetensors"
FOLDERS_VARIABLE = "LAPIC_MODELS"  # the environment variable that names folders of own models
HIGH_QUALITY = 60  # above it a second model is used, which was trained for these qualities alone
LOW, HIGH = (1.0, HIGH_QUALITY), (HIGH_QUALITY + 1 / 256, 100.0)  # in steps of 1/256
PAIRS = {name: {name: LOW, f"{name}-high": HIGH} for name in ("eye", "photo")}  # by the first model's name
QUALITY_RANGES = {"eye": PAIRS["eye"], "psnr": PAIRS["photo"]}  # of the models of "auto", by the tune
SERVED = PAIRS["eye"] | PAIRS["photo"] | {"fast": LOW}  # by the model
TRANSLATOR_KINDS = {"translator": "a translator", "lptn": "an LPTN translator"}  # by the kind in their metadata


@lru_cache(maxsize=1)
def shipped() -> dict[bytes, str]:
    """Model id -> name of every weights file in the package."""
    return {model_id(path): path.stem for path in sorted(WEIGHTS.glob(f"*{SUFFIX}"))}


def model_folders() -> list[Path]:
    """The folders that are searched for own models: those in the environment variable LAPIC_MODELS, then lapic/models
    in $XDG_DATA_HOME or ~/.local/share. They need not exist."""
    data = os.environ.get("XDG_DATA_HOME", "")
    data = data if os.path.isabs(data) else "~/.local/share"  # as the XDG base directory specification says
    named = [folder for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if folder]
    return [Path(os.path.expanduser(folder)) for folder in [*named, f"{data}/lapic/models"]]


def own_models() -> dict[bytes, Path]:
    """Model id -> weights file of every codec model in `model_folders`, of two with one id the first. Other files, such
    as translators and damaged ones, are skipped."""
    models: dict[bytes, Path] = {}
    for folder in model_folders():
        with suppress(OSError):  # a folder that cannot be read
            for path in files.files_in(folder, {SUFFIX}):
                with suppress(Error):
                    models.setdefault(model_id(path), path)
    return models


def model_id(path: Path) -> bytes:
    """The four-byte id of a codec model, from its file's metadata.

    Raises:
        Error: the file cannot be read, or holds no codec model.
    """
    metadata = read_metadata(path)
    if metadata.get("kind") in TRANSLATOR_KINDS:
        raise Error(f"weights {path.name} are those of {TRANSLATOR_KINDS[metadata['kind']]}, not of a codec model")
    try:
        identifier = bytes.fromhex(metadata["id"])
    except (KeyError, ValueError):
        identifier = b""
    if len(identifier) != 4 or "config" not in metadata:
        raise Error(f"weights {path.name} are not those of a codec model: lapic-train export makes them")
    return identifier


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors. Raises `Error` if it cannot be read."""
    return _read_metadata(path, file_state(path))


def file_state(path: Path) -> tuple[int, int]:
    """Time of the last change in nanoseconds and size in bytes. Raises `Error` unless `path` is a file."""
    try:
        state = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise Error(f"weights {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not path.is_file():  # reading a pipe would wait
        raise Error(f"weights {path} cannot be read: {'a folder' if path.is_dir() else 'not a file'}")
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=256)
def _read_metadata(path: Path, _: tuple[int, int]) -> dict[str, str]:
    """As `read_metadata`; the second argument is part of the key of the cache, so that a changed file is read again."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise Error(unreadable(path, error)) from None


def unreadable(path: Path, error: Exception) -> str:
    """One line on a weights file that safetensors cannot read."""
    if isinstance(error, OSError) and error.strerror:
        return f"weights {path} cannot be read: {error.strerror}"
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"weights {path} cannot be read: no whole safetensors file ({reason})"


def find_model(name: str | os.PathLike[str]) -> Path:
    """The weights file that the name of a shipped model, a path, or the name of an own model means, in this order.

    Raises:
        Error: there is none.
        TypeError: `name` is neither a string nor a path.
    """
    if not isinstance(name, str | os.PathLike) or isinstance(os.fspath(name), bytes):
        raise TypeError(f"a model is given by its name or the path of its weights file, not by {type(name).__name__}")
    path, text = Path(name), os.fspath(name)
    if text in shipped().values():
        return WEIGHTS / f"{text}{SUFFIX}"
    with suppress(OSError, ValueError):  # a name that no file can have
        if path.exists():
            return path
    own = {known.stem: known for known in reversed(own_models().values())}
    if text in own:
        return own[text]
    have = ", ".join([*shipped().values(), *own])
    raise Error(f"weights {text[:200]!r} cannot be read: there is no such file, and no such model (installed: {have})")


def pair_for(name: str | os.PathLike[str], tune: str) -> dict[str, tuple[float, float]] | None:
    """The two shipped models that serve all qualities between them, with their qualities, for a model's name as an
    encoder takes it: those of the tune for "auto", those whose first has the name. None for all other names and
    paths."""
    return QUALITY_RANGES[tune] if name == AUTO_MODEL else PAIRS.get(str(name))


def model_for(name: str | os.PathLike[str], quality: float, tune: str) -> str | os.PathLike[str]:
    """The name of the model that a name means to an encoder at a quality 1..100: of a pair (`pair_for`) the one that
    was trained for it, or else the name itself."""
    pair = pair_for(name, tune)
    return next(one for one, (_, highest) in pair.items() if quality <= highest) if pair else name


def name_of(model_id: bytes) -> str:
    """The name of the shipped model, or the path of the own model, with this id, as `find_model` takes it.

    Raises:
        Error: there is none.
    """
    if model_id in shipped():
        return shipped()[model_id]
    own = own_models()
    if model_id in own:
        return str(own[model_id])
    have = ", ".join(f"{name} {key.hex()}" for key, name in shipped().items())
    places = ", ".join(map(str, model_folders()))
    raise Error(
        f"model {model_id.hex()} is needed and not installed (shipped: {have}; own models looked for in {places}): "
        f"update lapic, name the weights file with --model, or set {FOLDERS_VARIABLE} to its folder"
    )


def installed_name(model_id: bytes) -> str | None:
    """The name of the shipped or own model with this id, None if there is none."""
    own = None if model_id in shipped() else own_models().get(model_id)
    return own.stem if own else shipped().get(model_id)


def check_model(name: str | os.PathLike[str], needed: bytes) -> Path:
    """The weights file of a model by name or path. Raises `Error` if its id is not the one that a file needs."""
    path = find_model(name)
    identifier = model_id(path)
    if identifier != needed:
        raise Error(f"the file needs the model {needed.hex()}, but {path.stem} is the model {identifier.hex()}")
    return path
