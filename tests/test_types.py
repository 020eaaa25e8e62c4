"""Law: what is public has annotations, and a type checker finds no error in them."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.cells import CELLS

ROOT = Path(__file__).parents[1]
FOLDERS = "charlm", "callbacks", "corpora"
BY_CALLERS = "__init__", "__call__"  # methods whose arguments a caller gives

# Numba infers the types of what it compiles, and compiles it for several: numbers in float32 or
# words of two in bfloat16. An annotation with one of them would be wrong.
DECORATORS = re.compile(r"jit|register_jitable|intrinsic|numba\.njit\(.*\)")
COMPILERS = "cached_jit", "specialized", "renamed"
OF_A_CELL = "step", "step_backward"  # compiled by `jit.cell`


def _sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def _functions(body, inside=""):
    """Yields (name, function) of public functions and methods; nested functions are not public."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") or (inside and node.name in BY_CALLERS):
                yield inside + node.name, node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _functions([*node.body, *getattr(node, "orelse", [])], inside)


def _is_static(function):
    return any(ast.unparse(x) == "staticmethod" for x in function.decorator_list)


def _unannotated(name, function):
    """Returns the parameters without an annotation, and "return" without one of the result."""
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    if "." in name and not _is_static(function):
        positional = positional[1:]  # self or cls
    parameters = [*positional, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    missing = [p.arg for p in parameters if p.annotation is None]
    needs_result = function.returns is None and function.name != "__init__"
    return missing + ["return"] * needs_result


def _compiled():
    """Returns (file, function) of all that Numba compiles in `charlm/kernels`."""
    found = {(cell, name) for cell in CELLS for name in OF_A_CELL}
    for path, tree in _sources():
        if path.parent != Path("charlm/kernels"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                if any(DECORATORS.fullmatch(ast.unparse(x)) for x in node.decorator_list):
                    found.add((path.stem, node.name))
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in COMPILERS:
                *module, name = ast.unparse(node.args[0]).split(".")
                found.add((module[0] if module else path.stem, name))
    return found


def test_public_parameters_and_results_are_annotated():
    compiled = _compiled()
    assert {("time_loop", "forward"), ("dense", "forward_rows")} <= compiled
    missing = [
        f"{path}:{function.lineno} {name}: {', '.join(found)}"
        for path, tree in _sources()
        for name, function in _functions(tree.body)
        if (found := _unannotated(name, function))
        and not (path.parent == Path("charlm/kernels") and (path.stem, name) in compiled)
    ]
    assert not missing, "\n".join(missing)


RIGHT = """
import charlm

model = charlm.fit("mine.txt", preset="quick", quiet=True, units=64, epochs=1)
texts: list[str] = model.generate("The ", length=40, temperature=0.5, n=2, stop=["."])
pieces: list[str] = list(charlm.load("latest").stream("The ", seed=1))
bits: float = charlm.load("saved_models/mine").score("a text")
each = model.score("a text", per_character=True).mean()
layer = charlm.layers.LSTM(4, return_sequences=True)
"""
WRONG = """\
charlm.fit(3)
charlm.fit("mine.txt", preset=1)
charlm.fit("mine.txt", quiet=None)
charlm.load(3)
model.generate(3)
model.generate("The ", length="40")
model.generate("The ", temperature="0.5")
model.generate("The ", stop=3)
model.generate("The ", top=3)
text: str = model.generate("The ")
model.score(b"a text")
words: str = model.score("a text")
charlm.layers.LSTM("4")
charlm.layers.LSTM(4, return_sequence=True)
"""


@pytest.mark.full
def test_mypy_finds_only_the_errors_of_a_wrong_program(tmp_path):
    """One run for the package and for a program that uses it: most of the time is for libraries."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(RIGHT + WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=setup.cfg", "--no-error-summary",
         f"--cache-dir={tmp_path / 'cache'}", *FOLDERS, program],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    elsewhere = [line for line in errors if not line.startswith(f"{program}:")]
    assert not done.stderr
    assert not elsewhere, "\n".join(elsewhere)
    lines = {int(line.removeprefix(f"{program}:").split(":")[0]) for line in errors}
    first = len(RIGHT.splitlines())
    assert lines == {first + k for k in range(1, 1 + len(WRONG.splitlines()))}, "\n".join(errors)
    assert "Unexpected keyword argument" in errors[-1]
