"""`charlm COMMAND ...`: runs a command by its name."""

import importlib
import os
import shlex
import sys

from charlm import __version__
from charlm.errors import InputError

COMMANDS = {  # name: (module, what it does)
    "train": ("charlm.train", "train a model, or resume a run (--resume)"),
    "sample": ("charlm.sample", "generate text with a trained model"),
    "evaluate": ("charlm.evaluate", "measure a model on held-out text, against simpler models"),
    "score": ("charlm.score", "measure bits per character of any text"),
    "show": ("charlm.show", "find cells that follow the text, and make a page of a model"),
    "serve": ("charlm.serve", "serve a model to a browser and to other programs"),
    "tunes": ("charlm.tunes", "write tunes in ABC notation, and check, show and play tunes"),
    "gradients": ("charlm.gradients", "measure how far back in time gradients reach, by cell"),
    "memory": ("charlm.memory", "measure over how many characters each cell can remember"),
    "reference": ("charlm.reference.__main__", "train in plain NumPy, with hand-written gradients"),
    "bench": ("charlm.bench", "compare speed and memory with Keras, JAX and torch"),
    "encode": ("charlm.encode", "encode a text of many gigabytes before training"),
    "import": ("charlm.import_weights", "make a run from Keras or PyTorch weights"),
    "export": ("charlm.export", "write a run as a Keras, TensorFlow, ONNX or PyTorch model"),
}
OTHERS = {  # what is no command with options of its own
    "help": "show the options of a command: charlm help COMMAND",
    "completion": "print a tab completion script: charlm completion bash|zsh",
}
HELP, VERSION = ("-h", "--help", "help"), ("-V", "--version", "version")


def main(argv: list[str] | None = None) -> int:
    """Runs the command named first in `argv`; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["help"] and len(argv) > 1 and argv[1] in COMMANDS:
        argv = [argv[1], "--help"]  # further words are ignored
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])
    from charlm import cli

    return cli.run(_other, argv)


def _other(argv):
    word, *more = argv or ["help"]
    if word in HELP and not more:
        print(_overview(), end="")
    elif word in VERSION and not more:
        from charlm.cli import versions

        print("\n".join(versions.lines(__version__)))
    elif word == "completion":
        from charlm.cli import completion

        print(completion.script(more, COMMANDS, OTHERS), end="")
    else:
        raise InputError(_unknown(more[0] if word == "help" and more else word))


def _overview():
    lines = ["usage: charlm COMMAND [OPTIONS]", ""]
    lines += [f"  charlm {x:10} {what}" for x, (_, what) in COMMANDS.items()]
    lines += ["", *(f"  charlm {x:10} {what}" for x, what in OTHERS.items())]
    lines += ["  charlm --version  print the versions of charlm and of what it uses", ""]
    lines += ["A trained run comes with charlm: charlm sample"]
    lines += ["Train on your own text: charlm train mine.txt --preset quick"]
    return "\n".join(lines) + "\n"


def _unknown(word):
    from charlm.cli import suggest

    found = f"expected a command ({', '.join([*COMMANDS, *OTHERS])}), found {word!r}"
    if os.path.exists(word):
        return f"{found}; did you mean charlm train {shlex.quote(word)}?"
    meant = suggest.command(word, [*COMMANDS, *OTHERS])
    return f"{found}; did you mean charlm {meant}?" if meant else found


if __name__ == "__main__":
    sys.exit(main())
