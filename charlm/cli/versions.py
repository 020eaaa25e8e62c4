"""The versions of charlm and of the packages that decide what it computes."""

import platform
import sys
from importlib import metadata

import charlm

PACKAGES = "keras", "tensorflow", "jax", "torch", "numpy", "numba"


def lines() -> list[str]:
    """Returns a line for charlm, Python and each package; none of them is loaded."""
    python = f"Python {platform.python_version()} ({sys.platform}, {platform.machine()})"
    return [f"charlm {charlm.__version__}", python, *map(_line, PACKAGES)]


def _line(name):
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} not installed"
