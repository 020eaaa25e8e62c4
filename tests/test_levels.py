"""Law: imports point down only, and what must start quickly loads no Keras."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = [  # each imports from those above it, and from its own
    ("errors", "interrupt"),
    ("cells", "notes", "hints", "systems", "music"),
    ("corpora",),
    ("paths",),
    ("text",),
    ("config",),
    ("reference", "presets"),
    ("kernels",),
    ("layers", "runs"),
    ("generation", "evaluation"),
    ("inside",),
    ("plots", "serving"),
    ("training",),
    ("interop", "callbacks"),
    ("benchmarks",),
    ("cli",),
    ("api",),
    ("experiments",),
    (
        "train",
        "sample",
        "evaluate",
        "score",
        "show",
        "serve",
        "gradients",
        "memory",
        "bench",
        "import_weights",
        "export",
        "encode",
        "tunes",
    ),
]
LEVEL = {room: k for k, rooms in enumerate(ROOMS) for room in rooms}
COMMANDS = {*ROOMS[-1], "__main__", "reference.__main__"}
USE_BACKENDS = {
    "layers",
    "training",
    "interop",
    "callbacks",
    "benchmarks",
    "experiments",
    "api",
    *COMMANDS,
}
BACKENDS = {"keras", "tensorflow", "jax", "torch"}


def _modules():
    for folder in ("charlm", "callbacks", "corpora"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name.removeprefix("charlm."), path


MODULES = [(name, path) for name, path in _modules() if name != "charlm"]


def room(module):
    """The first part of its name; what is run as a program is a room of its own."""
    return module if module in COMMANDS else module.split(".")[0]


def imported(path):
    """Modules, or names in modules, that a file imports at any place."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names)


@pytest.mark.parametrize(("name", "path"), MODULES, ids=lambda x: x if isinstance(x, str) else "")
def test_imports_point_down(name, path):
    mine = room(name)
    for other in imported(path):
        top = other.split(".")[0]
        if top in ("charlm", "callbacks", "corpora"):
            theirs = room(other.removeprefix("charlm."))
            if mine not in COMMANDS and theirs != mine:
                assert LEVEL[theirs] < LEVEL[mine], f"{name} imports {other}, which is above it"
            assert theirs not in COMMANDS, f"{name} imports {other}, which is a command"
            assert mine != "corpora" or theirs in ("corpora", "errors", "music")
        elif mine not in USE_BACKENDS:
            assert top not in BACKENDS, f"{name} imports {top}"


def test_no_file_is_named_like_a_standard_module():
    names = {name.split(".")[-1] for name, _ in MODULES} - {"__main__"}
    assert not names & sys.stdlib_module_names


@pytest.mark.parametrize(
    "code",
    [
        "import charlm.text.vocab, charlm.config, charlm.generation.sampler, corpora",
        "import charlm.runs.checkpoint",
        "import charlm.reference.network",
        "import charlm.train, charlm.sample, charlm.gradients, charlm.import_weights",
        "import charlm.export, charlm.interop.keras_files, charlm.reference.__main__, charlm.bench",
        "import charlm.evaluate, charlm.score, charlm.serve, charlm.serving.completion",
    ],
)
def test_loads_neither_keras_nor_tensorflow(code):
    code += "; import sys; print([m for m in ('keras', 'tensorflow', 'nltk') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        "charlm",
        "charlm.train",
        "charlm.sample",
        "charlm.evaluate",
        "charlm.score",
        "charlm.serve",
        "charlm.gradients",
        "charlm.reference",
        "charlm.import_weights",
        "charlm.export",
        "charlm.bench",
    ],
)
def test_help_answers_without_keras(command):
    code = f"""if True:
        import runpy, sys
        sys.argv = ["x", "--help"]
        try:
            runpy.run_module("{command}", run_name="__main__")
        except SystemExit as end:
            assert not end.code
        assert "keras" not in sys.modules
    """
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: charlm")
    assert time.perf_counter() - began < 15  # a hang, not a speed: machines differ
