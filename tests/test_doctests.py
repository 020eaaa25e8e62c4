"""Law: the examples in docstrings run, and show what they return."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("charlm", "callbacks", "corpora")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, capsys):
    found = doctest.testmod(importlib.import_module(name))
    assert not found.failed, capsys.readouterr().out
