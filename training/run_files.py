"""The files of a run: options.json, checkpoint.pt, and its logs as CSV."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.failures import reason
from lapic.codec.model.shipped import find_model

CHOSEN = ("cycle", "gan", "init", "model", "net", "tasks")  # options that a run keeps when it is resumed
FORMER_NAMES = {"brought": "prior_training"}  # keys of options.json in older runs


def write_options(options: Any, notes: dict[str, Any]) -> None:
    """Write the options of a run, a dataclass with the folder `out`, and what an export needs besides (`notes`) to
    options.json, whole or not at all. Raises `Error` if that fails."""
    described = asdict(options) | notes
    files.write_output(str(options.out / "options.json"), json.dumps(described, default=str, indent=2).encode())


def read_options(out: Path) -> dict[str, Any]:
    """The options and notes of the run in the folder `out`. Raises OSError if there are none, and `Error` if they are
    damaged."""
    path = out / "options.json"
    try:
        described = json.loads(path.read_text())
        return {FORMER_NAMES.get(key, key): value for key, value in described.items()}
    except (ValueError, AttributeError):
        raise Error(f"{path} is damaged") from None


def resumed_options(out: Path) -> dict[str, Any]:
    """As `read_options` if the folder `out` holds a run that goes on, none else."""
    return read_options(out) if checkpoint_of(out).exists() else {}


def check_resumed(out: Path, described: dict[str, Any], keys: Iterable[str]) -> None:
    """Raise ValueError if the folder `out` holds a checkpoint of another run than is `described`, by these of its
    options or notes."""
    before, now = resumed_options(out), json.loads(json.dumps(described, default=str))
    for key in keys:
        old, new = (one.get(key) or None for one in (before, now))
        if before and old != new:
            raise ValueError(f"{out} holds another run, with {key} {old}, not {new}: name another --out")


@contextmanager
def only_run(out: Path, is_first: bool = True) -> Iterator[None]:
    """A block in which no other run has the folder `out`, by a lock on a file in it that ends with the process; of
    several processes the first holds it. Raises `Error` if another run has it."""
    lock = FileLock(out / "run.lock", timeout=0)
    try:
        if is_first:
            lock.acquire()
    except Timeout:
        raise Error(f"another run is writing to {out}: name another --out") from None
    except (OSError, NotImplementedError):
        pass  # a file system without locks
    try:
        yield
    finally:
        lock.release()


def digests_of(**starts: str | None) -> dict[str, dict[str, str]]:
    """The note of a new run on the codecs that it starts from, by the option of each: the SHA-256 of their weights
    files. Raises `Error` if there is no such codec."""
    return {"sha256": {option: _digest(name) for option, name in starts.items() if name}}


def checked_digests(out: Path, **starts: str | None) -> dict[str, dict[str, str]]:
    """As `digests_of`, but if the run in `out` is resumed the note that it has. Raises `Error` if a file that it names
    has changed since."""
    described = resumed_options(out)
    if not described:
        return digests_of(**starts)
    for option, name in starts.items():
        if name:
            check_start(described, option, name)
    return {"sha256": described.get("sha256", {})}


def check_start(described: dict[str, Any], option: str, name: str) -> None:
    """Raise `Error` if the weights file of the codec `name` is not the one that a run started from by that option, as
    its options.json describes it. Older runs have no note of that."""
    noted = described.get("sha256", {}).get(option)
    if noted and _digest(name) != noted:
        raise _changed(name)


def check_identity(described: dict[str, Any], name: str, identity: bytes) -> None:
    """As `check_start` for a run that trains the synthesis alone: the codec `name` must have the same id, but its
    synthesis may be the one that an export of the run put there."""
    if described.get("identity", identity.hex()) != identity.hex():
        raise _changed(name)


def _changed(name: str) -> Error:
    return Error(f"the weights file of {name} has changed since this run started: put it back, or start a new run")


def _digest(name: str) -> str:
    """The SHA-256 of a codec's weights file in hexadecimal, by a shipped name or the file's path."""
    return files.digest_of(find_model(name))


def checkpoint_of(out: Path) -> Path:
    """The path of a run's checkpoint."""
    return out / "checkpoint.pt"


def write_checkpoint(out: Path, write: Callable[[Path], object], is_first: bool = True) -> Path:
    """Replace a run's checkpoint, whole or not at all, and return its path. Raises what `write` does.

    Args:
        write: writes the new checkpoint to a path; every process calls it.
        is_first: whether this is the first process, which puts the new checkpoint in the old one's place.
    """
    path = checkpoint_of(out)
    new = path.with_suffix(".new")
    try:
        write(new)
    except BaseException:
        if is_first:
            new.unlink(missing_ok=True)
        raise
    if is_first:
        new.replace(path)
    return path


@contextmanager
def damaged_checkpoint(path: Path) -> Iterator[None]:
    """Raise any exception that loading a checkpoint causes as an `Error` about it; those of the system and a lack of
    memory as they are."""
    try:
        yield
    except (OSError, Error):
        raise
    except Exception as error:
        if reason(error) == "not enough memory":
            raise
        raise Error(f"{path} is damaged, or of other networks") from error


def prior_training(out: Path, card: dict[str, str]) -> dict[str, float]:
    """Steps and hours of training behind the weights that the run in `out` starts from: as options.json has them if the
    run is resumed, else those of the weights' card."""
    described = resumed_options(out)
    return described["prior_training"] if described else training_of(card)


def training_of(card: dict[str, str]) -> dict[str, float]:
    """Steps and hours of training behind weights, by their card."""
    return {key: float(card.get(key, 0)) for key in ("steps", "hours")}


class CsvLog:
    """A CSV file that grows by one row a call. Its columns are those of its first row, also in a resumed run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: dict[str, float]) -> None:
        """Append a row: figures without a column are left out, columns without a figure stay empty."""
        with self.path.open("a+", newline="") as file:
            file.seek(0)
            columns = next(csv.reader(file), None)
            writer = csv.DictWriter(file, columns or list(row), extrasaction="ignore")
            if columns is None:
                writer.writeheader()
            writer.writerow(row)


def text(figures: dict[str, float]) -> str:
    """Figures as one line of the console."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def megapixels_per_step(options: Any) -> float:
    """Megapixels of a step's crops in each process, by the options `batch` and `patch`."""
    return options.batch * options.patch**2 / 1e6
