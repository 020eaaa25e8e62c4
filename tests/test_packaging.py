"""Law: what the package needs is declared, and commands find it wherever they are started."""

import ast
import configparser
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import charlm

ROOT = Path(__file__).parents[1]
OURS = {"charlm", "callbacks", "corpora"}
OPTIONAL = {
    "jax",
    "torch",
    "onnx",
    "onnxruntime",
    "tf2onnx",
    "tensorboard",
    "starlette",
    "uvicorn",
    "tokenizers",
    "sklearn",
}


INSTALLED_AS = {"sklearn": "scikit-learn"}  # where the package has another name


def _settings():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _names(requirements):
    lines = [line for line in requirements.splitlines() if line.strip()]
    return {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in lines}


def _imported():
    """{module of somebody else: the file that imports it}."""
    found = {}
    for path in (p for folder in OURS for p in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {k: v for k, v in found.items() if k not in sys.stdlib_module_names | OURS}


def test_every_import_is_declared():
    settings = _settings()
    required = _names(settings["options"]["install_requires"])
    extras = {name: _names(text) for name, text in settings["options.extras_require"].items()}
    optional = set().union(*extras.values())
    for module, path in _imported().items():
        declared = optional if module in OPTIONAL else required
        name = INSTALLED_AS.get(module, module.replace("_", "-"))
        assert name in declared, f"{path} imports {module}; see setup.cfg"


def test_every_requirement_has_a_lower_and_an_upper_bound():
    settings = _settings()
    texts = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    for line in "\n".join(texts).split("\n"):
        if line.strip() and not line.startswith("charlm["):
            assert re.search(r">=[\d.]+,<[\d.]+$", line), line


def test_the_version_stands_in_one_place():
    assert _settings()["metadata"]["version"] == "attr: charlm.__version__"
    tree = ast.parse((ROOT / "charlm/__init__.py").read_text())
    (value,) = (  # a literal, so setuptools reads it without importing anything
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    )
    assert value == charlm.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {value}\n" in citation


def test_an_editable_install_needs_no_import_hook():
    """An empty folder `corpora` in the current folder would be found before the hook is asked."""
    for installed in metadata.distributions(name="charlm"):
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        if origin.get("url") == ROOT.as_uri():
            assert not [path for path in installed.files if "finder" in str(path)]
            return
    pytest.skip("charlm is not installed from this folder")


@pytest.mark.parametrize("content", [None, "raise SystemExit('not this one')"])
def test_folders_named_like_ours_break_no_command(tmp_path, content):
    for name in OURS - {"charlm"}:
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / "__init__.py").write_text(content)
    if content:
        (tmp_path / "numpy.py").write_text(content)
    for command in ("charlm.sample none", "charlm.train --resume none"):
        argv = [sys.executable, "-m", *command.split()]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("error: expected"), done.stderr
        assert "Traceback" not in done.stderr
    if content is None:
        argv = [sys.executable, "-c", "import charlm; charlm.load('none')"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
        assert "InputError: expected" in done.stderr
