"""docs/BENCHMARKS.md from what was measured, results/RELEASE/*.json.

    python benchmarks/page.py [--out FILE]

A file of results is one section: `title`, `text` and `notes` (Markdown), `pictures` and `tables`. A table has columns,
each with a name and, where its cells are numbers, a format and a unit, and rows; beside them it says by which command,
on which machine and on which day it was measured; the file names the version of lapic as `lapic`. Tables with `on_page`
false are data only.
"""

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SECTIONS = {  # files of results, and the release that each was measured with
    "eye": "0.2", "browser": "0.2", "speed": "0.2",
    "kodak": "0.1", "realism": "0.1", "restoration": "0.1", "gpu": "0.1", "gigapixels": "0.1",
    "cost": "0.1",
}  # fmt: skip
INTRODUCTION = """# Benchmarks

Made by `python benchmarks/page.py` from [results](../results); a test holds it to them. Tables name command, version,
machine and day. Where a later version needs other options for the same settings, the section says which. Twelve photos
at equal bytes are in [PHOTOS.md](PHOTOS.md), what was tried in a [notebook](notebook/README.md).

`squeezenet1_1_features.npz` in the commands is the backbone of LPIPS: the arrays of the feature layers of torchvision's
SqueezeNet 1.1 under their names there (`features.0.weight` ...). Without `--lpips-backbone` torchvision downloads them.
"""


def cell(value: Any, column: dict[str, str]) -> str:
    """A value of a table as it is shown; nothing for None."""
    return "" if value is None else format(value, column.get("format", "")) if "format" in column else str(value)


def heading(column: dict[str, str]) -> str:
    """Name of a column with its unit."""
    return f"{column['name']} ({column['unit']})" if "unit" in column else column["name"]


def row(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def table(content: dict[str, Any], version: str | None = None) -> str:
    """A table with its caption above and its origin below; `version` is that of lapic."""
    columns = content["columns"]
    lines = [row([heading(column) for column in columns]), "|---" * len(columns) + "|"]
    lines += [row([cell(*pair) for pair in zip(cells, columns, strict=True)]) for cells in content["rows"]]
    origin = [f"`{content['command']}`"] if "command" in content else []
    origin += [f"lapic {version}"] if origin and version else []
    origin += [content[key] for key in ("machine", "date") if key in content]
    parts = [content.get("caption"), "\n".join(lines), f"*{'; '.join(origin)}*" if origin else None]
    return "\n\n".join(part for part in parts if part)


def section(name: str) -> str:
    """The section of the results in a file of this name."""
    results = json.loads((ROOT / "results" / SECTIONS[name] / f"{name}.json").read_text())
    tables = [(content, content.get("on_page", True)) for content in results["tables"]]
    parts = [f"## {results['title']}", *results["text"]]
    parts += ["\n".join(f"![{what}]({path})" for path, what in results["pictures"])] if "pictures" in results else []
    parts += [table(content, results["lapic"]) for content, on_page in tables if on_page]
    others = ", ".join(content["name"] for content, on_page in tables if not on_page)
    data = f"All figures as data: [{name}.json](../results/{SECTIONS[name]}/{name}.json)"
    notes = [*results["notes"], data + (f" (also {others})." if others else ".")]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)]) + "\n"


def page() -> str:
    """The whole document."""
    return "\n".join([INTRODUCTION, *map(section, SECTIONS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "BENCHMARKS.md")
    parser.parse_args().out.write_text(page())


if __name__ == "__main__":
    main()
