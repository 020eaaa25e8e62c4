"""Law: the documentation agrees with the code, its commands can be parsed, and its links lead."""

import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from charlm import cli
from charlm.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(python -m charlm\S* [^`\n]+)`")
SHELLS = "", "sh", "bash", "console", "shell"
MODULES = {module.removesuffix(".__main__"): name for name, (module, _) in COMMANDS.items()}


def _load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load("generate")


@pytest.mark.parametrize("name", generate.PAGES)
def test_the_reference_is_what_the_code_says(name):
    written = (ROOT / "docs/reference" / name).read_text()
    assert written == generate.PAGES[name](), "run: python docs/generate.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_lists_every_option(name, capsys):
    with pytest.raises(SystemExit):
        cli.parse(generate.options(name), f"charlm {name}", ["--help"])
    shown = re.findall(r"^[│ ] (?:-\w[^,]*, )?(--[a-z][a-z-]*)", capsys.readouterr().out, re.M)
    listed = generate.commands().split(f"\n## charlm {name}\n")[1].split("\n## ")[0]
    table = re.findall(r"^\| (?:`-\w`, )?`(--[a-z-]+)`", listed, re.M)
    assert sorted(table) == sorted({*shown} - {"--help"})


def _commands(text):
    """Each charlm command of a page, as its words: in shell blocks, or between backticks."""
    for line in INLINE.findall(text):
        yield from _split(line)
    for block in [block for language, block in FENCED.findall(text) if language in SHELLS]:
        for line in block.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ")
            if re.match(r"(\w+=\S* )*(python3? -m charlm|charlm |cat |pip )", line):
                yield from _split(line)


def _split(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split, words = True, []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            yield from [words] if words else []
            words = []
        elif word == ">":
            words.append(None)
        else:
            words.append(word)


def _parsed(words):
    """Parses a command without running it; returns its words from its name on."""
    words = words[: words.index(None)] if None in words else words
    while words and re.match(r"[A-Z_0-9]+=", words[0]):
        words = words[1:]
    if words[:2] in (["python", "-m"], ["python3", "-m"]):
        module, *argv = words[2:]
        if module != "charlm":
            if module not in MODULES:
                assert module.split(".")[0] != "charlm" or importlib.util.find_spec(module), module
                return None
            argv = [MODULES[module], *argv]
    elif words[:1] == ["charlm"]:
        argv = words[1:]
    else:
        return None
    others = ([], ["--help"], ["--version"], ["COMMAND"], ["help"], ["completion"])
    if argv[:1] in others or "--help" in argv:
        return None
    name, *argv = argv
    cli.parse(generate.options(name), f"charlm {name}", argv)
    return [name, *argv]


def _examples():
    for page in PAGES:
        for words in _commands(page.read_text()) if page.exists() else ():
            yield pytest.param(words, id=f"{page.stem}: {' '.join(map(str, words))}"[:90])


@pytest.mark.parametrize("words", [*_examples()])
def test_commands_in_the_documentation_are_valid(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charlm.benchmarks.machine.seems_to_have_gpu", lambda: True)
    given = _parsed(words)
    if given and given[0] == "reference" and "--check" in given:  # a cheap one, so it is run too
        assert main(given) == 0


def test_the_commands_are_found():
    text = """
```sh
pip install -e . && python -m charlm.train --epochs 2   # a comment
cat 'a b.txt' | KERAS_BACKEND=jax charlm train --corpus - > out.txt
```
"""
    found = [_parsed(words) for words in _commands(text)]
    assert found == [None, ["train", "--epochs", "2"], None, ["train", "--corpus", "-"]]
    with pytest.raises(cli.command.InputError):
        _parsed(["charlm", "train", "--no-such-option"])


def _tutorial():
    """(code, what it prints) of the examples that need no trained model."""
    blocks = FENCED.findall((ROOT / "docs/tutorial.md").read_text())
    for (language, code), (_, printed) in itertools.pairwise(blocks):
        if language == "python" and "charlm.load" not in code:
            yield code, printed


@pytest.mark.parametrize(("code", "printed"), [*_tutorial()], ids=lambda x: "")
def test_the_tutorial_prints_what_it_says(code, printed):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == printed, done.stderr


def test_the_site_builds_and_every_link_leads(tmp_path):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (extra docs)")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()


def test_links_between_files_of_the_repository():
    """Those of pages outside the site, and those to files outside it."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S) if page.exists() else ""
        for target in re.findall(r"\]\(([^)\s#]+)", text):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
