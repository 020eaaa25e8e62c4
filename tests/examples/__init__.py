"""Tests of the programs in examples/."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


def module(name: str) -> ModuleType:
    """Imports examples/NAME.py, which is no part of a package."""
    if str(EXAMPLES) not in sys.path:  # as when Python runs it
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(name)


def said(stderr: str) -> list[str]:
    """Returns the lines of a program, without that of loading TensorFlow where it takes long."""
    return [line for line in stderr.splitlines() if line != "loading TensorFlow"]
