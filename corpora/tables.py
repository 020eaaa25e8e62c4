"""One column of a table: CSV with a header row, or JSON Lines, read a row at a time."""

import csv
import json
from collections.abc import Iterable, Iterator

from corpora.document import Corpus, CorpusError

DELIMITERS = ",;\t|"
MAX_FIELD = 2**31 - 1  # characters, the most that every system allows; Python's default is 128 KiB
MAX_NAMES = 300  # characters of a message that lists the columns


def fields(pieces: Iterable[str], column: str, name: str) -> Iterator[str]:
    """Yields the text of one column, row by row, without newlines around it and without empty ones.

    Args, raises: see `rows`.
    """
    return (text for text, _ in rows(pieces, column, name))


def rows(
    pieces: Iterable[str], column: str, name: str, other: str | None = None
) -> Iterator[tuple[str, str]]:
    """Yields the text of one column and of another one, row by row.

    Rows without a text are left out, and newlines around it.

    A table whose first character is `{` is JSON Lines (an object in each line), any other is CSV.
    The delimiter of CSV is the one at which the header row has the column.

    Args:
        pieces: the table's text, in any pieces.
        column: its name in the header row, or the key in each object.
        name: of the file, for messages.
        other: the name of the other column; its texts are "" where there is no value, or without
            such a column.

    Raises:
        CorpusError: the table has no such column or is not well-formed; names the line.
    """
    rest = lines(pieces)
    first = next(rest, "")
    while first.isspace():
        first = next(rest, "")
    read = _json_rows if first.lstrip().startswith("{") else _csv_rows
    for text, value in read(first, rest, column, name, other):
        if text := text.strip("\n"):
            yield text, value


def ended(records: Iterable[str], separator: str, name: str) -> Iterator[str]:
    """Yields each record with its separator.

    Raises:
        CorpusError: a record has the separator in it.
    """
    for text in records:
        record = text + separator
        # with the end of the record before it, too: a text may continue its separator
        if (separator + record).find(separator, 1) < len(record):
            raise CorpusError(
                f"expected texts without the separator {separator!r} in {name}, found it in "
                f"{text:.40}...; give another one, for example --records '\\n%%\\n'"
            )
        yield record


def columns(line: str) -> list[str]:
    """Returns the names of the columns in the first line of a table; empty if it is none."""
    if line.lstrip().startswith("{"):
        try:
            return [key for key, value in json.loads(line).items() if isinstance(value, str)]
        except ValueError:
            return []
    if line.lstrip().startswith("["):  # a JSON array
        return []
    return max((_header(line, d) for d in DELIMITERS), key=len)


def has_column(corpus: Corpus, column: str) -> bool:
    """Returns whether the first document of a corpus is a table with this column."""
    return column in columns(next(lines(corpus.documents[0].pieces()), ""))


def lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yields the lines of a text, each with its newline."""
    parts: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        parts.append(first)
        for line in others:
            yield "".join([*parts, "\n"])
            parts = [line]
    if last := "".join(parts):
        yield last


def _header(line, delimiter):
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _csv_rows(header, rows, column, name, other):
    csv.field_size_limit(MAX_FIELD)
    delimiter = next((d for d in DELIMITERS if column in _header(header, d)), None)
    if delimiter is None:
        raise _missing(column, columns(header), name)
    names = _header(header, delimiter)
    at = _place(names, column, name)
    beside = None if other is None else _place(names, other, name)
    reader = csv.reader(rows, delimiter=delimiter, strict=True)  # else an open quote takes it all
    try:
        for row in reader:
            if at < len(row) <= len(names):
                value = "" if beside is None or beside >= len(row) else row[beside]
                yield row[at], value
            elif row:  # a text with the delimiter in it would be cut without a word
                few = f"{at + 1} to " * (at + 1 < len(names))
                raise CorpusError(
                    f"expected {few}{len(names)} fields in line {reader.line_num + 1} of "
                    f"{name}, found {len(row)}; correct that line, or put quotation marks around "
                    "its texts"
                )
    except csv.Error as error:
        raise CorpusError(
            f"cannot read {name} as CSV: {error} in line {reader.line_num + 1}; correct that line"
        ) from None


def _place(names, column, name):
    """Returns the place of a column of CSV."""
    if column not in names:
        raise _missing(column, names, name)
    if names.count(column) > 1:
        raise CorpusError(
            f"expected one column {column!r} in {name}, found {names.count(column)}; rename them"
        )
    return names.index(column)


def _json_rows(first, rows, column, name, other):
    number = 0
    for line in _with_first(first, rows):
        number += 1
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            is_deep = isinstance(error, RecursionError)
            reason = "it is nested too deeply" if is_deep else getattr(error, "msg", error)
            raise CorpusError(
                f"cannot read {name} as JSON Lines: {reason} in row {number}; write one object in "
                "each line"
            ) from None
        if not isinstance(row, dict):
            raise CorpusError(
                f"cannot read {name} as JSON Lines: row {number} is no object; write one object in "
                "each line"
            )
        value = row.get(column)
        if number == 1 and column not in row:
            raise _missing(column, [*row], name)
        beside = row.get(other)
        beside = "" if beside is None else beside if isinstance(beside, str) else json.dumps(beside)
        if isinstance(value, str):
            yield value.replace("\r\n", "\n").replace("\r", "\n"), beside  # as in other texts
        elif value is not None:
            raise CorpusError(
                f"expected text in column {column!r} of {name}, found {value!r:.40} in row "
                f"{number}; name a column of texts"
            )


def _with_first(first, rows):
    yield first
    yield from rows


def _missing(column, names, name):
    listed = ", ".join(map(str, names))
    has = f"which has {listed:.{MAX_NAMES}}" if listed else "which is neither CSV nor JSON Lines"
    return CorpusError(
        f"expected a column {column!r} in {name}, {has}; name one of a CSV file's header row, or a "
        "key of each object of JSON Lines"
    )
