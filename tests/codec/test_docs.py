"""docs/CLI.md is what the command says of itself, docs/API.md what signatures and docstrings say. `python -m
tests.codec.test_docs` writes both anew."""

from pathlib import Path

import click
import pytest

from lapic.codec.cli import main as lapic
from tests.codec import api_page

PAGE = Path(__file__).parents[2] / "docs" / "CLI.md"
API = PAGE.with_name("API.md")
INTRODUCTION = """# The command line

Made from the commands' own `--help` by `python -m tests.codec.test_docs`; a test holds it to them.

**Exit codes**: 0 done; 1 something failed, and one line on standard error for each failure says what; 2 wrong usage;
130 interrupted, 143 ended by SIGTERM; 141: the reader of standard output has closed it (SIGPIPE). Outputs appear whole
or not at all. Nothing is replaced without `--force`; a link is followed. With `LAPIC_DEBUG=1` in the environment a
failure comes with its traceback, and what libraries print is shown.

**Names**: `encode` writes to a name that ends in `.lapic`, has no suffix or one of no picture format; `photo.jpg` is
refused unless `--force-format` is given, as is `decode` to a name that ends in `.lapic`. `-` is standard input or
output; pipes and devices are read and written as they are. Addresses such as `s3://bucket/photo.png` are names too
([SCALE.md](SCALE.md)). From a folder the files with a known suffix are taken;
hidden files, pipes and broken links are left out, links to folders are not followed, and one line counts them.

**Completion** for your shell, as click gives it: put `eval "$(_LAPIC_COMPLETE=bash_source lapic)"` into `~/.bashrc`
(`zsh_source` into `~/.zshrc`; for fish, `_LAPIC_COMPLETE=fish_source lapic | source`).
"""


def page() -> str:
    parts = [INTRODUCTION]
    root = click.Context(lapic, info_name="lapic", terminal_width=100, max_content_width=100, **lapic.context_settings)
    parts.append(f"## lapic\n\n```\n{lapic.get_help(root)}\n```\n")
    for name in sorted(lapic.commands):
        context = click.Context(
            lapic.commands[name], info_name=name, parent=root, terminal_width=100, max_content_width=100
        )
        parts.append(f"## lapic {name}\n\n```\n{lapic.commands[name].get_help(context)}\n```\n")
    return "\n".join(parts)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.codec.test_docs"


def test_the_api_page_is_up_to_date() -> None:
    assert API.read_text() == api_page.page(), "run: python -m tests.codec.test_docs"


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, (_, names) in api_page.PARTS.items() for name in names]
)
def test_every_public_name_is_described(part: str, name: str) -> None:
    text = API.read_text().split(f"\n## {part}\n")[1].split("\n## ")[0]
    described = text.split(f"\n### {name}\n")[1].split("\n### ")[0].split("```\n")
    assert len(described[1].strip()) > 20


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (PAGE.parents[1] / "README.md").read_text()
    for path in PAGE.parent.glob("*.md"):
        assert f"docs/{path.name}" in readme, path.name


if __name__ == "__main__":
    PAGE.write_text(page())
    API.write_text(api_page.page())
