"""Messages about a wrong command line, worded as the other messages, with a hint."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from charlm.cli import option_table, suggest
from charlm.hints import type_in_words
from charlm.notes import note

REPEATED = "UseAppendAction"  # tyro's marker, by name: tyro is not loaded to write a hint
ABOUT = re.compile(  # tyro's messages about the value of one option; a group holds its name
    r"Error parsing (-\S+):|invalid choice .* for argument '(-[^']+)'|"
    r"Missing value for argument '(-[^']+)'"
)
UNKNOWN = re.compile(r"Unrecognized options: (.+)")
MISSING = re.compile(r"Missing from [^:]+: [A-Z]\S* (.+?)\.? \(required\)")


def renamed(argv: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Returns the arguments with flags of earlier versions under their present names, with a note.

    Args:
        argv: the command's arguments.
        names: the present name of each flag by its earlier one.
    """
    found = []
    for argument in argv:
        name, equals, value = argument.partition("=")
        if name in names:
            note(f"NOTE: {name} is now {names[name]}")
            argument = f"{names[name]}{equals}{value}"
        found.append(argument)
    return found


def given(argv: list[str]) -> set[str]:
    """Returns the names of the options in a command line, with underscores."""
    words = (word.partition("=")[0] for word in argv if word.startswith("--"))
    return {word.lstrip("-").replace("-", "_") for word in words}


def overridden(kind: type, argv: Sequence[str]) -> list[str]:
    """Returns the options that a command line gives several times, if they have one value only."""
    words = [word.partition("=")[0].replace("_", "-") for word in argv if word.startswith("-")]
    counts = Counter(word[:2] if re.match("-[a-z]", word) else word for word in words)
    return [
        option.flags[-1]
        for option in option_table.every(kind, meanings=False)
        if not option.repeated and sum(counts[flag] for flag in option.flags) > 1
    ]


def one_line(box: str, kind: type, argv: list[str]) -> str:
    """Extracts one line from tyro's framed message, with the flag that it suggests.

    Args:
        box: the message as tyro prints it.
        kind: the dataclass that tyro was to make from `argv`.
        argv: the command line.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    _title, *lines = [line.strip(" │") for line in text.splitlines() if line.strip(" │╭╮╰╯")]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip("─-╰╯"):
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    message = " ".join(paragraphs[0]).rstrip(".")
    if about := ABOUT.match(message):
        flags = next(filter(None, about.groups())).split("/")
        if expected := _expected(kind, flags):
            return f"expected {flags[0]} to be {expected}, found {_given(argv, flags)}"
    if missing := MISSING.match(message):
        what = missing[1].rstrip(".")
        return f"expected an argument, found none: {what[0].lower()}{what[1:]}"
    if unknown := UNKNOWN.match(message):
        return _unknown(unknown[1].split(", "), kind)
    return message


def _unknown(words, kind):
    """Returns the line about words that no option of the command takes."""
    options = option_table.every(kind)
    flags = [word.partition("=")[0] for word in words if re.match(r"--?[^\d.-]", word)]
    if flags:
        known = [flag for option in options for flag in option.flags]
        hints = [hint for flag in flags if (hint := suggest.option(flag, known))]
        return "; ".join([f"expected an option of this command, found {', '.join(flags)}", *hints])
    expected, found = [o.value for o in options if not o.flags], shlex.join(words)
    if not expected:
        return f"expected options only, found {found}"
    hint = "quote a name with spaces or a glob"
    if any("--run" in option.flags for option in options):
        hint += ", and name a run with --run"
    return f"expected one {expected[0]}, found {found} too; {hint}"


def _expected(kind, flags):
    """Describes the values that an option takes."""
    hints = _hints(kind)
    names = [flag.lstrip("-").replace("-", "_") for flag in flags]
    return next((type_in_words(hints[name]) for name in names if name in hints), None)


def _hints(kind):
    """Returns {field: type of its option's value} of a dataclass and of those within it."""
    found: dict[str, Any] = {}
    hints = get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
    for name, hint in hints.items():
        found |= _hints(hint) if is_dataclass(hint) else {name: _each_time(hint)}
    return found


def _each_time(hint):
    """Returns the type of an option's value; of a repeated option, the type of one value."""
    if get_origin(hint) is not Annotated:
        return hint
    inner, *markers = get_args(hint)
    is_repeated = REPEATED in map(str, markers)
    return get_args(inner)[0] if is_repeated else inner


def _given(argv, flags):
    """Returns the values that the command line gives to an option."""
    found, reads = [], False
    for word in argv:
        name, equals, value = word.partition("=")
        if word.startswith("--") or name in flags:
            reads = name.replace("_", "-") in flags
            found += [value] * (reads and equals == "=")
        elif reads:
            found.append(word)
    return f"{shlex.join(found):.100}" or "none"
