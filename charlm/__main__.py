"""`charlm COMMAND ...`: the same entry points as `python -m charlm.COMMAND`."""

import importlib
import sys

COMMANDS = {
    "train": "train a model, or go on with one (--resume)",
    "sample": "write text with a trained model",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command named first in `argv`; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else "--help"
    if name in COMMANDS:
        return importlib.import_module(f"charlm.{name}").main(argv[1:])
    lines = [f"  charlm {name:8} {what}" for name, what in COMMANDS.items()]
    usage = "\n".join(["usage: charlm COMMAND [OPTIONS]", *lines, "  charlm COMMAND --help"])
    if name in ("-h", "--help"):
        print(usage)
        return 0
    if name == "--version":
        from charlm import __version__

        print(f"charlm {__version__}")
        return 0
    print(f"error: expected a command ({', '.join(COMMANDS)}), found {name!r}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
