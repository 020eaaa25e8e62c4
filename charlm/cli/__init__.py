"""Code that the commands share: options, errors, the terminal, loading a text."""

from charlm.cli.command import BAD_INPUT, FAILED, parse, parse_part, run
from charlm.cli.loading import (
    corpus,
    documents,
    note_overlap,
    note_reading,
    other_corpus,
    own_characters,
    own_text,
    read_as,
    text,
)
from charlm.cli.terminal import note_terminal, quiet_stderr, say, visible
from charlm.cli.usage import given, renamed
from charlm.notes import note, progress

__all__ = [
    "BAD_INPUT",
    "FAILED",
    "corpus",
    "documents",
    "given",
    "note",
    "note_overlap",
    "note_reading",
    "note_terminal",
    "other_corpus",
    "own_characters",
    "own_text",
    "parse",
    "parse_part",
    "progress",
    "quiet_stderr",
    "read_as",
    "renamed",
    "run",
    "say",
    "text",
    "visible",
]
