"""Properties of the characters of a text: what a cell might follow.

Each is a boolean for every character: "(" is inside brackets, because after it a reader is there;
")" is not. A few are known only later: a word with a capital letter counts from its first letter.
"""

import re
import string
from collections.abc import Callable, Sequence

import numpy as np

from charlm.inside import patterns as patterns_of_user
from charlm.inside.patterns import marked

START_OF_SENTENCE = 30  # characters
LATE_IN_LINE, LATE_IN_WORD, LATE_IN_SENTENCE = 60, 6, 120
STRING = (  # of Python or C; an apostrophe within a word begins none
    r"(?P<string>\"\"\".*?(?:\"\"\"|\Z)|'{3}.*?(?:'{3}|\Z)|\"(?:\\.|[^\"\\\n])*(?:\"|(?=\n)|\Z)"
    r"|(?<![\w'])(?:[rbfuRBFU]{1,2})?'(?:\\.|[^'\\\n])*(?:'|(?=\n)|\Z))|"
)
HASH_COMMENTS = re.compile(STRING + r"(?P<comment>#[^\n]*)", re.DOTALL)
SLASH_COMMENTS = re.compile(STRING + r"(?P<comment>(?<!:)//[^\n]*|/\*.*?\*/)", re.DOTALL)
QUOTED = re.compile(r"(?<!\w)[\"“«][^\"“”«»\n]*(?:[\"”»]|(?=\n)|\Z)")
ABC_HEADER = re.compile(r"^[A-Za-z]:[^\n]*", re.MULTILINE)
SENTENCE_END = re.compile(r"[.!?][\"')\]”»]*\s+|\n\s*\n\s*")
WORD = re.compile(r"\w+")


def of_texts(texts: Sequence[str], patterns: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Returns {name: (n,) booleans} for texts of n characters in all, laid end to end.

    Args:
        texts: the texts; nothing that one leaves open reaches into the next.
        patterns: regular expressions; whether a character is in a match is a property, too.

    Raises:
        InputError: see `patterns.matched`.
    """
    made = {name: [make(text) for text in texts] for name, make in PROPERTIES.items()}
    for pattern in patterns:
        made[f"/{pattern}/"] = patterns_of_user.matched(pattern, texts)
    return {name: np.concatenate(parts) for name, parts in made.items()}


def _inside(opening, closing):
    """Whether a bracket is open; a closing one without an opening one has no effect."""

    def make(text):
        found, depth = np.zeros(len(text), bool), 0
        for k, c in enumerate(text):
            if c == opening:
                depth += 1
            elif c == closing:
                depth = max(0, depth - 1)
            elif c == "\n" and text[k - 1 : k] == "\n":  # a paragraph ends what was left open
                depth = 0
            found[k] = depth > 0
        return found

    return make


def _code(kind):
    def make(text):
        # a text of a language whose comments begin with #, or with // and /*
        hashes = len(re.findall(r"^\s*#", text, re.MULTILINE))
        slashes = len(re.findall(r"^\s*(?://|/\*)", text, re.MULTILINE))
        language = SLASH_COMMENTS if slashes > hashes else HASH_COMMENTS
        if '"""' in text:  # it may begin within a docstring; then strings seem to be nearly all
            before = '"""'
            usual = _code_spans(language, text, "string").mean()
            other = _code_spans(language, before + text, "string")[len(before) :].mean()
            if usual > 0.6 > 2 * other:
                return _code_spans(language, before + text, kind)[len(before) :]
        return _code_spans(language, text, kind)

    return make


def _code_spans(language, text, kind):
    spans = [m.span() for m in language.finditer(text) if m.lastgroup == kind]
    return marked(len(text), spans, until=1 if kind == "string" else 0)


def _matching(pattern, until=0):
    return lambda text: marked(len(text), [m.span() for m in pattern.finditer(text)], until)


def _since(text, starts):
    """Returns how many characters each is after the last start at or before it."""
    n = len(text)
    last = np.zeros(n, np.int64)
    starts = [s for s in starts if s < n]
    last[starts] = starts
    return np.arange(n) - np.maximum.accumulate(last)


def _lines(text):
    return _since(text, (m.end() for m in re.finditer("\n", text)))


def _sentences(text):
    return _since(text, (m.end() for m in SENTENCE_END.finditer(text)))


def _words(text):
    """Returns the place in its word of each character, from 0; -1 outside words."""
    found = np.full(len(text), -1)
    for m in WORD.finditer(text):
        found[m.start() : m.end()] = np.arange(m.end() - m.start())
    return found


def _words_that(test):
    def make(text):
        return marked(len(text), [m.span() for m in WORD.finditer(text) if test(m[0])])

    return make


def _of_class(members):
    test = members if callable(members) else members.__contains__
    return lambda text: np.fromiter(map(test, text), bool, len(text))


PROPERTIES: dict[str, Callable[[str], np.ndarray]] = {
    "inside ( )": _inside("(", ")"),
    "inside [ ]": _inside("[", "]"),
    "inside { }": _inside("{", "}"),
    "inside quotation marks": _matching(QUOTED, until=1),
    "inside a string": _code("string"),
    "inside a comment": _code("comment"),
    "first 10 characters of a line": lambda text: _lines(text) < 10,
    f"after {LATE_IN_LINE} characters of a line": lambda text: _lines(text) >= LATE_IN_LINE,
    "in the indentation of a line": _matching(re.compile(r"^[ \t]+", re.MULTILINE)),
    "in an indented line": _matching(re.compile(r"^[ \t]+[^\n]*", re.MULTILINE)),
    "at the end of a line": _of_class("\n"),
    "first letter of a word": lambda text: _words(text) == 0,
    f"after {LATE_IN_WORD} letters of a word": lambda text: _words(text) >= LATE_IN_WORD,
    "inside a word": lambda text: _words(text) >= 0,
    f"first {START_OF_SENTENCE} characters of a sentence": (
        lambda text: _sentences(text) < START_OF_SENTENCE
    ),
    f"after {LATE_IN_SENTENCE} characters of a sentence": (
        lambda text: _sentences(text) >= LATE_IN_SENTENCE
    ),
    "capital letter": _of_class(str.isupper),
    "in a word with a capital letter": _words_that(lambda w: w != w.lower()),
    "in a word of capital letters": _words_that(lambda w: len(w) > 1 and w.isupper()),
    "digit": _of_class(str.isdigit),
    "in a number": _matching(re.compile(r"\d[\d.,]*")),
    "vowel": _of_class("aeiouAEIOU"),
    "punctuation": _of_class(string.punctuation),
    "in a header line (ABC)": _matching(ABC_HEADER),
    "in a web address or file name": _matching(re.compile(r"\b\w+(?:[./:]+\w+){2,}")),
}


def distance_to_border(labels: np.ndarray) -> np.ndarray:
    """Returns how many characters each is from the nearest change of a property, (n,), from 1."""
    n = len(labels)
    changes = np.flatnonzero(labels[1:] != labels[:-1]) + 1  # first characters after a change
    if not len(changes):
        return np.full(n, n)
    at, k = np.arange(n), np.searchsorted(changes, np.arange(n), side="right")
    before = np.where(k > 0, at - changes[np.maximum(k - 1, 0)] + 1, n)
    after = np.where(k < len(changes), changes[np.minimum(k, len(changes) - 1)] - at, n)
    return np.minimum(before, after)
