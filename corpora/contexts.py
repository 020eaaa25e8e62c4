"""The value of a field for each document or record of a corpus: its president, its folder ..."""

import re
from collections.abc import Callable, Iterator

from corpora import tables, tunes
from corpora.document import Corpus, CorpusError, title
from corpora.normalizing import NONE, normalized
from corpora.records import Records, parts_of

MAX_VALUE = 200  # characters of a value
UPBEAT = "upbeat"  # a field that is read from the notes of tunes
# control characters, unpaired surrogates, line ends, and what changes the direction of a line
UNSEEN = "[\0-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"


def spans(
    corpus: Corpus, field: str, tell: Callable[[int], object] | None = None
) -> Iterator[tuple[int, str]]:
    """Yields (characters, value) of each document or record with text, in order.

    A record of a table has the value of another column, `field`. Any other record has what follows
    `FIELD:` in the first of its lines that begins so (as in the header of a tune or a letter). A
    tune of `corpora.tunes` also has an "upbeat", see `corpora.tunes.upbeat`. A document has what is
    known about it: the folder or the name of its file, or the facts of a named corpus. The value is
    "" where there is none.

    Args:
        corpus: as it is read for training.
        field: the name of the field.
        tell: called with the number of bytes after each read.

    Raises:
        CorpusError: there is no such field, or a document cannot be read.
    """
    for document in corpus.documents:
        if isinstance(document, Records) and document.column is not None:
            yield from _of_table(document, field, tell)
        elif isinstance(document, Records) and field not in document.facts:
            yield from _of_records(document, field, tell)
        else:
            value = _fact(corpus, document, field)
            length = 0
            for piece, inside in parts_of(document, tell):
                begin = 0
                for end in inside:
                    yield length + end - begin, value
                    begin, length = end, 0
                length += len(piece) - begin
            if length:
                yield length, value


def is_name(value: str) -> bool:
    """Whether a text can be a value or the name of a field: one short line."""
    return 0 < len(value) <= MAX_VALUE and not re.search(UNSEEN, value)


def _fact(corpus, document, field):
    if field not in document.facts:
        fields = ", ".join(document.facts)
        has = f"which has {fields}" if fields else "which has no fields"
        raise CorpusError(
            f"expected the field {field!r} in {corpus.title}, {has}; --context takes one of these; "
            "with --column, another column; with --records, a field of the records' headers"
        )
    return _cleaned(document.facts[field], getattr(document, "form", NONE), document)


def _of_table(document, field, tell):
    pieces = document.document.pieces(tell)
    rows = tables.rows(pieces, document.column, title(document.name), field)
    for text, value in rows:
        length = len(normalized(text, document.form)) + len(document.separator)
        yield length, _cleaned(value, document.form, document)


def _of_records(document, field, tell):
    of_notes = field == UPBEAT and tunes.are_tunes(document)
    field = re.escape(normalized(field, document.form))
    header = re.compile(rf"^{field}:(.*)$", re.MULTILINE)

    def of_header(text):
        found = header.search(text)
        return _cleaned(found[1], document.form, document) if found else ""

    value = tunes.upbeat if of_notes else of_header

    rest = ""
    for piece, ends in parts_of(document, tell):
        begin = 0
        for end in ends:
            rest += piece[begin:end]
            yield len(rest), value(rest)
            begin, rest = end, ""
        rest += piece[begin:]
    if rest:
        yield len(rest), value(rest)


def _cleaned(value, form, document):
    value = " ".join(normalized(value, form).split())
    if value and not is_name(value):
        what = f"{len(value)} characters" if len(value) > MAX_VALUE else "a control character"
        raise CorpusError(
            f"expected values of --context of {MAX_VALUE} characters at most, without control "
            f"characters, found {what} in {value[:40]!r} of {title(document.name)}; name another "
            "field, or correct that value"
        )
    return value
