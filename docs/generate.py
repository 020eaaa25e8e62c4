"""Writes docs/reference/ from the code: `python docs/generate.py`.

tests/test_docs.py fails if the pages differ from what this makes.
"""

import importlib
import inspect
import re
import types
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import charlm
from charlm import presets, train
from charlm.__main__ import COMMANDS
from charlm.cli import option_table

FOLDER = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/generate.py; change the code and run it again. -->"
SECTIONS = "Args", "Returns", "Yields", "Raises"


def options(name: str) -> type:
    """The dataclass of a command's options."""
    return getattr(importlib.import_module(COMMANDS[name][0]), name.capitalize())


def commands() -> str:
    """The page of every command's options."""
    lines = ["# Commands", "", GENERATED, ""]
    lines += [
        "`charlm COMMAND` and `python -m charlm.COMMAND` are the same, except for",
        "`charlm import`, which is `python -m charlm.import_weights`. `charlm help COMMAND` and",
        "`charlm COMMAND --help` list the options below, the most used ones first.",
        "`charlm --version` prints the versions of charlm, Python, Keras and the backends;",
        "`charlm completion bash` or `zsh` prints a script for tab completion.",
        "",
    ]
    lines += [
        f"* [`charlm {name}`](#charlm-{name}): {what}" for name, (_, what) in COMMANDS.items()
    ]
    for name in COMMANDS:
        kind = options(name)
        lines += ["", f"## charlm {name}", "", *_text(inspect.getdoc(kind)), ""]
        lines += _options(kind, _defaults(name))
        lines += _presets() if name == "train" else []
    return "\n".join(lines) + "\n"


def _defaults(name):
    """The options of a command line that gives none, where they are not the dataclass's own."""
    return train.default(train.RunConfig()) if name == "train" else None


def _presets():
    lines = ["", "`--preset` stands for these options:", ""]
    rows = [f"| `{name}` | `{presets.flags(p)}` |" for name, p in presets.PRESETS.items()]
    return [*lines, "| preset | options |", "|---|---|", *rows]


def _options(kind, default=None):
    """A table of a dataclass's own options, then a section for each dataclass in it."""
    lines = []
    for group in option_table.groups(kind, default):
        if group.kind is not kind:
            lines += ["", *_text(inspect.getdoc(group.kind)), ""]
        rows = [f"| {' | '.join(_row(option))} |" for option in group.options]
        lines += ["| option | value | default | meaning |", "|---|---|---|---|", *rows] * bool(rows)
    return lines


def _row(option):
    """How an option is written, what it takes, its default and its meaning."""
    names = [f"`{flag}`" for flag in option.flags] or [f"`{option.value}`"]
    default = option_table.shown(option.default)
    meaning = option.meaning.replace("|", "\\|").replace("<", "&lt;")
    return ", ".join(names), _kind(option.hint), f"`{default}`" * bool(default), meaning


def _kind(hint):
    origin, parts = get_origin(hint), get_args(hint)
    if hint is bool:
        return ""
    if origin is Literal:
        return ", ".join(f"`{p}`" for p in parts)
    if origin is tuple:
        return f"{_kind(parts[0])} ..."
    if origin in (Union, types.UnionType):
        return ", ".join(_kind(p) for p in parts if p is not type(None))
    return {int: "integer", float: "number", str: "text", Path: "path"}[hint]


def api() -> str:
    """The page of the public names in Python. It loads Keras."""
    from charlm import layers

    model = ("generate", "stream", "score", "show", "to_keras")
    model += ("config", "vocabulary", "weights", "history")
    public = [(charlm.load, ()), (charlm.fit, ()), (charlm.LanguageModel, model)]
    public.append((charlm.InputError, ()))
    lines = ["# Python", "", GENERATED]
    for thing, members in public:
        heading = f"## charlm.{thing.__name__}"
        lines += ["", heading, "", *_member(thing.__name__, thing)]
        for name in members:
            lines += ["", f"### {name}", "", *_member(name, getattr(thing, name))]
    lines += ["", "## charlm.layers", "", *_text(inspect.getdoc(layers))]
    for name in layers.__all__:
        lines += ["", f"### {name}", "", *_member(name, getattr(layers, name))]
    return "\n".join(lines) + "\n"


def _member(name, thing):
    """A signature, unless it is a property or an error, and the docstring."""
    if isinstance(thing, property) or (isinstance(thing, type) and issubclass(thing, Exception)):
        return _text(inspect.getdoc(thing))
    signature = inspect.signature(thing)
    if not isinstance(thing, type):
        kept = [p for p in signature.parameters.values() if p.name != "self"]
        signature = signature.replace(parameters=kept)
    code = re.sub(r"\b(?!keras\.)(?:[a-z_]\w*\.)+(?=[A-Z])", "", f"{name}{signature}")
    code = re.sub(r"\b(Posix|Windows)Path\(", "Path(", code)
    code = re.sub(r'-> "(.*)"$', r"-> \1", code.replace("'", '"'))
    if len(code) > 90:
        inner, arrow = re.fullmatch(rf"{name}\((.*)\)(.*)", code).groups()
        parts = re.split(r", (?![^\[(]*[\])])", inner)
        code = "\n".join([f"{name}(", *(f"    {p}," for p in parts), f"){arrow}"])
    return ["```python", code, "```", "", *_text(inspect.getdoc(thing))]


def _text(doc):
    """A docstring as Markdown: its sections as lists, its examples and equations as code."""
    lines, section, code = [], None, False
    for line in (doc or "").split("\n"):
        starts = re.match(rf"({'|'.join(SECTIONS)}):(.*)", line)
        is_code = line.startswith((">>>", "    ")) and not (section and line.startswith("    "))
        is_code = is_code or (code and line.strip() and section is None)
        if is_code != code and (is_code or not line.strip() or starts):
            lines += ["```python"] if is_code else ["```"]
            code = is_code
        if starts:
            section = starts[1]
            lines += [f"**{section}**", "", *([starts[2].strip()] if starts[2] else [])]
        elif section and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        elif section and line.startswith("    "):
            lines.append(_item(line.strip()))
        elif code:
            lines.append(line)
        else:
            section = section if line.strip() else None
            lines.append(line.strip())
    return [*lines, "```"] if code else lines


def _item(line):
    name, colon, meaning = line.partition(": ")
    if colon and re.fullmatch(r"[\w, .*]+", name):
        return f"* `{name}`: {meaning}"
    return f"* {line}"


PAGES = {"commands.md": commands, "api.md": api}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
