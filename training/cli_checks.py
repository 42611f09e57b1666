"""What the commands of `lapic-train` share besides options: checks, and failures as one line."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import click

from lapic.codec import streams
from lapic.codec.command.console import is_given
from lapic.codec.command.failures import reason, show_traceback

TRAINING = ("compressai", "filelock", "lightning_fabric", "torchvision", "webdataset")
EVALUATION = ("bjontegaard", "flip_evaluator", "lpips", "psutil", "pytorch_msssim", "ssimulacra2")
EXTRAS = dict.fromkeys(TRAINING, "training") | dict.fromkeys(EVALUATION, "evaluation")  # that bring a package


def options_of(context: click.Context, kind: type, options: dict[str, Any], refusal: str) -> dict[str, Any]:
    """Those of a command's options that the dataclass `kind` has. Raises UsageError if another one is given."""
    known = {field.name for field in fields(kind)}
    for parameter in context.command.params:
        if parameter.name in options.keys() - known and is_given(context, parameter.name):
            raise click.UsageError(f"{parameter.opts[0]} {refusal}")
    return {name: value for name, value in options.items() if name in known}


def check_losses() -> None:
    """Raise UsageError if the command under way was given an option of a loss that its run does not have."""
    context = click.get_current_context()
    chosen = context.params
    if chosen.get("style"):
        useless = dict.fromkeys(
            ("gan", "gan_weight", "gan_loss", "lpips", "periodic_weight"), "does not go with --style"
        )
    elif chosen.get("target"):
        useless = dict.fromkeys(("lpips", "periodic_weight", "backbone"), "does not go with --to")
        useless |= {} if chosen["gan"] else {"gan": "does not go with --to"}
    else:
        useless = {} if chosen["gan"] else dict.fromkeys(("gan_weight", "gan_loss"), "needs --gan")
        useless |= {} if chosen["lpips"] else {"backbone": "needs --lpips"}
    for parameter in context.command.params:
        if parameter.name in useless and is_given(context, parameter.name):
            is_off = chosen[parameter.name] is False
            raise click.UsageError(
                f"{(parameter.secondary_opts if is_off else parameter.opts)[0]} {useless[parameter.name]}"
            )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn failures into one line."""
    try:
        yield
    except (click.ClickException, ModuleNotFoundError):
        raise
    except Exception as error:
        show_traceback(error)
        raise click.ClickException(reason(error)) from None


def fill_qualities(options: dict[str, Any], model: str | None) -> None:
    """Set the qualities that are not given to those of the model that a run starts from, else to all."""
    from lapic.training.qualities import of_model

    with one_line_errors():
        lowest, highest = of_model(model)
    for name, quality in (("lowest", lowest), ("highest", highest)):
        if options[name] is None:
            options[name] = quality


class Commands(click.Group):
    """Commands that name in one line a package that is missing, and the extra of lapic that brings it, if one does."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was chosen. Raises ClickException if it needs a package that is not installed."""
        try:
            return super().invoke(context)
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            hint = f": pip install 'lapic[{EXTRAS[package]}]'" if package in EXTRAS else ""
            raise click.ClickException(f"{error.name} is missing{hint}") from None


@contextmanager
def one_line_output() -> Iterator[None]:
    """Turn a working folder that is gone, a standard output that is full or closed, and other failures of the system
    outside of `one_line_errors`, such as a shared library that is not found, into one line and exit code 1."""
    streams.open_closed()
    streams.escape_unknown()
    try:
        os.getcwd()
    except OSError as error:  # libraries would end the process without a word
        sys.exit(f"lapic-train: the working folder cannot be used: {error.strerror}")
    try:
        yield
    except OSError as error:
        show_traceback(error)
        is_output = error.strerror and error.filename is None  # to which click prints help and results
        streams.discard(sys.stdout)
        why = f"cannot write to standard output: {error.strerror}" if is_output else reason(error)
        sys.exit(f"lapic-train: {why}")
