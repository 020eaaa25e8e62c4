"""Lays out texts in columns next to each other, as wide as the terminal."""

import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

LEAST = 24  # characters of a column; narrower ones are hard to read
GAP = "  |  "


def columns(titles: Sequence[str], texts: Sequence[str], width: int | None = None) -> list[str]:
    """Returns lines with the texts in columns under their titles, or one text after another.

    Args:
        titles: one for each text.
        texts: in which newlines are kept. Characters that a terminal shows twice as wide
            (Chinese, Japanese, Korean) count as two.
        width: of a line in characters; None for that of the terminal, 100 without one.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    each = (width - len(GAP) * (len(texts) - 1)) // len(texts)
    if each < LEAST:
        pairs = zip(titles, texts, strict=True)
        return [line for title, text in pairs for line in (f"--- {title} ---", text)]
    found = [
        [title[:each], "-" * min(len(title), each), *_wrapped(text, each)]
        for title, text in zip(titles, texts, strict=True)
    ]
    rows = zip_longest(*found, fillvalue="")
    return [GAP.join(_padded(cell, each) for cell in row).rstrip() for row in rows]


def _wrapped(text, width):
    found = []
    for line in text.split("\n"):
        most = max(1, width * len(line) // max(1, _wide(line)))  # of mixed lines, a guess
        for part in textwrap.wrap(line, most) or [""]:
            while _wide(part) > width:
                kept = next(k for k in range(len(part), 0, -1) if _wide(part[:k]) <= width)
                found.append(part[:kept])
                part = part[kept:]
            found.append(part)
    return found


def _wide(text):
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def _padded(text, width):
    return text + " " * (width - _wide(text))
