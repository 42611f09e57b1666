"""docs/API.md from signatures and docstrings, as they stand in the source."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType

import lapic
from lapic import bitstream
from lapic.codec import defaults, realtime

INTRODUCTION = """# Python API

Made from signatures and docstrings by `python -m tests.codec.test_docs`; a test holds it to them. How to use it from a
host program is in [LIBRARY.md](LIBRARY.md), what a version number promises in
[CONTRIBUTING.md](../CONTRIBUTING.md#versions). Type checkers see its type hints.

"""
PARTS = {
    "lapic": (lapic, [name for name in lapic.__all__ if name != "__version__"]),
    "lapic.codec.realtime": (realtime, ["RealtimeDecoder", "RealtimeEncoder"]),
    "lapic.bitstream": (bitstream, [name for name in bitstream.__all__ if name != "Error"]),
}
ABOUT = {
    "lapic": "`import lapic` is all that most programs need. `Image` is `PIL.Image`, `lapic.__version__` the version. "
    "A `Roi` is a region that matters, one of the kinds that `encode` names. "
    "What has a longer name is imported from its module: `from lapic.codec.model.shipped import model_folders`.",
    "lapic.codec.realtime": "Files and pictures of one size in real time on a GPU.",
    "lapic.bitstream": "The file format, for programs that read or write .lapic files without the networks; it needs "
    "NumPy and constriction, no torch. [FORMAT.md](FORMAT.md) specifies it. `lapic.bitstream.Error` is `lapic.Error`.",
}
CONSTANTS = {
    "LANE_SYMBOLS": "How many symbols that are not 0 `lanes_for` gives a lane; they take about 1.5 KiB.",
    "MISMATCH": "The message of an `Error` whose tile decoded to other symbols than the encoder's.",
    "PRECISION": "Probabilities are in units of 2^-24.",
}
SECTION = re.compile(r"^(Args|Returns|Raises|Attributes):\n((?: {4}.*\n|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^([\w, ]+): (.*)$", re.DOTALL)
WIDTH = 100


def page() -> str:
    """The text of docs/API.md."""
    parts = [INTRODUCTION.rstrip()]
    for title, (module, names) in PARTS.items():
        parts += [f"## {title}", ABOUT[title]]
        for name in sorted(names, key=lambda name: (name[0].isupper(), name.isupper(), name)):
            parts += list(_documented(module, name))
    return "\n\n".join(parts) + "\n"


def _documented(module: ModuleType, name: str) -> Iterator[str]:
    """The paragraphs for a public name."""
    yield f"### {name}"
    found = getattr(module, name)
    if not callable(found):
        yield _fenced(f"{name} = {found!r}")
        yield CONSTANTS[name]
        return
    [node] = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(found)))).body
    if isinstance(node, ast.FunctionDef):
        yield _fenced(_signature(node))
        yield _prose(node)
        return
    assert isinstance(node, ast.ClassDef)
    yield _fenced(_class(node))
    yield _prose(node)
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and (method.name == "__call__" or method.name[0] != "_"):
            yield f"#### {name}.{method.name}"
            yield _fenced(_signature(method))
            yield _prose(method)


def _class(node: ast.ClassDef) -> str:
    """The head of a class with its fields or the arguments of its `__init__`."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"class {node.name}({bases}):" if bases else f"class {node.name}:"]
    lines += [f"    {_field(each)}" for each in node.body if isinstance(each, ast.AnnAssign | ast.Assign)]
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            lines += textwrap.indent(_signature(each), "    ").splitlines()
    return "\n".join(lines) if len(lines) > 1 else lines[0].rstrip(":")


def _field(node: ast.AnnAssign | ast.Assign) -> str:
    """A field of a class; one that is made anew for each object is shown empty."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node)
    found = f"{ast.unparse(node.target)}: {_type(node.annotation)}"
    if node.value is None:
        return found
    return found + (" = {}" if "default_factory=dict" in ast.unparse(node.value) else f" = {ast.unparse(node.value)}")


def _signature(node: ast.FunctionDef) -> str:
    """A function's head, one argument a line where it is long; a property as a field."""
    if any(ast.unparse(mark) in ("property", "cached_property") for mark in node.decorator_list):
        return f"{node.name}: {_type(node.returns)}"
    arguments = _arguments(node.args)
    returns = f" -> {_type(node.returns)}" if node.returns else ""
    head = f"def {node.name}({', '.join(arguments)}){returns}"
    if len(head) > WIDTH:
        head = f"def {node.name}(\n" + "".join(f"    {each},\n" for each in arguments) + f"){returns}"
    return head.replace("'", '"')


def _arguments(given: ast.arguments) -> list[str]:
    """What stands between a function's brackets, without `self`."""
    plain = [*given.posonlyargs, *given.args]
    values = [None] * (len(plain) - len(given.defaults)) + given.defaults
    found = [_argument(*each) for each in zip(plain, values, strict=True)]
    if given.posonlyargs:
        found.insert(len(given.posonlyargs), "/")
    if given.kwonlyargs:
        found.append("*")
    found += [_argument(*each) for each in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [each for each in found if each != "self"]


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    """An argument with type and default, a default's value in place of its name."""
    found = f"{argument.arg}: {_type(argument.annotation)}" if argument.annotation else argument.arg
    if default is None:
        return found
    text = ast.unparse(default)
    return f"{found} = {getattr(defaults, text, default.value if isinstance(default, ast.Constant) else text)!r}"


def _type(annotation: ast.expr) -> str:
    """A type as it is written, without quotes and with what `ModelName` stands for."""
    return (
        ast.unparse(annotation).replace("'Image.Image'", "Image.Image").replace("ModelName", "str | os.PathLike[str]")
    )


def _prose(node: ast.FunctionDef | ast.ClassDef) -> str:
    """A docstring as Markdown: its sections become lists."""
    text = (ast.get_docstring(node) or "") + "\n"

    def section(found: re.Match[str]) -> str:
        entries: list[str] = []
        for line in textwrap.dedent(found[2]).splitlines():
            if line and (line[0] == " " or (entries and found[1] == "Returns")):
                entries[-1] += f" {line.strip()}"
            elif line:
                entries.append(line)
        return f"**{found[1]}**\n\n" + "\n".join(f"- {_item(entry)}" for entry in entries) + "\n\n"

    return SECTION.sub(section, text).strip()


def _item(entry: str) -> str:
    """An entry of a section, the names before its colon as code."""
    found = ENTRY.match(entry)
    if not found:
        return entry
    return ", ".join(f"`{name.strip()}`" for name in found[1].split(",")) + f": {found[2]}"


def _fenced(code: str) -> str:
    return f"```py\n{code}\n```"
