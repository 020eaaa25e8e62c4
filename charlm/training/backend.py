"""The name of Keras's backend, before Keras is loaded, which takes seconds."""

import contextlib
import json
import os
from pathlib import Path

DEFAULT = "tensorflow"


def chosen() -> str:
    """Returns the backend that Keras will load: of KERAS_BACKEND, or else of its keras.json."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # none, damaged, or no home
        home = os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()
        settings = json.loads(Path(home, "keras.json").read_text())
        if isinstance(settings, dict):
            return str(settings.get("backend", DEFAULT))
    return DEFAULT
