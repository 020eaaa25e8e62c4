"""Records: many short texts in one file (tweets, tunes, names), each a document of its own.

A record ends with its separator, so the records of a file, joined, are the file. Several separators
in a row count as one. Records are never made as objects: a file may have millions of them.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from corpora import tables
from corpora.document import HELD_OUT_AT, PIECE, Corpus, CorpusError, Wrapper, title
from corpora.normalizing import NONE, normalize, normalized

SEPARATORS = {"blank": "\n\n", "line": "\n"}
ESCAPES = {r"\n": "\n", r"\t": "\t"}  # a shell has no plain way to write them
MAX_SEPARATOR = 100  # characters


def separator(records: str | None, column: str | None, form: str = NONE) -> str | None:
    r"""Returns the text that ends each record, or None if the settings ask for no records.

    Args:
        records: "blank", "line", or the separator, in which `\n` is a newline and `\t` a tab.
        column: the column that holds the records; alone it means "blank".
        form: Unicode form of the text, which the separator takes on.

    >>> separator("line", None), separator(r"\n%\n", None), separator(None, "text")
    ('\n', '\n%\n', '\n\n')
    """
    if records is None:
        return None if column is None else SEPARATORS["blank"]
    if records in SEPARATORS:
        return SEPARATORS[records]
    for escape, character in ESCAPES.items():
        records = records.replace(escape, character)
    return normalized(records, form)


def of_corpus(corpus: Corpus, records: str | None, column: str | None, form: str = NONE) -> Corpus:
    """Returns the corpus in a Unicode form, each document read as records if that is asked for.

    Args: see `separator`.
    """
    end = separator(records, column, form)
    if column is None:  # normalizing a table could add delimiters and quotation marks
        corpus = normalize(corpus, form)
    if end is None:
        return corpus
    documents: Any = (Records(d, end, column, form) for d in corpus.documents)
    return replace(corpus, documents=tuple(documents))


@dataclass(frozen=True)
class Records(Wrapper):
    """A `Document` that is read as records."""

    separator: str
    """Text that ends each record."""
    column: str | None = None
    """Column of a table that holds the records, if the document is one."""
    form: str = NONE
    """Unicode form of the column's texts."""

    @property
    def identity(self) -> list | None:
        """See `Document.identity`."""
        seen = self.document.identity
        return None if seen is None else [*seen, self.separator, self.column, self.form]

    def pieces(self, tell: Callable[[int], object] | None = None) -> Iterator[str]:
        """See `Document.pieces`; a record of a table that is longer than that is one piece."""
        pieces = self.document.pieces(tell)
        if self.column is None:
            return pieces
        rows = tables.fields(pieces, self.column, title(self.name))
        fields = (normalized(text, self.form) for text in rows)
        return _joined(tables.ended(fields, self.separator, title(self.name)))

    def parts(self, tell: Callable[[int], object] | None = None) -> Iterator[tuple[str, list[int]]]:
        """Yields pieces of the text, each with the places in it after which a record ends."""
        return parts(self.pieces(tell), self.separator)


def parts(pieces: Iterable[str], separator: str) -> Iterator[tuple[str, list[int]]]:
    """Yields pieces of a text, each with the places in it after which a record ends.

    The text's end, which ends a record too, is not among them if no separator stands there.

    Args:
        pieces: the text, in any pieces.
        separator: ends a record; all that follow it directly belong to the same end.
    """
    unit = separator[0] if len({*separator}) == 1 else separator  # a newline more is the same end
    least = len(separator) // len(unit)
    pattern = re.compile(f"(?:{re.escape(unit)}){{{least},}}")
    rest, leading = "", True  # what may become a separator; whether nothing else came yet
    for piece in itertools.chain(pieces, [None]):  # None marks the end
        text, ends = rest + (piece or ""), []
        done = len(text) if piece is None else max(0, len(text) - len(separator) + 1)
        for found in pattern.finditer(text):
            if piece is not None and found.end() + len(unit) > len(text):  # it may go on
                done = max(found.start(), found.end() - len(separator))
                leading = leading and found.start() == 0
                break
            if found.start() or not leading:  # separators at the beginning end no record
                ends.append(found.end())
            done = max(done, found.end())
        else:
            leading = leading and not done
        rest = text[done:]
        if done:
            yield text[:done], ends


def parts_of(
    document: Any, tell: Callable[[int], object] | None = None
) -> Iterator[tuple[str, Sequence[int]]]:
    """Yields pieces of any document, each with the places in it after which a record ends."""
    if isinstance(document, Records):
        return document.parts(tell)
    return ((piece, ()) for piece in document.pieces(tell))


def check_found(documents: Sequence[Any], count: int) -> None:
    """Refuses a text in which no separator was found, and one with too few records.

    Args:
        documents: of a corpus, those with text.
        count: number of their records, or of the documents themselves.

    Raises:
        CorpusError: no document has a second record, or none would be held out.
    """
    first = documents[0]
    if isinstance(first, Records) and first.column is None and count == len(documents):
        raise CorpusError(
            f"expected records that end with {first.separator!r} in {title(first.name)}, found one "
            "text; give what ends a record: --records blank, line or 'SEPARATOR'"
        )
    if isinstance(first, Records) and count <= HELD_OUT_AT:
        raise CorpusError(
            f"expected {HELD_OUT_AT + 1} records or more in {title(first.name)}, of which one is "
            f"held out, found {count}; give more of them, or leave out --records and --column"
        )


def key(documents: Sequence[Any]) -> str:
    """Returns a text that identifies the way to split these documents; "" without records."""
    return "".join(f"records {d.separator}" for d in documents if isinstance(d, Records))


def _joined(records: Iterator[str]) -> Iterator[str]:
    """Joins short texts to pieces."""
    waiting, size = [], 0
    for record in records:
        waiting.append(record)
        size += len(record)
        if size >= PIECE:
            yield "".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting)
