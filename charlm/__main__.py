"""`charlm COMMAND ...`: all entry points by name."""

import importlib
import sys

from charlm import __version__
from charlm.errors import InputError

COMMANDS = {  # name: (module, what it does)
    "train": ("charlm.train", "train a model, or go on with one (--resume)"),
    "sample": ("charlm.sample", "write text with a trained model"),
    "evaluate": ("charlm.evaluate", "bits per character on held-out text, beside simpler models"),
    "score": ("charlm.score", "bits per character of any text, or of each character"),
    "gradients": ("charlm.gradients", "how far back in time a gradient reaches, by cell"),
    "reference": ("charlm.reference.__main__", "train in plain NumPy, gradients by hand"),
    "bench": ("charlm.bench", "speed, memory and time to quality beside Keras, JAX and torch"),
    "import": ("charlm.import_weights", "make a run of weights that Keras or PyTorch wrote"),
    "export": ("charlm.export", "a run as a Keras model, SavedModel, ONNX or PyTorch weights"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command named first in `argv`; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])
    from charlm import cli

    return cli.run(_other, argv)


def _other(argv):
    if argv and argv[0] == "--version":
        print(f"charlm {__version__}")
    elif not argv or argv[0] in ("-h", "--help"):
        print("usage: charlm COMMAND [OPTIONS]")
        for name, (_, what) in COMMANDS.items():
            print(f"  charlm {name:10} {what}")
        print("  charlm COMMAND --help")
    else:
        raise InputError(f"expected a command ({', '.join(COMMANDS)}), found {argv[0]!r}")


if __name__ == "__main__":
    sys.exit(main())
