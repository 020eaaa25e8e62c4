"""Decodes bytes to text in pieces: encodings, newlines, and the place of invalid bytes."""

import codecs
import io
import itertools
from collections.abc import Iterable, Iterator

from corpora.document import CorpusError


def decoded(chunks: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    r"""Decodes chunks of bytes; turns `\r\n` and `\r` into `\n`; drops a byte order mark.

    Raises:
        CorpusError: binary data, or bytes that are not valid in `encoding`, with their offset.
    """
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    started, end = False, 0
    for data in itertools.chain(chunks, [b""]):  # the empty chunk marks the end
        begin, end = end, end + len(data)
        if not wide and b"\0" in data:
            raise CorpusError(
                f"expected text in {name}, found binary data (a zero byte at offset "
                f"{begin + data.index(0)}); if it is UTF-16, give --encoding utf-16"
            )
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            found = error.object[error.start : error.end][:8].hex(" ")
            offset = end - len(error.object) + error.start  # `object` has earlier bytes too
            raise CorpusError(
                f"expected {encoding} text in {name}, found byte {found} at offset {offset}; "
                "give --encoding, for example latin-1 or cp1252"
            ) from None
        except UnicodeError as error:  # some codecs give no offset
            raise CorpusError(f"expected {encoding} text in {name}, found: {error}") from None
        if text and not started:
            text, started = text.removeprefix("\ufeff"), True
        if text := newlines.decode(text, final=not data):
            yield text


def check_encoding(encoding: str) -> None:
    """Raises CorpusError if Python has no text encoding of that name."""
    try:
        b"x".decode(encoding, "replace")  # fails for codecs of other kinds, such as rot13
    except (LookupError, ValueError):
        raise CorpusError(
            f"expected a text encoding Python knows, found {encoding!r:.100}; try utf-8, latin-1, "
            "cp1252"
        ) from None
