"""Law: a help page begins with what most people need, in plain words and in whole paragraphs.

Nothing in it is longer than the terminal is wide, no line ends before it must, and its examples
are commands that can be parsed.
"""

import dataclasses
import re
import shlex
import subprocess
import sys

import pytest

from charlm import cli, presets, train
from charlm.__main__ import COMMANDS, main
from charlm.cli import help_page, option_table
from tests.cli.test_usage import KINDS

PAGES = [(name, next(k for k in KINDS if k.__name__ == name.capitalize())) for name in COMMANDS]


def page(monkeypatch, kind, name, width):
    monkeypatch.setenv("COLUMNS", str(width))
    return help_page.page(kind, f"charlm {name}")


@pytest.mark.parametrize("width", [40, 80, 100, 120, 300])
@pytest.mark.parametrize(("command", "options"), PAGES)
def test_no_line_is_too_long_or_broken_twice(monkeypatch, command, options, width):
    lines = page(monkeypatch, options, command, width).splitlines()
    most = min(width, help_page.MAX_WIDTH)
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if width >= 80:
            assert len(line) <= most, line
        indent = len(line) - len(line.lstrip())
        goes_on = line and after and len(after) - len(after.lstrip()) == indent
        if goes_on and (indent == help_page.COLUMN or (not indent and not line.endswith(":"))):
            assert len(f"{line} {after.split()[0]}") > most, f"{line}\n{after}"


@pytest.mark.parametrize(("command", "options"), PAGES)
def test_a_page_has_every_option_once_and_no_python(monkeypatch, command, options):
    shown = page(monkeypatch, options, command, 80)
    for word in ("None", "STR", "INT", "Default: default", "rules options", "Default: .", "{"):
        assert word not in shown
    heads = re.findall(r"^  (-[^\s,]+(?:, --\S+)?)", shown, re.M)
    flags = [flag for head in heads for flag in head.split(", ")]
    expected = [flag for o in option_table.every(options) for flag in o.flags]
    assert sorted(flags) == sorted([*expected, "-h", "--help"])
    assert shown.startswith(f"usage: charlm {command} ")


@pytest.mark.parametrize(("command", "options"), PAGES)
def test_what_most_people_need_comes_first(monkeypatch, command, options):
    shown = page(monkeypatch, options, command, 80)
    first, listed = help_page.FIRST.get(command, ()), option_table.every(options)
    assert {*first} <= {o.name for o in listed}
    assert len(first) <= 11
    assert len(listed) <= 11 or first, "a long page needs them"
    if first:
        assert shown.index("\nExamples:\n") < shown.index("\nMost used:\n")
        rest = shown.split("\nMost used:\n")[1].split("\n\n")
        assert len(re.findall(r"^  \S", rest[0], re.M)) == len(first)
        assert len(rest) > 1


@pytest.mark.parametrize(
    ("command", "options", "argv"),
    [(n, k, argv) for n, k in PAGES for argv, _ in help_page.EXAMPLES[n]],
)
def test_examples_can_be_parsed(tmp_path, monkeypatch, command, options, argv):
    monkeypatch.chdir(tmp_path)
    cli.parse(options, f"charlm {command}", shlex.split(argv))


def test_defaults_are_those_that_a_run_would_have(capsys):
    with pytest.raises(SystemExit) as left:
        train.main(["--preset", "best", "--help"])
    assert not left.value.code
    out = " ".join(capsys.readouterr().out.split())
    assert f"Default: {presets.PRESETS['best'].fit.learning_rate}. " in out
    assert "count too. Default: 10. " in out


def test_titles_are_plain_words():
    titles = [g.title for kind in KINDS for g in option_table.groups(kind) if g.options]
    assert "Constraints on sampling" in titles
    assert not [t for t in titles if not t or len(t) > 100 or "option" in t.lower()]


@dataclasses.dataclass(frozen=True)
class Odd:
    """Does something."""

    alone: str
    many: tuple[int, ...] = (1, 2)
    """Some  numbers
    over lines."""
    on: bool = False
    text: str | None = ""


def test_an_option_table(monkeypatch):
    alone, many, on, text = option_table.every(Odd)
    assert [o.value for o in (alone, many, on, text)] == ["TEXT", "N ...", "", "CORPUS"]
    assert many.meaning == "Some numbers over lines."
    assert alone.default is dataclasses.MISSING
    assert [o.is_several for o in (alone, many, on, text)] == [False, True, False, False]
    monkeypatch.setenv("COLUMNS", "80")
    assert help_page.page(Odd, "charlm odd").splitlines()[-3:] == [
        "  --text CORPUS", "", "  -h, --help              Show this page.",
    ]  # fmt: skip


# --- charlm help, charlm --version ---


@pytest.mark.parametrize("argv", [[], ["help"], ["--help"], ["-h"]])
def test_an_overview_lists_every_command(capsys, argv):
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: charlm COMMAND")
    for name in [*COMMANDS, "help", "completion", "--version"]:
        assert f"\n  charlm {name} " in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_with_a_name_is_its_page(capsys, command):
    pages = []
    for argv in (["help", command], [command, "--help"], [command, "-h"]):
        with pytest.raises(SystemExit) as left:
            main(argv)
        assert not left.value.code
        pages.append(capsys.readouterr().out)
    assert len({*pages}) == 1


@pytest.mark.parametrize("flag", ["--version", "-V", "version"])
def test_versions_are_told_without_loading_anything(capsys, flag):
    code = f"""if True:
        import sys
        from charlm.__main__ import main
        assert main(["{flag}"]) == 0
        assert not [m for m in ("keras", "tensorflow", "jax", "torch", "numba") if m in sys.modules]
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["charlm", "Python", "keras", "tensorflow", "jax", "torch", "numpy", "numba"]
    assert re.search(r"^tensorflow \d+\.\d+", done.stdout, re.M)


def test_a_package_that_is_missing_is_told(monkeypatch):
    from charlm.cli import versions

    monkeypatch.setattr(versions, "PACKAGES", ("no-such-package",))
    assert versions.lines("1")[-1] == "no-such-package not installed"
