"""Law: constructors, help, the stub file and the table of options say the same."""

import ast
import inspect

import pytest

from charlm import layers
from charlm.layers import stubs
from charlm.layers.options import REQUIRED, Option

KINDS = [
    kind
    for kind in (getattr(layers, name) for name in layers.__all__)
    if kind not in (layers.Recurrent, layers.RecurrentCell)
]
STUBS = {
    node.name: next(f.args for f in node.body if getattr(f, "name", "") == "__init__")
    for node in ast.parse(stubs.PATH.read_text()).body
    if isinstance(node, ast.ClassDef)
}


def test_the_stub_file_is_what_the_table_gives():
    assert stubs.PATH.read_text() == stubs.text(), "run python -m charlm.layers.stubs"


@pytest.mark.parametrize("kind", KINDS)
def test_the_stub_has_the_signature_of_the_constructor(kind):
    parameters = list(inspect.signature(kind).parameters.values())
    assert parameters.pop().kind is inspect.Parameter.VAR_KEYWORD
    found = STUBS[kind.__name__]
    names = [argument.arg for argument in found.args[1:]]
    assert names == [p.name for p in parameters]
    assert [p.default for p in parameters if p.default is REQUIRED] == [REQUIRED]
    defaults = [ast.literal_eval(value) for value in found.defaults]
    assert defaults == [p.default for p in parameters[1:]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_constructor_takes_the_keyword_arguments_of_the_stub(kind):
    found = STUBS[kind.__name__]
    pairs = zip(found.kwonlyargs, found.kw_defaults, strict=True)
    further = {argument.arg: ast.literal_eval(value) for argument, value in pairs}
    made = kind(4, **further)
    plain = kind(4, name=made.name)
    assert made.get_config() == plain.get_config()


@pytest.mark.parametrize("kind", KINDS)
def test_help_lists_every_argument_with_its_meaning(kind):
    lines = inspect.getdoc(kind).split("Args:\n")[1].split("\n\n")[0].splitlines()
    found = dict(line.strip().split(": ", 1) for line in lines)
    arguments = STUBS[kind.__name__]
    assert list(found) == [a.arg for a in arguments.args[1:] + arguments.kwonlyargs]
    assert all(meaning.endswith(".") for meaning in found.values())


def test_a_subclass_lists_its_own_option():
    class Cell(layers.LSTMCell):
        """A cell.

        Args: see `charlm.layers.options`.
        """

        OPTIONS = layers.LSTMCell.OPTIONS | {"zone": Option(0.1, "float", "share kept."), "x": 1}

    assert "    zone: share kept." in inspect.getdoc(Cell).splitlines()
    assert inspect.signature(Cell).parameters["zone"].default == 0.1
    assert inspect.signature(Cell).parameters["x"].default == 1
