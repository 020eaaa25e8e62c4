"""Writes the typed signatures of the layers for editors and type checkers.

`python -m charlm.layers.stubs` rewrites `charlm/layers/__init__.pyi` from the tables of options.
"""

import inspect
from pathlib import Path
from typing import Any

from charlm import layers
from charlm.layers.options import KERAS_LAYER_OPTIONS, KERAS_OPTIONS, Option

PATH = Path(__file__).with_name("__init__.pyi")
HEAD = '''"""Typed signatures; written by `python -m charlm.layers.stubs`."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import keras

__all__ = [
{names}]

_Object: TypeAlias = str | dict[str, Any] | Callable[..., Any]
Activation: TypeAlias = _Object | None
Initializer: TypeAlias = _Object | None
Regularizer: TypeAlias = _Object | None
Constraint: TypeAlias = _Object | None

class RecurrentCell(keras.layers.Layer):
    GATES: str
    STATES: str
    OPTIONS: dict[str, Any]
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...

class Recurrent(keras.layers.RNN):
    CELL: type[RecurrentCell]
    OPTIONS: dict[str, Any]
    compiled_training: bool
    compiled_inference: bool
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
'''


def text() -> str:
    """Returns the contents of the stub file."""
    kinds = [getattr(layers, name) for name in layers.__all__]
    bases = layers.RecurrentCell, layers.Recurrent
    names = "".join(f'    "{name}",\n' for name in layers.__all__)
    return "\n".join(
        [HEAD.replace("{names}", names), *(_stub(kind) for kind in kinds if kind not in bases)]
    )


def _stub(kind: Any) -> str:
    """Returns the stub of a cell or a layer."""
    base, further = layers.RecurrentCell, KERAS_OPTIONS
    options = kind.OPTIONS
    if issubclass(kind, layers.Recurrent):
        base, further = layers.Recurrent, KERAS_LAYER_OPTIONS
        options = kind.CELL.OPTIONS | kind.OPTIONS
    named = [n for n in inspect.signature(kind).parameters if n != "kwargs"]
    lines = [
        f"class {kind.__name__}({base.__name__}):",
        "    def __init__(",
        "        self,",
        *(_argument(name, options[name]) for name in named),
        "        *,",
        *(_argument(name, option) for name, option in further.items()),
        "    ) -> None: ...",
    ]
    return "\n".join(lines) + "\n"


def _argument(name: str, option: Option) -> str:
    default = "" if option.default is inspect.Parameter.empty else f" = {option.default!r}"
    return f"        {name}: {option.kind}{default},".replace("'", '"')


if __name__ == "__main__":
    PATH.write_text(text())
