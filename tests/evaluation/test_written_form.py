"""Law: whole pieces of a text are judged by their parser, and pieces that may be cut are not."""

import ast
from pathlib import Path

import pytest

from charlm.evaluation import written_form
from charlm.evaluation.written_form import FORMS, WrittenForm, measured, statements

TUNE = "X:1\nM:C\nL:1/4\nK:G\n{}|d4|]"
ROWS = {  # pieces that are right and wrong
    "python": (["def f(x):\n    return x\n", "@g\nclass A:\n\n    a = (1,\n2)\n", "x = 1\n"],
               ["def f(x:\n    return x\n", "if x:\ny = 2\n", "we the people\n"]),
    "json": (['{"a": [1, null]}\n', '"\u2028"\n', "3\n"], ["{'a': 1}\n", '{"a": \n', "NaN\n"]),
    "abc": ([TUNE.format("GABc") + "\n\n"], [TUNE.format("GABcd") + "\n\n", "K:H\nA|\n\n"]),
    "brackets": (["a (b [c]) {d}\n\n", "none\n\n"], ["(a\n\n", "b)\n\n", "(a]\n\n"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_right_and_wrong_pieces_are_counted_and_the_ends_left_out(kind):
    right, wrong = ROWS[kind]
    if kind == "python":  # its block is missing, so it counts as two statements
        wrong = [x for x in wrong if "y = 2" not in x]
    text = right[0] + "".join([*wrong, *right]) + right[0]
    assert measured(kind, [text, text]) == WrittenForm(kind, 2 * len(right + wrong), 2 * len(right))
    assert measured(kind, [right[0], "", right[0] * 2]).share is None


def test_statements_are_those_of_ast():
    for module in ("evaluate.py", "notes.py", "config.py"):
        text = (Path(written_form.__file__).parents[1] / module).read_text()
        text = text[text.index("\nimport ") + 1 :]  # after the docstring
        found = statements(text)
        assert "".join(found) == text
        whole = [node for node in ast.parse(text).body if not isinstance(node, ast.Expr)]
        assert len([x for x in found if x.strip()]) == len(whole)
        assert measured("python", [text]).share == 1
    assert statements("x = 1\n@f\n") == ["x = 1\n", "@f\n"]


def test_odd_pieces_end_in_a_verdict():
    for text in ("x = '\\d'\n", "\0\n", "(" * 5000 + "\n", "[" * 100_000 + "\n", "1" * 5000 + "\n"):
        for _, accepts in FORMS.values():
            assert accepts(text) in (True, False)
