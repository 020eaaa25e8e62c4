"""Law: imports point down only, and what must start quickly loads no Keras."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = [
    ("corpora", "charlm.config", "charlm.presets", "charlm.vocab", "charlm.errors",
     "charlm.windows", "charlm.text", "charlm.cache", "charlm.mapped", "charlm.paths",
     "charlm.timeline", "charlm.reference", "charlm.compiled", "charlm.benchmarks.case",
     "charlm.allocator", "charlm.atomic", "charlm.locks", "charlm.interrupt", "charlm.outputs",
     "charlm.usage", "charlm.notes"),
    ("charlm.batches", "charlm.layers", "charlm.loss", "charlm.optimizer"),
    ("charlm.model",),
    ("charlm.checkpoint", "charlm.run_folder", "charlm.run_texts", "charlm.sampler",
     "charlm.compose", "charlm.device", "charlm.training", "charlm.views", "charlm.foreign",
     "charlm.portable", "charlm.untrusted", "charlm.safe_hdf5", "charlm.hdf5_child",
     "charlm.scoring", "charlm.ngram", "charlm.novelty", "charlm.transfer", "charlm.stock"),
    ("callbacks", "charlm.benchmarks"),
    ("charlm.cli", "charlm.train", "charlm.sample", "charlm.gradients", "charlm.import_weights",
     "charlm.export", "charlm.evaluate", "charlm.score", "charlm.bench",
     "charlm.reference.__main__", "charlm.benchmarks.changes", "charlm.benchmarks.recipe",
     "charlm.benchmarks.gpt", "charlm.__main__"),
]  # fmt: skip
THIRD_PARTY = [
    {"numpy", "nltk", "numba", "llvmlite", "tqdm"},
    {"numpy", "keras", "tensorflow", "jax", "torch"},
]


def _modules():
    for folder in ("charlm", "callbacks", "corpora"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if name != "charlm":
                yield name, path


MODULES = list(_modules())


def level(name):
    """That of the longest prefix named."""
    found = [
        (len(p), k)
        for k, prefixes in enumerate(LEVELS)
        for p in prefixes
        if f"{name}.".startswith(f"{p}.")
    ]
    return max(found)[1] if found else None


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names)


@pytest.mark.parametrize(("name", "path"), MODULES, ids=lambda x: x if isinstance(x, str) else "")
def test_imports_point_down(name, path):
    mine = level(name)
    assert mine is not None, f"{name} has no level"
    for other in imported(path):
        top = other.split(".")[0]
        if top in ("charlm", "callbacks", "corpora"):
            theirs = level(other)
            assert theirs is None or theirs <= mine, f"{name} imports {other}, which is above it"
            assert theirs != 5 or other.startswith("charlm.cli"), f"{name} imports an entry point"
            assert not name.startswith("corpora") or top == "corpora"
        elif mine < len(THIRD_PARTY) and top not in sys.stdlib_module_names:
            assert top in THIRD_PARTY[mine], f"{name} (level {mine}) imports {top}"


def test_no_file_is_named_like_a_standard_module():
    names = {name.split(".")[-1] for name, _ in MODULES} - {"__main__"}
    assert not names & sys.stdlib_module_names


@pytest.mark.parametrize(
    "code",
    [
        "import charlm.vocab, charlm.config, charlm.sampler, charlm.checkpoint, corpora",
        "import charlm.reference.network",
        "import charlm.train, charlm.sample, charlm.gradients, charlm.import_weights",
        "import charlm.export, charlm.foreign, charlm.reference.__main__, charlm.bench",
        "import charlm.evaluate, charlm.score",
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
