"""Finds out whether a file looks like a table, tunes or many short texts, from its beginning."""

import os
import re
from collections import Counter

from corpora import tables
from corpora.document import Corpus

LOOK = 2**16  # characters of a file
FEW = 20  # a file with fewer records in its beginning is no list of them
SHORT = 300  # characters; a longer line is a paragraph
ALIKE, MOST = 0.9, 0.95  # shares of records
MARK = re.compile(r"[-%=*~+_]{1,20}|<\|\w{1,20}\|>")
TUNE, KEY = re.compile(r"^X: *\d", re.MULTILINE), re.compile("^K:", re.MULTILINE)
TABLES = ".csv", ".tsv", ".jsonl", ".ndjson"


def suggestion(corpus: Corpus) -> str | None:
    """Returns a line that suggests --records, --column or --preset, or None if none of them fits.

    Only a text of one file is looked at. Prose is rarely taken for records: its paragraphs begin
    differently, and its lines go on from one to the next.
    """
    if len(corpus.documents) != 1:
        return None
    head = _head(corpus.documents[0])
    flags = _column(corpus.name, head) or _tunes(head) or _records(head)
    return f"NOTE: {corpus.title} may be {flags}" if flags else None


def _head(document):
    pieces, head = document.pieces(), ""
    for piece in pieces:
        head += piece
        if len(head) >= LOOK:
            break
    return head[:LOOK]


def _column(name, head):
    """Describes a table, with its columns."""
    if os.path.splitext(name)[1].lower() not in TABLES:
        return None
    names = tables.columns(next(tables.lines([head]), ""))
    if not names:
        return None
    listed = ", ".join(names)
    return f"a table; --column NAME trains on the texts of one column ({listed:.100})"


def _tunes(head):
    """Describes tunes in ABC notation, with the preset for them."""
    if min(len(TUNE.findall(head)), len(KEY.findall(head))) < FEW:
        return None
    return "tunes in ABC notation; --preset tunes trains on them, and charlm tunes writes new ones"


def _records(head):
    """Describes records, with the flag for them."""
    lines = head.split("\n")[:-1]  # the last one may be cut off
    if mark := _mark(lines):
        return _advice("", f"'\\n{mark}\\n'")
    starts = Counter(x[:2] for g in head.split("\n\n") if (x := g.lstrip("\n")))
    ((start, n),) = starts.most_common(1) or [("", 0)]
    if n >= max(FEW, ALIKE * starts.total()) and start.strip() == start:  # not indented code
        return _advice(" between blank lines", "blank")
    return _advice(" of one line", "line") if _are_records(lines) else None


def _advice(where, how):
    return (
        f"many short texts{where}; --records {how} trains on each as a document of its own, and "
        "holds out whole ones"
    )


def _mark(lines):
    """Returns a line such as %, --- or <|endoftext|> that comes again and again, or None."""
    found = Counter(filter(MARK.fullmatch, lines))
    return next((line for line, n in found.most_common(1) if n >= FEW), None)


def _are_records(lines):
    """Whether each line is a text: short, not indented, and nearly all different.

    Lines of prose go on in the next line, so some begin with a small letter and some do not. Words
    in a list may all begin with one.
    """
    if len(lines) < 5 * FEW or any(not x or x[0].isspace() or len(x) > SHORT for x in lines):
        return False
    small = sum(x[0].islower() for x in lines) / len(lines)
    words = sum(" " not in x for x in lines) / len(lines)
    is_list = small <= 1 - MOST or (small >= MOST and words >= ALIKE)
    return is_list and len({*lines}) >= ALIKE * len(lines)
