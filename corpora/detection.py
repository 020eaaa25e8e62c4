"""Detects the encoding of bytes: by a byte order mark for certain, otherwise a likely one.

A likely encoding is named in a message and never used without being asked for.
"""

import codecs
import re

MARKS = {  # UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WIDE = "utf-16", "utf-32"  # their text has zero bytes
UTF16 = "utf_16_le", "utf_16_be"
UTF32 = "utf_32_le", "utf_32_be"
# What texts are found in, those that are taken first if several fit equally well first: with few
# letters beyond ASCII, cp1252 and cp1250 often give the same text.
ENCODINGS = (
    "utf_8", "cp1252", "cp1251", "koi8_r", "gb18030", "cp932", "euc_jp", "big5", "cp949",
    "cp1250", "iso8859_2", "cp1253", "cp1254", "cp1255", "cp1256", "cp866", "mac_roman", "cp437",
)  # fmt: skip
NAMES = {"cp932": "cp932 (Shift-JIS)", "cp949": "cp949 (EUC-KR)"}
SAMPLE = 20_000  # bytes that are looked at; takes tens of milliseconds
LONGEST = 4  # bytes of a character
# charset-normalizer measures disorder ("chaos") and how well letters fit a language ("coherence"),
# from 0 to 1. By its default, 0.2 is the limit of disorder; Japanese without punctuation has more,
# and is recognized by its coherence.
DISORDER, MOST = 0.2, 0.6
EQUAL = 0.03  # differences that mean nothing
CONTROL = re.compile(rb"[\0-\x06\x0e-\x19\x1c-\x1f]")  # bytes that hardly any text has


def of_mark(head: bytes, encoding: str) -> str:
    """Returns the encoding that a byte order mark names; without one, or if UTF-8 was not asked
    for, `encoding`.

    Args:
        head: the first bytes of a file.
        encoding: of the file, as it was asked for.
    """
    if codecs.lookup(encoding).name != "utf-8":
        return encoding
    return next((name for mark, name in MARKS.items() if head.startswith(mark)), encoding)


def is_wide(encoding: str) -> bool:
    """Whether text in this encoding has zero bytes."""
    return codecs.lookup(encoding).name.startswith(WIDE)


def is_binary(head: bytes, encoding: str) -> bool:
    """Whether the first bytes of a file are neither text in `encoding` nor in another one."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
        doubtful = "\0" in text
    except UnicodeError:
        doubtful = bool(CONTROL.search(head))
    return doubtful and not _wide(head)


def likely(data: bytes) -> list[str]:
    """Returns the likely encodings of a text, at most two, the likeliest first; [] for none."""
    if b"\0" in data:
        found = _wide(data)
    else:
        telling = b"\n".join(x for x in data.splitlines() if not x.isascii())
        found = _matches(telling, ENCODINGS) or _wide(data, coherent=True)
    return [NAMES.get(name, name.replace("_", "-")) for name in found[:2]]


def _wide(data, coherent=False):
    """Returns the UTF-16 or UTF-32 that fits; none if several do, as with a few bytes."""
    for encodings in (UTF32, UTF16):
        if len(found := _matches(data, encodings, coherent)) == 1:
            return found
    return []


def _matches(data, encodings, coherent=False):
    """Returns those of `encodings` that fit the beginning of `data` best, with letters that fit."""
    from charset_normalizer import from_bytes  # imported here because it is rarely needed

    for cut in range(LONGEST):  # the sample may end within a character
        sample = data[: min(len(data), SAMPLE) - cut]
        matches = from_bytes(
            sample, cp_isolation=[*encodings], enable_fallback=False, threshold=MOST
        )
        fitting = [m for m in matches if m.coherence > 0]
        found = (not coherent and [m for m in matches if m.chaos < DISORDER]) or fitting
        if found:
            least = min(m.chaos - m.coherence for m in found)
            close = [m for m in found if m.chaos - m.coherence <= least + EQUAL]
            names = {name for m in close for name in m.could_be_from_charset}
            return [name for name in encodings if name in names]
    return []
