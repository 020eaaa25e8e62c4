"""Writes the help page of a command: examples and its most used options first, then the others.

tyro's own page keeps the line breaks of docstrings, sorts by dataclass and shows types as Python
writes them; it has no place for examples.
"""

import dataclasses
import inspect
import shutil
import textwrap
from typing import Any

from charlm.cli import option_table
from charlm.cli.option_table import Option

MIN_WIDTH, MAX_WIDTH = 40, 100  # longer lines are hard to read
COLUMN = 26  # where the meanings begin
HELP = "-h, --help"
EXAMPLES = {  # (command line, what it does) of each command
    "train": [
        ("mine.txt --preset quick", "a first model of your text, in about a minute"),
        ("--resume latest --epochs 6", "train the newest run for longer"),
    ],
    "sample": [
        ("", "from the newest run"),
        ("my-run --prompt 'It was ' --temperature 0.6 -n 3", "three texts, more careful"),
    ],
    "evaluate": [("", "the newest run"), ("my-run --samples", "how much its texts copy, too")],
    "score": [("mine.txt --run my-run", "bits per character, for each file")],
    "show": [
        ("", "on held-out text of the latest run"),
        ("my-run --text mine.txt -o page.html", "a page of a run that reads a text"),
    ],
    "serve": [
        ("", "the latest run, at http://127.0.0.1:8000"),
        ("my-run --port 0", "at a free port"),
    ],
    "gradients": [("", "compares the cells, untrained"), ("my-run", "a trained model")],
    "reference": [
        ("mine.txt --cell gru --units 64", "trains a small GRU in NumPy"),
        ("--check --cell lstm", "gradients by hand against finite differences"),
    ],
    "memory": [
        ("", "all cells, in five minutes"),
        ("--task brackets --cells rnn lstm", "two cells, nested brackets"),
    ],
    "bench": [("--quick", "two minutes"), ("--only step --peers ours-tf keras-tf", "two peers")],
    "tunes": [
        ("irish -n 10 -o new", "ten tunes, and a page that shows and plays them"),
        ('irish --metre 6/8 --key "D Dorian"', "in this metre and key"),
        ("irish --check", "how many of a run's tunes are valid"),
    ],
    "encode": [("texts/ -o encoded", "a folder for charlm train encoded")],
    "import": [("model.keras --vocab-from mine.txt", "a run from a Keras model")],
    "export": [("my-run --format onnx", "a model for ONNX Runtime")],
}
FIRST = {  # what most people need, of the commands with many options
    "train": (
        "text", "preset", "name", "resume", "init_from", "epochs", "units", "layers", "dropout",
        "learning_rate", "cell",
    ),
    "memory": ("task", "gaps", "cells", "units", "seconds", "seeds", "texts", "output"),
    "tunes": ("run", "n", "metre", "key", "temperature", "seed", "output", "midi", "wav", "check"),
    "sample": (
        "run", "prompt", "prompt_file", "temperature", "length", "stop", "n", "seed", "top_k",
        "top_p", "between",
    ),
    "show": ("run", "text", "find", "no_text", "weights", "pattern", "output"),
    "gradients": ("runs", "cells", "units", "layers", "steps", "corpus", "output"),
    "reference": (
        "text", "cell", "units", "layers", "epochs", "learning_rate", "name", "init", "check",
        "text_file",
    ),
    "evaluate": ("run", "corpus", "samples", "dynamic", "output"),
    "score": ("file", "run", "by_context", "per_character"),
    "bench": ("quick", "only", "peers", "units", "device", "out"),
    "import": ("file", "vocab_from", "vocab", "name", "cell"),
}  # fmt: skip


def page(kind: type, prog: str, default: Any = None) -> str:
    """Returns the help page of a command.

    Args:
        kind: the dataclass of its options.
        prog: its name, for example "charlm train".
        default: an instance with the defaults to show, if they are not the dataclass's own.
    """
    width = min(max(shutil.get_terminal_size().columns, MIN_WIDTH), MAX_WIDTH)
    return "\n".join(_lines(kind, prog, default, width)) + "\n"


def _lines(kind, prog, default, width):
    name = prog.split()[-1]
    groups = [*option_table.groups(kind, default)]
    yield f"usage: {' '.join([prog, *map(_usage, _positional(groups)), '[OPTIONS]'])}"
    what, *rest = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    yield from ("", *textwrap.wrap(" ".join(what.split()), width))
    if examples := EXAMPLES.get(name, ()):
        yield from ("", "Examples:", *_examples(prog, examples, width))
    for paragraph in rest:
        yield from ("", *textwrap.wrap(" ".join(paragraph.split()), width))
    by_name = {o.name: o for group in groups for o in group.options}
    first = [by_name[x] for x in FIRST.get(name, ()) if x in by_name]
    if first:
        yield from _section("Most used", first, width)
    for group in groups:
        options = [o for o in group.options if o not in first]
        title = group.title if group.kind is not kind else f"{'Other o' if first else 'O'}ptions"
        if options:
            yield from _section(title, options, width)
    yield from ("", *_entry(HELP, "Show this page.", width))


def _positional(groups):
    return [o for group in groups for o in group.options if not o.flags]


def _usage(option):
    word = option.value.upper()
    return word if option.default is dataclasses.MISSING else f"[{word}]"


def _examples(prog, examples, width):
    """Yields each example with its meaning, which has a line of its own if both are too long."""
    pairs = [(f"  {prog} {argv}".rstrip(), f"# {meaning}") for argv, meaning in examples]
    fits = [len(line) for line, comment in pairs if len(line) + 3 + len(comment) <= width]
    column = max(fits, default=0) + 3
    for line, comment in pairs:
        if max(column, len(line) + 3) + len(comment) <= width:
            yield f"{line:{column}}{comment}"
        else:
            yield from (line, f"      {comment}")


def _section(title, options, width):
    yield from ("", *textwrap.wrap(f"{title}:", width))
    for option in options:
        yield from _entry(_head(option), _meaning(option), width)


def _head(option: Option) -> str:
    """Returns how an option is written, with what it takes."""
    if not option.flags:
        return option.value
    return f"{', '.join(option.flags)} {option.value}".rstrip()


def _meaning(option):
    default = option_table.shown(option.default)
    # a preset called "default" needs no "(default: default)", nor a text that says it itself
    if not default or default == "default" or "Default: " in option.meaning:
        return option.meaning
    return f"{option.meaning} Default: {default}."


def _entry(head, meaning, width):
    """Yields a name and its meaning in two columns; a long name has a line of its own."""
    lines = textwrap.wrap(meaning, width - COLUMN, break_long_words=False, break_on_hyphens=False)
    if len(head) > COLUMN - 4:
        yield from textwrap.wrap(
            f"  {head}", width, subsequent_indent="    ", break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
    else:
        first, *lines = lines or [""]
        yield f"  {head:{COLUMN - 2}}{first}".rstrip()
    yield from (f"{'':{COLUMN}}{line}" for line in lines)
