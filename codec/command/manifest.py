"""The manifest of a command: the result of each file as JSON, JSON lines or Parquet."""

import io
import json
import os
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import click

from lapic.bitstream import Error
from lapic.codec import files
from lapic.codec.command.batch import Report
from lapic.codec.streams import STANDARD_OUTPUT

SUFFIXES = (".json", ".jsonl", ".parquet")  # of files that a new manifest replaces


def check_manifest(name: str, sources: Iterable[str], targets: Iterable[str]) -> None:
    """Raise before the work if a manifest of this name must not or cannot be written.

    Raises:
        Error: it is one of the files that are read or written, or exists and is no manifest by its name, or its folder
            does not, or its address holds a password, or pyarrow is missing for Parquet.
        UsageError: it and a target would both go to standard output.
    """
    name, targets = files.local_name(name), list(targets)
    if name.lower().endswith(".parquet"):
        _pyarrow()
    if name in STANDARD_OUTPUT:
        if any(target in STANDARD_OUTPUT for target in targets):
            raise click.UsageError("OUTPUT and the manifest cannot both go to standard output")
        return
    taken = {_absolute(one) for one in (*sources, *targets) if one != "-"}
    if not taken.isdisjoint({_absolute(name), name if files.is_address(name) else os.path.realpath(name)}):
        raise Error(f"the manifest {name} would replace a file that is read or written")
    _refuse_others(name)
    files.check_absent(name, force=True)


def _refuse_others(name: str) -> None:
    """Raise `Error` if a file exists that by its name is no manifest."""
    there = files.exists(name) if files.is_address(name) else os.path.isfile(name)
    if there and not name.lower().endswith(SUFFIXES):
        raise Error(f"{name} exists, and by its name is no manifest: {', '.join(SUFFIXES)} would be replaced")


def _absolute(name: str) -> str:
    """A name that does not depend on the working folder."""
    return name if files.is_address(name) else os.path.abspath(name)


def write_manifest(report: Report, name: str) -> None:
    """Write the report's rows to a file, an address, or standard output for "-": as Parquet for names that end with
    .parquet, as JSON lines for .jsonl, else as one JSON array.

    Raises:
        Error: it cannot be written, exists and is no manifest by its name, or pyarrow is missing for Parquet.
    """
    name = files.local_name(name)
    if name.lower().endswith(".parquet"):
        data = _parquet(report.rows)
    elif name.lower().endswith(".jsonl"):
        data = "".join(json.dumps(row) + "\n" for row in report.rows).encode()
    else:
        data = (json.dumps(report.rows, indent=1) + "\n").encode()
    if name not in STANDARD_OUTPUT:
        _refuse_others(name)  # it may have come meanwhile, as a frame of an animation
    files.write_output(name, data)


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    """A Parquet file of rows that may lack columns. Bytes that are no Unicode, as file names may have, are
    escaped."""
    pyarrow = _pyarrow()
    rows = [{key: _unicode(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    columns = dict.fromkeys(name for row in rows for name in row)
    table = pyarrow.table({column: pyarrow.array([row.get(column) for row in rows]) for column in columns})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def _unicode(text: str) -> str:
    """A text whose bytes that are no Unicode are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _pyarrow() -> ModuleType:
    """The package pyarrow. Raises `Error` if it is missing."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise Error(f"{error.name} is missing: pip install pyarrow, or name the manifest .jsonl") from None
    return pyarrow
