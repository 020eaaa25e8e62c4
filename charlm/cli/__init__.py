"""Code that the commands share: options, errors, the terminal, loading a text."""

from charlm.cli.command import BAD_INPUT, FAILED, parse, parse_part, run
from charlm.cli.loading import corpus, documents, read_as, text
from charlm.cli.terminal import note_terminal, progress, quiet_stderr, say, visible
from charlm.notes import note

__all__ = [
    "BAD_INPUT",
    "FAILED",
    "corpus",
    "documents",
    "note",
    "note_terminal",
    "parse",
    "parse_part",
    "progress",
    "quiet_stderr",
    "read_as",
    "run",
    "say",
    "text",
    "visible",
]
