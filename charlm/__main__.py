"""`charlm COMMAND ...`: runs a command by its name."""

import importlib
import sys

from charlm import __version__
from charlm.errors import InputError

COMMANDS = {  # name: (module, what it does)
    "train": ("charlm.train", "train a model, or resume a run (--resume)"),
    "sample": ("charlm.sample", "generate text with a trained model"),
    "evaluate": ("charlm.evaluate", "measure a model on held-out text, against simpler models"),
    "score": ("charlm.score", "measure bits per character of any text"),
    "gradients": ("charlm.gradients", "measure how far back in time gradients reach, by cell"),
    "reference": ("charlm.reference.__main__", "train in plain NumPy, with hand-written gradients"),
    "bench": ("charlm.bench", "compare speed and memory with Keras, JAX and torch"),
    "import": ("charlm.import_weights", "make a run from Keras or PyTorch weights"),
    "export": ("charlm.export", "write a run as a Keras, TensorFlow, ONNX or PyTorch model"),
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
        print("  charlm COMMAND --help   show the options of a command")
    else:
        raise InputError(f"expected a command ({', '.join(COMMANDS)}), found {argv[0]!r}")


if __name__ == "__main__":
    sys.exit(main())
