"""The versions of charlm and of the packages that decide what it computes."""

import platform
import sys
from importlib import metadata

PACKAGES = "keras", "tensorflow", "jax", "torch", "numpy", "numba"


def lines(version: str) -> list[str]:
    """Returns a line for charlm `version`, Python and each package; none of them is loaded."""
    python = f"Python {platform.python_version()} ({sys.platform}, {platform.machine()})"
    return [f"charlm {version}", python, *map(_line, PACKAGES)]


def _line(name):
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} not installed"
