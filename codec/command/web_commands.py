"""The commands `lapic view` and `lapic web`. Nothing heavy is imported before they need it."""

import signal
import sys
import threading
from pathlib import Path

import click

from lapic.bitstream.error import Error
from lapic.codec.command.console import one_line_errors, print_stderr, write_line
from lapic.codec.command.failures import attempt, named

SHOWN = {".apng", ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".lapic", ".png", ".webp"}


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--no-browser", is_flag=True, help="Open no browser; the page is at the address that is printed.")
@one_line_errors
def view(files: tuple[str, ...], no_browser: bool) -> None:
    """Show .lapic files and photos in the browser: to zoom in, compare and make files.

    Photos are of the formats that browsers open: PNG, JPEG, WebP, AVIF, GIF and BMP. The page is served to this machine
    alone, at a random address, with these FILES (of a folder, those in it) and nothing else. Ctrl-C ends it.
    """
    from lapic.codec.command.serve import PageServer, Site, page_folder
    from lapic.codec.files import files_in, picture_suffixes

    page, pictures, failed = page_folder(), [], False
    not_shown = picture_suffixes() - SHOWN
    for name in files:
        listed = attempt(lambda name: {"paths": list(files_in(Path(name), SHOWN))}, name)
        outcomes = [(name, listed)] if "error" in listed else [
            (str(path), attempt(lambda path: {"path": _readable(path, not_shown)}, path)) for path in listed["paths"]
        ]  # fmt: skip
        for source, outcome in outcomes:
            if "error" in outcome:
                failed = True
                print_stderr(f"lapic: {named(outcome['error'], source)}")
            else:
                pictures.append(outcome["path"])
    if not pictures:
        if not failed:
            raise Error("there are no pictures to show")
        sys.exit(1)
    with PageServer(Site(page, pictures)) as server:
        try:
            write_line(server.address)
            if not no_browser:
                threading.Thread(target=_open_browser, args=[server.address], daemon=True).start()
            server.serve_forever()
        except SystemExit as end:
            if end.code != 128 + signal.SIGINT:
                raise
    if failed:
        sys.exit(1)


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "-f", "--force", is_flag=True, help="Write into a folder that is not empty, and replace what is in the way."
)
@one_line_errors
def web(output: str, force: bool) -> None:
    """Write the page of `lapic view` into the folder OUT, as static files for any web server.

    lapic.js in it is an ES module with decode, encode and info, lapic-image.js defines the element <lapic-image>. With
    the headers that docs/WEB.md names the page uses all cores, 8 at most, without them one.
    """
    from lapic.codec.command.serve import write_page

    written = write_page(Path(output), force)
    total = sum(path.stat().st_size for path in written)
    print_stderr(f"{len(written)} files, {total / 1e6:.1f} MB")


def _readable(path: Path, not_shown: set[str]) -> Path:
    """The absolute path of a file that the page can open: its suffix is none of `not_shown`. Raises `Error` with the
    reason if there is none."""
    if path.exists() and not path.is_file():
        raise Error("it is no regular file")
    if (suffix := path.suffix.lower()) in not_shown:
        raise Error(f"browsers do not open {suffix}: convert it to PNG, or encode it first")
    try:
        with path.open("rb"):
            return path.resolve()
    except OSError as error:
        raise Error(error.strerror or str(error)) from None


def _open_browser(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        print_stderr("lapic: no browser is found here: open the address in one")
