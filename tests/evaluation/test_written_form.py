"""Law: whole pieces of a text are judged by their parser, and pieces that may be cut are not."""

import ast
from pathlib import Path

import pytest

from charlm.evaluation import written_form
from charlm.evaluation.written_form import FORMS, WrittenForm, functions, kind_for, measured

TUNE = "X:1\nM:C\nL:1/4\nK:G\n{}|d4|]"
ROWS = {  # pieces that are right and wrong
    "python": (["def f(x):\n    return x\n", "if 1:\n  async def f(\n    x\n  ):\n\n    pass\n",
                "def f(): return 1\n", "if 1:\n\tdef f():\n\t\tdef g():\n\t\t\tpass\n"],
               ["def f(x:\n    return x\n", "if 1:\n    def we(the people):\n        pass\n",
                "def f():\n"]),
    "json": (['{"a": [1, null]}\n', '"\u2028"\n', "3\n"], ["{'a': 1}\n", '{"a": \n', "NaN\n"]),
    "abc": ([TUNE.format("GABc") + "\n\n"], [TUNE.format("GABcd") + "\n\n", "K:H\nA|\n\n"]),
    "bracket lines": (["a (b)\n", "<\n"], ["(a\n", "b)\n", "(a]\n"]),
    "brackets": (["a (b [c]) {d}\n\n", "none\n\n"], ["(a\n\n", "b)\n\n", "(a]\n\n"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_right_and_wrong_pieces_are_counted_and_the_ends_left_out(kind):
    right, wrong = ROWS[kind]
    begin = end = "    x = 1\n" if kind == "python" else right[0]
    text = begin + "".join([*wrong, *right]) + end.rstrip()
    counted = WrittenForm(kind, 2 * len(right + wrong), 2 * len(right))
    assert measured(kind, [text, text]) == counted
    assert measured(kind, ["", right[0].rstrip(), "x = 1\n" + right[0].rstrip()]).share is None


def test_functions_are_those_of_ast():
    for module in ("evaluate.py", "notes.py", "config.py", "evaluation/written_form.py"):
        text = (Path(written_form.__file__).parents[1] / module).read_text() + "\nend = 1\n"
        text = "\n" + text
        found = {x.split("(")[0].split()[-1] for x in functions(text)}
        inside = {  # functions that are inside a function
            x.name
            for outer in ast.walk(ast.parse(text))
            if isinstance(outer, ast.FunctionDef)
            for x in ast.walk(outer)
            if isinstance(x, ast.FunctionDef) and x is not outer
        }
        named = {x.name for x in ast.walk(ast.parse(text)) if isinstance(x, ast.FunctionDef)}
        assert found == named - inside
        assert measured("python", [text]).share == 1
        for size in range(0, len(text), 97):  # a cut loses functions, but makes none wrong
            assert measured("python", [text[:size], text[size:]]).share in (1, None)


def test_brackets_are_counted_by_line_where_there_are_no_paragraphs():
    lines, paragraphs = "([{}])\n([{])}\n" * 3, "a\n\nb\n\nc"
    assert kind_for("brackets", [lines, lines]) == "bracket lines"
    assert kind_for("brackets", [lines, paragraphs]) == "brackets"
    assert kind_for("abc", [lines]) == "abc"
    assert measured("bracket lines", [lines]) == WrittenForm("bracket lines", 5, 2)


def test_odd_pieces_end_in_a_verdict():
    for text in (
        "x = '\\d'\n",
        "\0\n",
        "(" * 5000 + "\n",
        "[" * 100_000 + "\n",
        "1" * 5000 + "\n",
        "def " * 20_000,
        "def f():\n" * 20_000,
        "    def f(\n" * 20_000,
    ):
        for kind, form in FORMS.items():
            assert form.accepts(text) in (True, False)
            assert measured(kind, [text]).accepted >= 0
