"""`charlm COMMAND ...`: the same entry points as `python -m charlm.COMMAND`."""

import importlib
import sys

from charlm import __version__
from charlm.errors import InputError

COMMANDS = {
    "train": "train a model, or go on with one (--resume)",
    "sample": "write text with a trained model",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command named first in `argv`; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(f"charlm.{argv[0]}").main(argv[1:])
    from charlm import cli

    return cli.run(_other, argv)


def _other(argv):
    if argv and argv[0] == "--version":
        print(f"charlm {__version__}")
    elif not argv or argv[0] in ("-h", "--help"):
        print("usage: charlm COMMAND [OPTIONS]")
        for name, what in COMMANDS.items():
            print(f"  charlm {name:8} {what}")
        print("  charlm COMMAND --help")
    else:
        raise InputError(f"expected a command ({', '.join(COMMANDS)}), found {argv[0]!r}")


if __name__ == "__main__":
    sys.exit(main())
