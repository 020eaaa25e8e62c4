"""Decodes bytes to text in pieces: encodings, newlines, and the place of invalid bytes."""

import codecs
import io
import itertools
from collections.abc import Iterable, Iterator

from corpora import detection
from corpora.document import CorpusError

MARK = "\ufeff"  # the byte order mark


def decoded(chunks: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    r"""Decodes chunks of bytes; turns `\r\n` and `\r` into `\n`; drops a byte order mark.

    Raises:
        CorpusError: binary data, or bytes that are not valid in `encoding`, with their offset.
    """
    wide = detection.is_wide(encoding)
    decoder_is_utf8 = codecs.lookup(encoding).name == "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    started, end = False, 0
    for data in itertools.chain(chunks, [b""]):  # the empty chunk marks the end
        begin, end = end, end + len(data)
        if not wide and b"\0" in data:
            zero = f"a zero byte at offset {begin + data.index(0)}"
            advice = "it seems to be binary data: give a file of text, or its --encoding"
            raise _refused("text", name, zero, data, advice)
        if decoder_is_utf8 and b"\x1b$" in data:  # all of it is ASCII, and valid UTF-8
            at = begin + data.index(b"\x1b$")
            raise CorpusError(
                f"expected utf-8 text in {name}, found an escape sequence at offset {at}; it looks "
                "like iso-2022-jp: give --encoding iso-2022-jp"
            )
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            wrong = error.object[error.start : error.end][:8].hex(" ")
            offset = end - len(error.object) + error.start  # `object` has earlier bytes too
            found = f"byte {wrong} at offset {offset}"
            advice = "give --encoding, for example latin-1 or cp1252"
            raise _refused(f"{encoding} text", name, found, error.object, advice) from None
        except UnicodeError as error:  # some codecs give no offset
            raise CorpusError(f"expected {encoding} text in {name}, found: {error}") from None
        if text and not started:
            text, started = text.removeprefix(MARK), True
        if text := newlines.decode(text, final=not data):
            yield text


def _refused(expected, name, found, data, advice):
    """Returns the error for bytes that are not text in the encoding; names the likely one."""
    if likely := detection.likely(data):
        names = " or ".join(name.split()[0] for name in likely)  # without "(Shift-JIS)"
        advice = f"it looks like {likely[0]}: give --encoding {names}"
    return CorpusError(f"expected {expected} in {name}, found {found}; {advice}")


def check_encoding(encoding: str) -> None:
    """Raises CorpusError if Python has no text encoding of that name."""
    try:
        b"x".decode(encoding, "replace")  # fails for codecs of other kinds, such as rot13
    except (LookupError, ValueError):
        raise CorpusError(
            f"expected a text encoding Python knows, found {encoding!r:.100}; try utf-8, latin-1, "
            "cp1252"
        ) from None
