"""charlm: train, sample, continue and understand character-level recurrent language models.

>>> import charlm
>>> model = charlm.fit("mine.txt", preset="quick")  # doctest: +SKIP
>>> model.generate("The ", length=80)  # doctest: +SKIP
>>> charlm.load("saved_models/mine").score("a text")  # doctest: +SKIP
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING

from charlm import interrupt

if TYPE_CHECKING:
    from charlm import layers
    from charlm.api.fit import fit
    from charlm.api.language_model import LanguageModel
    from charlm.api.load import load
    from charlm.errors import InputError, NonFiniteLossError, Stopped

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "LanguageModel",
    "NonFiniteLossError",
    "Stopped",
    "__version__",
    "fit",
    "layers",
    "load",
]
_PLACES = {
    "InputError": "charlm.errors",
    "LanguageModel": "charlm.api.language_model",
    "NonFiniteLossError": "charlm.errors",
    "Stopped": "charlm.errors",
    "fit": "charlm.api.fit",
    "load": "charlm.api.load",
}


def _ignore_current_folder():
    """Keeps a folder `corpora` or a file `keras.py` in the current folder from being imported.

    `python -m` puts that folder first on the search path. If charlm itself lies in it, it stays.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    by_name = interrupt.is_command() and sys.argv[0] == "-m"
    if by_name and not sys.flags.safe_path and sys.path[0] != here:
        del sys.path[0]


interrupt.begin()  # before anything else is loaded, which takes seconds
_ignore_current_folder()


def __getattr__(name: str) -> object:
    """Loads a public name when it is first used (PEP 562), so that `import charlm` is quick."""
    if name == "layers":
        return importlib.import_module("charlm.layers")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
